"""An operator and its clients on a ledger of their own, with a chain that is only told: for tests and benchmarks
of everything but the chain."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from admission.services import Admission, admit, admit_operator, is_authorized
from ledger import engine, store
from ledger.checkpoint import create_checkpoint
from ledger.models import ChainStatus, Deposit, RootCommitment, Token, Wallet, WithdrawalRequest
from operator_api.simulation.wallets import SimulatedWallet
from tos import services as tos

PRIVACY = "aa" * 32
TERMS = "bb" * 32


class Play:
    """A ledger in its first eon with Ether, the operator and terms of service. Blocks only count: `blocks_per_eon`
    of them are an eon."""

    def __init__(self, blocks_per_eon: int = 60) -> None:
        self.contract: bytes = settings.HUB_LQD_CONTRACT_ADDRESS
        self.config = tos.publish(PRIVACY, TERMS)
        self.status = ChainStatus.objects.create(
            id=1,
            genesis_block=0,
            blocks_per_eon=blocks_per_eon,
            confirmations=settings.HUB_LQD_CONTRACT_CONFIRMATIONS,
            head_block=0,
            head_hash=bytes(32),
            confirmed_block=0,
            updated=timezone.now(),
        )
        self.tokens: list[Token] = []
        self.add_token(self.contract, "Ethereum", "ETH")
        with transaction.atomic():
            create_checkpoint(1, 0)

    @property
    def eon(self) -> int:
        """The latest eon."""
        return store.chain_status().eon

    def add_token(self, address: bytes, name: str, short_name: str) -> Token:
        """Register a token, and the operator's wallet in it."""
        with transaction.atomic():
            token = Token.objects.create(
                address=address, trail=len(self.tokens), name=name, short_name=short_name, block=0
            )
            admit_operator(token)
        self.tokens.append(token)
        return token

    def register(self, count: int, token: Token | None = None) -> list[SimulatedWallet]:
        """Register fresh wallets in the latest eon."""
        token = token or self.tokens[0]
        players = [SimulatedWallet.create(self.contract, token.address) for _ in range(count)]
        self.admit(players, token)
        return players

    def admit(self, players: Sequence[SimulatedWallet], token: Token) -> list[Wallet]:
        """Register given wallets in the latest eon."""
        eon = self.eon
        admissions = []
        for player in players:
            body = player.registration(eon, tos.digest(self.config))
            admissions.append(
                Admission(
                    token.pk,
                    token.address,
                    player.address,
                    bytes.fromhex(body["authorization"]["value"]),
                    bytes.fromhex(body["tos_signature"]["value"]),
                )
            )
        assert all(is_authorized(admission, eon) for admission in admissions)
        admit(admissions, eon, self.config)
        rows = {
            wallet.address: wallet
            for wallet in token.wallets.filter(address__in=[p.address for p in players])
        }
        wallets = [rows[player.address] for player in players]
        for player, wallet in zip(players, wallets, strict=True):
            player.wallet_id, player.trail = wallet.pk, wallet.trail_identifier
            player.enter(eon)
        return wallets

    def deposit(self, player: SimulatedWallet, amount: int, eon: int | None = None) -> Deposit:
        """A confirmed deposit, in the latest eon or the given one."""
        eon = eon or self.eon
        with transaction.atomic():
            deposit = Deposit.objects.create(
                **self._event(eon),
                token=self._token(player),
                address=player.address,
                amount=amount,
                wallet_id=player.wallet_id or None,
            )
            if player.wallet_id:
                store.run([engine.Deposit(player.owner, eon, amount)])
        return deposit

    def request_withdrawal(
        self, player: SimulatedWallet, amount: int, eon: int | None = None
    ) -> WithdrawalRequest:
        """A confirmed withdrawal request, in the latest eon or the given one."""
        eon = eon or self.eon
        with transaction.atomic():
            request = WithdrawalRequest.objects.create(
                **self._event(eon),
                token=self._token(player),
                address=player.address,
                amount=amount,
                wallet_id=player.wallet_id,
            )
            store.run([engine.RequestWithdrawal(player.owner, eon, amount)])
        return request

    def pay(
        self, sender: SimulatedWallet, recipient: SimulatedWallet, amount: int, marker: int = 0
    ) -> store.Outcome:
        """A transfer in the latest eon; the sender remembers it when it is accepted."""
        if sender.eon != self.eon:
            sender.enter(self.eon)
        command = sender.transfer(recipient.owner, amount, marker)
        (outcome,) = store.execute([command])
        if isinstance(outcome, store.StoredTransfer):
            sender.accepted(command, outcome.event.position)
        return outcome

    def enter_next_eon(self) -> int:
        """Let the head reach the next eon, whose checkpoint is not made yet."""
        status = store.chain_status()
        status.head_block = status.first_block_of(status.eon + 1)
        status.save()
        return status.eon

    def close_eon(self) -> RootCommitment:
        """Make the checkpoint of the latest eon; the blocks before it are confirmed."""
        status = store.chain_status()
        status.confirmed_block = status.first_block_of(status.eon) - 1
        status.save()
        with transaction.atomic():
            return create_checkpoint(status.eon, status.head_block)

    def next_eon(self) -> RootCommitment:
        """Enter the next eon and make its checkpoint."""
        self.enter_next_eon()
        return self.close_eon()

    def _token(self, player: SimulatedWallet) -> Token:
        return next(token for token in self.tokens if token.address == player.token)

    def _event(self, eon: int) -> dict[str, object]:
        return {
            "txid": secrets.token_bytes(32),
            "log_index": 0,
            "block": self.status.first_block_of(eon),
            "eon_number": eon,
            "time": timezone.now(),
        }
