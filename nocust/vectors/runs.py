"""Vectors of whole runs: arrays of swap orders and complete checkpoints (``spec/crypto.md`` §7, §10, §11)."""

from collections.abc import Sequence

from nocust.agreements import ActiveState, verify_active_state_agreement
from nocust.balances import (
    balance_inner_hash,
    balance_tree,
    token_leaf,
    token_tree,
    verify_account_allotment,
)
from nocust.encoding import ZERO_HASH
from nocust.interval import IntervalTree
from nocust.leaves import COMPLETE_START
from nocust.merkle import Peaks
from nocust.signatures import Signer, parse_signature
from nocust.swaps import (
    SwapOrder,
    WalletPosition,
    credit_cancellation_messages,
    debit_cancellation_messages,
    finalization_messages,
    order_messages,
)
from nocust.vectors.messages import contract_of
from nocust.vectors.trees import expect_interval_proof
from nocust.vectors.view import View


def _expect_signed(checksums: View, signatures: View, messages: Sequence[bytes], signer: Signer) -> None:
    checksums.exact_length(len(messages))
    signatures.exact_length(len(messages))
    for index, message in enumerate(messages):
        checksums[index].expect(message)
        signatures[index].expect(signer.sign(message))


def check_swap_sets(file: View) -> None:
    """Arrays that an owner signs for an order in two wallets without other transactions."""
    for entry in file["swap_order_signature_sets"]["sets"]:
        signer = Signer(entry["private_key"].hash)
        file["meta"]["accounts"][entry["address"].integer]["address"].expect(signer.address)
        order = SwapOrder(
            contract=contract_of(file),
            owner=signer.address,
            debit_token=entry["debit_token"].address,
            credit_token=entry["credit_token"].address,
            debit_trail=entry["debit_trail"].integer,
            credit_trail=entry["credit_trail"].integer,
            amount=entry["amount"].integer,
            amount_swapped=entry["amount_swapped"].integer,
            nonce=entry["nonce"].integer,
            eon=entry["eon"].integer,
        )
        debit = WalletPosition(start=entry["debit_starting_balance"].integer)
        credit = WalletPosition(start=entry["credit_starting_balance"].integer)
        eons = len(entry["debit_signature"])
        messages = order_messages(order, debit, credit, eons)
        for name, signatures, hashes in (
            ("debit", "debit_signature", messages.debit),
            ("credit", "credit_signature", messages.credit),
            ("fulfillment", "credit_fulfillment_signature", messages.fulfillment),
            ("debit_balance", "debit_balance_signature", messages.debit_balance),
            ("credit_balance", "credit_balance_signature", messages.credit_balance),
        ):
            _expect_signed(entry["checksums"][name], entry[signatures], hashes, signer)
        _check_endings(entry, order, debit, eons, signer)


def _check_endings(entry: View, order: SwapOrder, debit: WalletPosition, eons: int, signer: Signer) -> None:
    open_root = Peaks.EMPTY.root_with(order.leaf(debit.start))
    complete_root = Peaks.EMPTY.root_with(order.leaf(COMPLETE_START))
    cancel, finalize = entry["cancel"], entry["finalize"]
    given, taken = cancel["matched_out"].integer, cancel["matched_in"].integer
    _expect_signed(
        cancel["sender_checksums"],
        cancel["sender_cancellation_signature"],
        debit_cancellation_messages(order, open_root, order.amount, 0, given, order.eon, eons),
        signer,
    )
    _expect_signed(
        cancel["recipient_checksums"],
        cancel["recipient_cancellation_signature"],
        credit_cancellation_messages(order, complete_root, 0, 0, taken, order.eon, eons),
        signer,
    )
    _expect_signed(
        finalize["checksums"],
        finalize["finalization_signature"],
        finalization_messages(order, complete_root, 0, finalize["matched_in"].integer, order.eon, eons),
        signer,
    )


def check_checkpoints(file: View) -> None:
    """Complete checkpoints: states, balance trees, token tree and all proofs, as the contract checks them."""
    operator = file["meta"]["operator"].address
    for run in file["e2e_checkpoints"]:
        contract = run["contract"].address
        for checkpoint in run["checkpoints"]:
            trees = [_balance_tree(entry, contract, operator) for entry in checkpoint["tokens"]]
            top = token_tree([token_leaf(tree.root, tree.upper_bound) for tree in trees])
            checkpoint["root"].expect(top.root)
            for trail, (entry, tree) in enumerate(zip(checkpoint["tokens"], trees, strict=True)):
                chain = top.proof(trail)
                entry["trail"].expect(trail)
                entry["membership_hashes"].expect(b"".join(chain))
                for index, allotment in enumerate(entry["allotments"]):
                    _check_allotment(allotment, tree, index)
                    state = _account_state(allotment, contract, entry["token"].address)
                    proof = tree.proof(index)
                    total = verify_account_allotment(
                        *state,
                        trail=index,
                        token_trail=trail,
                        root=top.root,
                        chain=proof.hashes,
                        membership_chain=chain,
                        values=proof.values,
                        left=tree.bounds[index],
                        right=tree.bounds[index + 1],
                    )
                    entry["upper_bound"].expect(total)
                    _check_state(checkpoint, allotment, contract, entry["token"].address, operator)
    _check_contract(file)


def _check_contract(file: View) -> None:
    """The runs used the same contract as the other sections."""
    for run in file["e2e_checkpoints"]:
        run["contract"].expect(contract_of(file))


def _account_state(
    allotment: View, contract: bytes, token: bytes
) -> tuple[bytes, bytes, bytes, bytes, int, int, bytes]:
    return (
        contract,
        token,
        allotment["wallet"].address,
        allotment["passive_checksum"].hash,
        allotment["passive_amount"].integer,
        allotment["passive_marker"].integer,
        allotment["active_state_checksum"].hash,
    )


def _balance_tree(entry: View, contract: bytes, operator: bytes) -> IntervalTree:
    """Balance tree of a token; funds beyond the last wallet are one more leaf of the operator."""
    token = entry["token"].address
    states = [_account_state(allotment, contract, token) for allotment in entry["allotments"]]
    bounds = [0, *(allotment["right"].integer for allotment in entry["allotments"])]
    upper_bound = entry["upper_bound"].integer
    if bounds[-1] < upper_bound:
        states.append((contract, token, operator, ZERO_HASH, 0, 0, ZERO_HASH))
        bounds.append(upper_bound)
    tree = balance_tree([balance_inner_hash(*state) for state in states], bounds)
    entry["balance_root"].expect(tree.root)
    entry["upper_bound"].expect(tree.upper_bound)
    return tree


def _check_allotment(allotment: View, tree: IntervalTree, index: int) -> None:
    allotment["trail"].expect(index)
    allotment["left"].expect(tree.bounds[index])
    allotment["right"].expect(tree.bounds[index + 1])
    expect_interval_proof(allotment["proof_hashes"], allotment["proof_values"], tree.proof(index))


def _check_state(checkpoint: View, allotment: View, contract: bytes, token: bytes, operator: bytes) -> None:
    """The last state agreed on in the previous eon and both signatures; none leaves a zero hash."""
    entry = allotment["active_state"]
    if entry.null:
        allotment["active_state_checksum"].expect(ZERO_HASH)
        return
    entry["eon"].expect(checkpoint["eon"].integer - 1)
    state = ActiveState(
        contract=contract,
        token=token,
        wallet=allotment["wallet"].address,
        trail=allotment["trail"].integer,
        eon=entry["eon"].integer,
        tx_set_root=entry["tx_set_root"].hash,
        spent=entry["spent"].integer,
        gained=entry["gained"].integer,
    )
    allotment["active_state_checksum"].expect(state.hash())
    signatures = [parse_signature(entry[name].text) for name in ("wallet_signature", "operator_signature")]
    digest = verify_active_state_agreement(
        state, wallet_signature=signatures[0], operator=operator, operator_signature=signatures[1]
    )
    allotment["active_state_checksum"].expect(digest)
