"""The answers to challenges, derived from the database alone (`spec/crypto.md` §14, `spec/contract.md` §5)."""

from __future__ import annotations

from contractor.interface import ChallengeEntry, ChallengeKind, Contract
from ledger.deliveries import deliveries
from ledger.models import Challenge, Transfer, Wallet
from ledger.proofs import Proof, proofs
from nocust.leaves import OPEN_POSITION, transfer_tag


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
    raise UnanswerableError("challenges about swaps are not answerable yet")


def _wallet(token: bytes, address: bytes) -> Wallet:
    found = Wallet.objects.filter(token__address=token, address=address).select_related("token").first()
    if found is None:
        raise UnanswerableError(f"0x{address.hex()} has no wallet for 0x{token.hex()}")
    return found


def _proof(challenge: Challenge, entry: ChallengeEntry, eon: int) -> Proof:
    wallet = _wallet(challenge.token, challenge.recipient)
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
