"""Wallet owners who take the hub to the contract, with what they signed and what the checkpoints prove."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contractor.tests.conftest import Hub
from ledger import store
from ledger.directory import owner_of
from ledger.models import ActiveState, Token, Transfer, Wallet
from ledger.proofs import Proof, active_state_checksum, proofs
from ledger.store import StoredTransfer
from nocust.addresses import to_checksum
from nocust.encoding import ZERO_HASH, hex_to_bytes
from nocust.leaves import OPEN_POSITION, transfer_leaf, transfer_tag
from nocust.merkle import MerkleTree
from nocust.signatures import Signer
from operator_api.simulation.wallets import SimulatedWallet

FEE = 10**17
"""Wei sent along with a challenge; the surplus comes back."""


@dataclass
class Player:
    """A registered wallet and its owner's memory."""

    hub: Hub
    wallet: Wallet
    owner: SimulatedWallet

    @classmethod
    def register(cls, hub: Hub, signer: Signer, token: Token | None = None) -> Player:
        wallet = hub.register(signer, token)
        contract = hex_to_bytes(hub.node.contract.address, 20)
        owner = SimulatedWallet(signer, contract, wallet.token.address)
        owner.wallet_id, owner.trail = wallet.pk, wallet.trail_identifier
        owner.enter(hub.status.eon)
        return cls(hub, wallet, owner)

    @property
    def address(self) -> bytes:
        address: bytes = self.wallet.address
        return address

    @property
    def text(self) -> str:
        return to_checksum(self.address)

    @property
    def token(self) -> str:
        return to_checksum(self.wallet.token.address)

    # ---- off chain --------------------------------------------------------------------------------------------

    def pay(self, to: Player, amount: int, marker: int = 0, nonce: int | None = None) -> Transfer:
        """A transfer in the latest eon."""
        if self.owner.eon != self.hub.status.eon:
            self.owner.enter(self.hub.status.eon)
        command = self.owner.transfer(owner_of(to.wallet), amount, marker, nonce)
        (outcome,) = store.execute([command])
        assert isinstance(outcome, StoredTransfer), outcome
        self.owner.accepted(command, outcome.event.position)
        return Transfer.objects.select_related("recipient", "wallet", "sender_active_state").get(
            pk=outcome.id
        )

    def proof(self, eon: int) -> Proof:
        return proofs([(self.wallet.pk, eon)])[self.wallet.pk, eon]

    def sent(self, eon: int) -> list[Transfer]:
        return list(
            Transfer.objects.filter(wallet=self.wallet, eon_number=eon)
            .select_related("recipient")
            .order_by("id")
        )

    def set_tree(self, transfers: list[Transfer]) -> MerkleTree:
        """The set that the state after the last of the transfers names: only that one is open."""
        leaves = [_leaf(row, row.position or 0) for row in transfers[:-1]]
        return MerkleTree([*leaves, _leaf(transfers[-1], OPEN_POSITION)])

    # ---- on chain ---------------------------------------------------------------------------------------------

    def send(self, name: str, *arguments: Any, value: int = FEE, mine: bool = True) -> bool:
        """Call the contract in the next block; whether it took the call (unknown unless mined)."""
        node = self.hub.node
        txid = node.send(self.address, getattr(node.contract.functions, name)(*arguments), value=value)
        if not mine:
            return False
        node.mine()
        return int(node.web3.eth.get_transaction_receipt(txid)["status"]) == 1

    def deposit(self, amount: int) -> None:
        self.send("deposit", self.token, self.text, amount, value=amount)

    def challenge_state(self, eon: int, state: ActiveState | None = None, **options: Any) -> bool:
        """Challenge what became of the allotment of checkpoint `eon`, and of a state signed in it."""
        proof = self.proof(eon)
        allotment = proof.allotment
        r, s, v = _signature(None if state is None else state.operator_signature)
        return self.send(
            "challengeStateUpdateWithProofOfExclusiveBalanceAllotment",
            self.token,
            [self.active(proof), allotment.passive_checksum or ZERO_HASH],
            self.wallet.trail_identifier,
            *chains(proof),
            [
                [allotment.left, allotment.right],
                [0, 0] if state is None else [state.updated_spendings, state.updated_gains],
                [allotment.passive_amount, allotment.passive_marker],
            ],
            [r, s, ZERO_HASH if state is None else state.tx_set_hash],
            v,
            **options,
        )

    def challenge_registration(self, **options: Any) -> bool:
        """Challenge with nothing but the operator's signature of the registration."""
        r, s, v = _signature(self.wallet.registration_operator_authorization)
        return self.send(
            "challengeStateUpdateWithProofOfActiveStateUpdateAgreement",
            self.token,
            ZERO_HASH,
            self.wallet.trail_identifier,
            [0, 0],
            r,
            s,
            v,
            **options,
        )

    def challenge_delivery(
        self, sender: Player, transfer: Transfer, newest: Transfer | None = None, **options: Any
    ) -> bool:
        """Challenge the delivery of a transfer in the operator's signed state after `newest`, or after itself:
        then the transfer is open in it."""
        newest = newest or transfer
        transfers = [row for row in sender.sent(transfer.eon_number) if row.pk <= newest.pk]
        index = next(place for place, row in enumerate(transfers) if row.pk == transfer.pk)
        state = transfers[-1].sender_active_state
        is_open = transfer.pk == newest.pk
        tag = transfer_tag(OPEN_POSITION if is_open else transfer.position or 0, transfer.nonce)
        r, s, v = _signature(state.operator_signature)
        return self.send(
            "challengeTransferDeliveryWithProofOfActiveStateUpdateAgreement",
            self.token,
            [sender.text, to_checksum(transfer.recipient.address)],
            [tag, transfer.amount],
            [sender.wallet.trail_identifier, index, transfer.recipient.trail_identifier],
            list(sender.set_tree(transfers).proof(index)),
            [state.updated_spendings, state.updated_gains],
            [r, s, state.tx_set_hash],
            v,
            **options,
        )

    def challenge_committed_delivery(self, sender: Player, eon: int, **options: Any) -> bool:
        """Challenge the delivery of the newest transfer in the sender's leaf of checkpoint `eon`."""
        proof = sender.proof(eon)
        allotment, state = proof.allotment, proof.allotment.active_state
        assert state is not None
        transfers = sender.sent(eon - 1)
        newest = transfers[-1]
        return self.send(
            "challengeTransferDeliveryWithProofOfPassiveStateUpdate",
            self.token,
            [sender.text, to_checksum(newest.recipient.address)],
            [state.tx_set_hash, allotment.passive_checksum or ZERO_HASH],
            [sender.wallet.trail_identifier, len(transfers) - 1, newest.recipient.trail_identifier],
            *chains(proof),
            [
                [allotment.left, allotment.right],
                [state.updated_spendings, state.updated_gains],
                [allotment.passive_amount, allotment.passive_marker],
                [newest.nonce, newest.amount],
            ],
            list(sender.set_tree(transfers).proof(len(transfers) - 1)),
            **options,
        )

    def active(self, proof: Proof) -> bytes:
        return active_state_checksum(self.owner.contract, proof)


def chains(proof: Proof) -> tuple[list[bytes], list[bytes], list[int]]:
    return list(proof.path.hashes), list(proof.membership), list(proof.path.values)


def _leaf(row: Transfer, position: int) -> bytes:
    return transfer_leaf(
        row.recipient.address, row.amount, row.recipient.trail_identifier, row.nonce, position
    )


def _signature(signature: bytes | None) -> tuple[bytes, bytes, int]:
    text = signature or bytes(65)
    return text[:32], text[32:64], text[64]
