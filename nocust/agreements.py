"""Active states that wallet and operator have agreed on (``spec/crypto.md`` §2)."""

from dataclasses import dataclass

from nocust.messages import active_state_hash
from nocust.signatures import require_valid


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveState:
    """What a wallet's set of active transactions and its counters were at some moment of an eon.

    Addresses are 20 bytes, the root 32 bytes, the counters smallest units that start at 0 every eon.
    """

    contract: bytes
    token: bytes
    wallet: bytes
    trail: int
    eon: int
    tx_set_root: bytes
    spent: int
    gained: int

    def hash(self) -> bytes:
        """The 32 bytes that both parties sign."""
        return active_state_hash(
            self.contract,
            self.token,
            self.wallet,
            self.trail,
            self.eon,
            self.tx_set_root,
            self.spent,
            self.gained,
        )


def verify_active_state(state: ActiveState, signature: bytes, attester: bytes) -> bytes:
    """Return the hash of `state` if `attester` (20 bytes) signed it, else raise InvalidSignature.

    This is `verifyProofOfActiveStateUpdateAgreement` of the contract (reason `A`).
    """
    digest = state.hash()
    require_valid(digest, signature, attester)
    return digest


def verify_active_state_agreement(
    state: ActiveState, *, wallet_signature: bytes, operator: bytes, operator_signature: bytes
) -> bytes:
    """Return the hash of `state` if its wallet and the operator signed it, else raise InvalidSignature."""
    digest = verify_active_state(state, wallet_signature, state.wallet)
    require_valid(digest, operator_signature, operator)
    return digest
