"""The answers to challenges, derived from the database alone (`spec/crypto.md` §14, `spec/contract.md` §5)."""

from __future__ import annotations

from contractor.interface import ChallengeEntry, ChallengeKind, Contract, SwapAnswer
from ledger.deliveries import deliveries
from ledger.models import Challenge, Transfer, Wallet
from ledger.proofs import Proof, proofs
from ledger.transaction_sets import ContradictorySetError, set_of_state
from nocust.leaves import OPEN_POSITION, transfer_tag
from nocust.merkle import MerkleTree
from nocust.messages import conduit


class UnanswerableError(Exception):
    """The ledger holds no answer that the contract would take. The message says what is missing."""


def answer(contract: Contract, challenge: Challenge, entry: ChallengeEntry) -> bytes:
    """The call that answers a challenge with the checkpoint of the eon after the challenged one, which must exist.
    Raises UnanswerableError."""
    eon = entry.initial_eon + 1
    if entry.kind == ChallengeKind.STATE_UPDATE:
        return contract.answer_state_update(_proof(challenge, entry, eon))
    if entry.kind == ChallengeKind.DELIVERY:
        return _delivery(contract, challenge, entry)
    if entry.kind == ChallengeKind.SWAP:
        return _swap(contract, challenge, entry)
    raise UnanswerableError("nothing is challenged")


def _wallet(token: bytes, address: bytes) -> Wallet:
    found = Wallet.objects.filter(token__address=token, address=address).select_related("token").first()
    if found is None:
        raise UnanswerableError(f"0x{address.hex()} has no wallet for 0x{token.hex()}")
    return found


def _proof(challenge: Challenge, entry: ChallengeEntry, eon: int) -> Proof:
    return _proof_of(_wallet(challenge.token, challenge.recipient), entry, eon)


def _proof_of(wallet: Wallet, entry: ChallengeEntry, eon: int) -> Proof:
    if wallet.trail_identifier != entry.trail:
        raise UnanswerableError(
            f"the challenge names trail {entry.trail}, the wallet has {wallet.trail_identifier}"
        )
    found = proofs([(wallet.pk, eon)]).get((wallet.pk, eon))
    if found is None:
        raise UnanswerableError(f"checkpoint {eon} has no leaf of the wallet")
    return found


def _delivery(contract: Contract, challenge: Challenge, entry: ChallengeEntry) -> bytes:
    """All transfers are passive, so the recipient's passive tree answers, however the challenge was opened."""
    transfer = _transfer(challenge, entry)
    found = deliveries([transfer]).get(transfer.pk)
    if found is None:
        raise UnanswerableError(f"transfer {transfer.pk} is not in its recipient's passive tree")
    return contract.answer_delivery(transfer, found)


def _transfer(challenge: Challenge, entry: ChallengeEntry) -> Transfer:
    """The transfer that the challenged tag names: with its position, or open in the sender's newest state
    (`spec/crypto.md` §6)."""
    sender = _wallet(challenge.token, challenge.sender)
    recipient = _wallet(challenge.token, challenge.recipient)
    candidates = Transfer.objects.filter(
        wallet=sender,
        recipient=recipient,
        eon_number=entry.initial_eon,
        amount=entry.amount,
        passive=True,
        voided=False,
        position__isnull=False,
    )
    for key, nonce, position in candidates.values_list("pk", "nonce", "position"):
        tags = (transfer_tag(place, int(nonce)) for place in (OPEN_POSITION, int(position or 0)))
        if entry.tag in tags:
            return Transfer.objects.select_related("wallet").get(pk=key)
    raise UnanswerableError(
        f"no transfer of {entry.amount} in eon {entry.initial_eon} has the challenged tag {entry.tag:#x}"
    )


def _swap(contract: Contract, challenge: Challenge, entry: ChallengeEntry) -> bytes:
    """The order's entry in the set of its credit wallet: with the start balance that the price is reckoned from, or
    marked as complete or cancelled."""
    order = _order(challenge, entry)
    proof = _proof_of(order.recipient, entry, entry.initial_eon + 1)
    state = proof.allotment.active_state
    if state is None:
        raise UnanswerableError(f"checkpoint {entry.initial_eon + 1} has no state of order {order.tx_id}")
    state.wallet = order.recipient
    try:
        entries = set_of_state(state)
    except ContradictorySetError as error:
        raise UnanswerableError(str(error)) from error
    index = next((place for place, found in enumerate(entries) if found.row.pk == order.pk), None)
    if index is None:
        raise UnanswerableError(f"order {order.tx_id} is not in the set of its credit wallet")
    start = entries[index].start
    assert start is not None
    path = MerkleTree([found.leaf for found in entries]).proof(index)
    return contract.answer_swap(order, proof, SwapAnswer(index, path, start))


def _order(challenge: Challenge, entry: ChallengeEntry) -> Transfer:
    """The row, in the challenged eon, of the order that the issuer challenges."""
    candidates = Transfer.objects.filter(
        swap=True,
        appended=True,
        eon_number=entry.initial_eon,
        wallet__address=challenge.recipient,
        nonce=entry.nonce,
        amount=entry.sell,
        amount_swapped=entry.buy,
    ).select_related("wallet__token", "recipient__token")
    for row in candidates:
        if conduit(row.wallet.token.address, row.recipient.token.address) == challenge.token:
            return row
    raise UnanswerableError(
        f"0x{challenge.recipient.hex()} had no order {entry.nonce} of {entry.sell} for {entry.buy} in eon"
        f" {entry.initial_eon}"
    )
