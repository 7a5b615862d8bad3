"""Vectors of encoders, signatures and signed messages (``spec/crypto.md`` §0 to §7, §12, §13)."""

from collections.abc import Callable

from nocust.accumulator import CANCELLATION, DEPOSIT, WITHDRAWAL_REQUEST, accumulate
from nocust.addresses import ADDRESS_LENGTH, address_hash
from nocust.encoding import keccak, u8, u32, u64, u256
from nocust.errors import InvalidSignature
from nocust.leaves import (
    COMPLETE_START,
    OPEN_POSITION,
    active_transfer_leaf,
    swap_leaf,
    transfer_leaf,
    transfer_tag,
)
from nocust.messages import (
    active_state_hash,
    admission_hash,
    balance_marker_hash,
    conduit,
    freeze_hash,
    terms_of_service_digest,
    withdrawal_authorization_hash,
)
from nocust.signatures import Signer, inner_digest, is_valid, parse_signature, signing_digest
from nocust.vectors.view import MismatchError, View

_ENCODERS: dict[str, Callable[[int], bytes]] = {"uint8": u8, "uint32": u32, "uint64": u64, "uint256": u256}
_OPERATIONS = {
    DEPOSIT: "DEPOSIT",
    WITHDRAWAL_REQUEST: "WITHDRAWAL_REQUEST",
    CANCELLATION: "CANCELLATION",
}


def contract_of(file: View) -> bytes:
    """Address of the contract that all sections but the checkpoints use."""
    return file["meta"]["contract_address"].address


def check_signature_of(entry: View, message: bytes, address: bytes) -> None:
    """Compare the parts of a signature over `message` by the key given, which must belong to `address`."""
    signer = Signer(entry["private_key"].hash)
    if signer.address != address:
        raise MismatchError(entry["private_key"].path, f"the key of {address.hex()}", signer.address.hex())
    if "address" in entry:
        entry["address"].expect(signer.address)
    signature = signer.sign(message)
    if not is_valid(message, signature, address):
        raise MismatchError(entry.path, "a signature that recovers its signer", signature.hex())
    entry["r"].expect(signature[:32])
    entry["s"].expect(signature[32:64])
    entry["v"].expect(signature[64])
    entry["rsv"].expect(signature)


def check_meta(file: View) -> None:
    """Addresses of keys and of the native token."""
    meta = file["meta"]
    for account in meta["accounts"]:
        account["address"].expect(Signer(account["private_key"].hash).address)
    meta["operator"].expect(meta["accounts"][0]["address"].address)
    meta["tokens"]["ETH"].expect(contract_of(file))


def check_encoders(file: View) -> None:
    """Fixed-width integers, addresses and their hashes."""
    for entry in file["encoders"]:
        kind = entry["type"].text
        if kind == "address":
            entry["bytes"].expect(entry["value"].address)
            entry["keccak"].expect(address_hash(entry["value"].address))
        elif kind in _ENCODERS:
            entry["bytes"].expect(_ENCODERS[kind](entry["value"].integer))
        else:
            raise MismatchError(entry["type"].path, "uint8, uint32, uint64, uint256 or address", kind)


def check_signing(file: View) -> None:
    """Envelope and deterministic signatures."""
    for entry in file["signing"]:
        message = entry["message"].hash
        entry["inner_hash"].expect(inner_digest(message))
        entry["signed_digest"].expect(signing_digest(message))
        check_signature_of(entry, message, entry["address"].address)


def check_signing_invalid(file: View) -> None:
    """Signatures of which only those are valid that the contract accepts."""
    for entry in file["signing_invalid"]:
        text = f"{entry['r'].text}{entry['s'].text}{entry['v'].integer:02x}"
        try:
            signature = parse_signature(text)
            valid = is_valid(entry["message"].hash, signature, entry["address"].address)
        except InvalidSignature:
            valid = False
        entry["evm_ecrecover_accepts"].expect(valid)


def check_admission(file: View) -> None:
    """Admissions: the wallet signs trail 0, the operator the assigned one."""
    operator = file["meta"]["operator"].address
    for entry in file["admission"]:
        wallet = entry["address"].address
        trail, eon = entry["trail_identifier"].integer, entry["eon"].integer
        parties = (("wallet_authorization", 0, wallet), ("operator_authorization", trail, operator))
        for name, signed_trail, signer in parties:
            message = admission_hash(contract_of(file), entry["token"].address, wallet, signed_trail, eon)
            entry[name]["checksum"].expect(message)
            check_signature_of(entry[name], message, signer)


def check_active_state(file: View) -> None:
    """Active state updates, signed by both parties."""
    operator = file["meta"]["operator"].address
    for entry in file["active_state"]:
        trail = entry["trail_identifier"]
        message = active_state_hash(
            contract_of(file),
            entry["token"].address,
            entry["address"].address,
            0 if trail.null else trail.integer,
            entry["eon"].integer,
            entry["tx_set_root"].hash,
            entry["spent"].integer,
            entry["gained"].integer,
        )
        entry["checksum"].expect(message)
        check_signature_of(entry["wallet_signature"], message, entry["address"].address)
        check_signature_of(entry["operator_signature"], message, operator)


def check_balance_marker(file: View) -> None:
    """Minimum available balance markers."""
    for entry in file["minimum_available_balance_marker"]:
        wallet = entry["address"].address
        message = balance_marker_hash(
            contract_of(file), entry["token"].address, wallet, entry["eon"].integer, entry["amount"].integer
        )
        entry["checksum"].expect(message)
        check_signature_of(entry["signature"], message, wallet)


def check_withdrawal_authorization(file: View) -> None:
    """Withdrawal authorisations: the contract's form, and the other one that a former hub checked."""
    for entry in file["withdrawal_authorization"]:
        token, holder = entry["token"].address, entry["address"].address
        expiry, amount = entry["expiry_block"].integer, entry["amount"].integer
        message = withdrawal_authorization_hash(contract_of(file), token, holder, expiry, amount)
        entry["contract_checksum"].expect(message)
        check_signature_of(entry["contract_signature"], message, holder)
        other = keccak(holder + token + u256(amount) + u256(expiry))
        entry["reference_hub_view_checksum"].expect(other)
        check_signature_of(entry["reference_hub_view_signature"], other, holder)


def check_transfer(file: View) -> None:
    """Transfer leaves of both sides, open and with a position."""
    for entry in file["transfer"]:
        sender, recipient = entry["sender"].address, entry["recipient"].address
        amount, nonce = entry["amount"].integer, entry["nonce"].integer
        trail = entry["recipient_trail_identifier"].integer
        if entry["passive"].flag:
            position = OPEN_POSITION if entry["position"].null else entry["position"].integer
            entry["position_nonce_tag"].expect(u256(transfer_tag(position, nonce)))
            entry["open_tag"].expect(u256(transfer_tag(OPEN_POSITION, nonce)))
            final = transfer_leaf(recipient, amount, trail, nonce, position)
            newest = transfer_leaf(recipient, amount, trail, nonce, OPEN_POSITION)
            received = transfer_leaf(sender, amount, trail, nonce, position)
        else:
            for name in ("position", "position_nonce_tag", "open_tag"):
                entry[name].expect(None)
            final = newest = active_transfer_leaf(recipient, amount, trail, nonce)
            received = active_transfer_leaf(sender, amount, trail, nonce)
        entry["leaf_in_sender_set"].expect(final)
        entry["leaf_in_sender_set_when_last"].expect(newest)
        entry["leaf_in_recipient_set"].expect(received)


def check_swap(file: View) -> None:
    """Swap leaves of both sides and freeze messages."""
    for entry in file["swap"]:
        debit, credit = entry["debit_token"].address, entry["credit_token"].address
        trail, nonce = entry["recipient_trail_identifier"].integer, entry["nonce"].integer
        amounts = entry["amount"].integer, entry["amount_swapped"].integer
        starts = {
            "sender": entry["sender_starting_balance"].integer,
            "recipient": entry["recipient_starting_balance"].integer,
        }
        for side, state, complete in (
            ("sender", "open", False),
            ("sender", "complete", False),
            ("sender", "cancelled_assumed", False),
            ("recipient", "open", False),
            ("recipient", "complete", True),
            ("recipient", "frozen_not_cancelled", False),
            ("recipient", "cancelled", True),
        ):
            start = COMPLETE_START if complete else starts[side]
            leaf = swap_leaf(debit, credit, trail, *amounts, start, nonce)
            entry[f"leaf_{side}_{state}"].expect(leaf)
        message = freeze_hash(debit, credit, nonce)
        entry["freeze_message"].expect(message)
        check_signature_of(entry["freeze_signature"], message, entry["address"].address)


def check_tos(file: View) -> None:
    """Terms of service."""
    for entry in file["tos"]:
        digest = terms_of_service_digest(
            entry["terms_of_service_digest"].hash, entry["privacy_policy_digest"].hash
        )
        entry["digest"].expect(digest)
        check_signature_of(entry["signature"], digest, entry["signature"]["address"].address)
        entry["reference_resign_endpoint_expects_checksum_hex"].expect(digest.hex().encode("ascii"))


def check_conduit(file: View) -> None:
    """Pseudo tokens of swap challenges."""
    for entry in file["conduit"]:
        token_from, token_to = entry["token_from"].address, entry["token_to"].address
        entry["keccak"].expect(keccak(token_from + token_to))
        entry["conduit"].expect(conduit(token_from, token_to))
        if len(conduit(token_from, token_to)) != ADDRESS_LENGTH:
            raise MismatchError(entry["conduit"].path, "20 bytes", "another length")


def check_accumulator(file: View) -> None:
    """Running hash of parent-chain operations."""
    for entry in file["parent_chain_accumulator"]:
        operation = entry["operation"].integer
        entry["accumulator"].expect(
            accumulate(
                entry["previous"].hash,
                entry["eon"].integer,
                entry["token"].address,
                entry["participant"].address,
                operation,
                entry["value"].integer,
            )
        )
        entry["operation_name"].expect(_OPERATIONS[operation])
