"""A ledger in memory that the engine's tests drive, with a bookkeeping of its own to compare with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from ledger.engine import (
    Account,
    CancelWithdrawal,
    ChainEffect,
    Command,
    Deposit,
    Event,
    Facts,
    Key,
    Moved,
    Owner,
    Refusal,
    RequestWithdrawal,
    Rules,
    Transfer,
    Transferred,
    apply,
    decide,
)
from operator_api.simulation.wallets import SimulatedWallet

CONTRACT = bytes.fromhex("9561c133dd8580860b6b7e504bc5aa500f0f06a7")
TOKENS = (CONTRACT, bytes.fromhex("e982e462b094850f12af94d21d470e21be9d0e9c"))
SLA_THRESHOLD = 5
MAX_AMOUNT = 2**256 - 1


def players(owners: int) -> list[SimulatedWallet]:
    """Wallets of each owner in each token; the same key in both, the trails in order."""
    result = []
    for token_index, token in enumerate(TOKENS):
        for number in range(owners):
            wallet = SimulatedWallet.create(CONTRACT, token, key=(number + 1).to_bytes(32, "big"))
            wallet.wallet_id = 100 * (token_index + 1) + number
            wallet.trail = number
            wallet.enter(1)
            result.append(wallet)
    return result


@dataclass
class World:
    """Accounts as a store keeps them, and what happened to them.

    `wealth` is what each wallet owns by the commands that were accepted, added up without the engine; `requested`
    what it has requested on chain and not got back; `entries` the transfers it sent in each eon; `moments` the
    latest eon at each event.
    """

    wallets: list[SimulatedWallet]
    eon: int = 1
    closed: set[int] = field(default_factory=lambda: {0})
    stopped: str = ""
    accounts: dict[Key, Account] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    moments: list[int] = field(default_factory=list)
    nonces: set[tuple[int, int, int]] = field(default_factory=set)
    reserved: dict[int, int] = field(default_factory=dict)
    wealth: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    deposited: dict[bytes, int] = field(default_factory=lambda: defaultdict(int))
    requested: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    entries: dict[Key, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def rules(self) -> Rules:
        """The first owner is exempt from the service level agreement."""
        return Rules(CONTRACT, SLA_THRESHOLD, frozenset({self.wallets[0].address}))

    @property
    def facts(self) -> Facts:
        return Facts(self.eon, set(self.closed), set(self.nonces), dict(self.reserved), self.stopped)

    def view(self, owners: Iterable[Owner], eons: Iterable[int]) -> dict[Key, Account]:
        """The accounts that a command on these wallets and eons needs: what is not stored opens with what the
        wallet had before; the eon after is there when it is stored."""
        result = {}
        for owner in owners:
            for eon in sorted(set(eons) | {self.eon}):
                result[owner.wallet, eon] = self.account(owner, eon)
                if (owner.wallet, eon + 1) in self.accounts:
                    result[owner.wallet, eon + 1] = self.accounts[owner.wallet, eon + 1]
        return result

    def account(self, owner: Owner, eon: int) -> Account:
        """The stored account, or the one that would open."""
        for before in range(eon, 0, -1):
            stored = self.accounts.get((owner.wallet, before))
            if stored is not None:
                return stored if before == eon else Account(owner, eon, opening=stored.available)
        return Account(owner, eon)

    def submit(self, command: Command) -> Event | Refusal:
        """Decide and apply one command; asserts that neither step changed what it was given."""
        view = self.view(command.owners, [command.eon] if isinstance(command, ChainEffect) else [])
        given, stored = dict(view), dict(self.accounts)
        outcome = decide(view, command, self.facts, self.rules)
        assert view == given
        if isinstance(outcome, Refusal):
            assert self.accounts == stored
            return outcome
        after = apply(view, outcome)
        assert view == given
        assert set(after) <= set(given)
        self.accounts.update(after)
        self.events.append(outcome)
        self.moments.append(self.eon)
        self._book(command)
        return outcome

    def _book(self, command: Command) -> None:
        if not isinstance(command, Transfer | ChainEffect):
            return
        if isinstance(command, Transfer):
            self.nonces.add((command.sender.wallet, command.eon, command.nonce))
            self.entries[command.sender.wallet, command.eon] += 1
            self.wealth[command.sender.wallet] -= command.amount
            self.wealth[command.recipient.wallet] += command.amount
        elif isinstance(command, Deposit):
            self.deposited[command.owner.token] += command.amount
            self.wealth[command.owner.wallet] += command.amount
        else:
            sign = {RequestWithdrawal: 1, CancelWithdrawal: -1}[type(command)]
            self.requested[command.owner.wallet] += sign * command.amount
            self.wealth[command.owner.wallet] -= sign * command.amount

    def enter_next_eon(self) -> None:
        self.eon += 1

    def close_eon_before(self) -> None:
        self.closed.add(self.eon - 1)

    def client(self, wallet: SimulatedWallet) -> SimulatedWallet:
        """The wallet, with its memory in the latest eon."""
        if wallet.eon != self.eon:
            wallet.enter(self.eon)
        return wallet

    def sent(self, wallet: int, eon: int) -> list[Transferred]:
        """The transfers that the wallet sent in the eon, in order."""
        return [e for e in self._transfers(eon) if e.sender.wallet == wallet]

    def received(self, wallet: int, eon: int) -> list[Transferred]:
        """The transfers that the wallet received in the eon, in order."""
        return [e for e in self._transfers(eon) if e.recipient.wallet == wallet]

    def _transfers(self, eon: int) -> list[Transferred]:
        return [e for e in self.events if isinstance(e, Transferred) and e.eon == eon]

    def replayed(self) -> dict[Key, Account]:
        """The accounts that the events alone lead to, each applied in the eon it happened in."""
        replay = World(self.wallets)
        for eon, event in zip(self.moments, self.events, strict=True):
            replay.eon = eon
            assert isinstance(event, Transferred | Moved)
            owners = (event.sender, event.recipient) if isinstance(event, Transferred) else (event.owner,)
            replay.accounts.update(apply(replay.view(owners, [event.eon]), event))
        return replay.accounts
