"""Owners of orders who take the hub to the contract, and a market that gives them any price they agree to."""

from __future__ import annotations

from dataclasses import dataclass, field

from contractor.tests.challenger import Player, chains
from contractor.tests.conftest import Hub, signer
from ledger import store
from ledger.engine import Command, Fill
from ledger.models import ActiveState, Token, Transfer
from ledger.orders import StoredOrder
from ledger.proofs import proofs
from ledger.transaction_sets import set_of_state
from nocust.addresses import to_checksum
from nocust.encoding import ZERO_HASH
from nocust.merkle import MerkleTree
from operator_api.simulation.traders import Trader

UNIT = 10**6
FUNDS = 100 * UNIT
POOL = 10**6 * UNIT


def done(command: Command) -> StoredOrder:
    """An order's command that must be accepted."""
    (outcome,) = store.execute([command])
    assert isinstance(outcome, StoredOrder), outcome
    return outcome


@dataclass
class Dealer:
    """Somebody with wallets in two tokens, who trades the one for the other, and remembers the orders. Of those of
    one eon the contract takes one challenge: `challenged` is which, in the order of time."""

    hub: Hub
    debit: Player
    credit: Player
    trader: Trader
    orders: list[str] = field(default_factory=list)
    challenged: int = -1

    @classmethod
    def register(cls, hub: Hub, number: int, sells: Token, buys: Token, funds: int) -> Dealer:
        """With a deposit of `funds` in the token that it sells."""
        key = signer(number)
        debit, credit = Player.register(hub, key, sells), Player.register(hub, key, buys)
        dealer = cls(hub, debit, credit, Trader(debit.owner, credit.owner))
        dealer.fund(debit, funds)
        return dealer

    def fund(self, player: Player, amount: int) -> None:
        """Deposit into one of the wallets; tokens come from the operator, who has them all."""
        node = self.hub.node
        if player.wallet.token.trail == 0:
            player.deposit(amount)
            return
        token = node.token.functions
        operator = bytes.fromhex(node.contract.functions.operator().call()[2:])
        node.send(operator, token.transfer(player.text, amount))
        node.send(player.address, token.approve(node.contract.address, amount))
        assert player.send("deposit", player.token, player.text, amount, value=0)

    def enter(self, goes_on: bool) -> None:
        """Begin the eon; whether its order goes on is what the hub told it."""
        eon = self.hub.status.eon
        if not goes_on:
            self.trader.forget()
        keys = [(player.wallet.pk, eon) for player in (self.debit, self.credit)]
        found = proofs(keys)
        starts = [found[key].allotment.right - found[key].allotment.left for key in keys]
        self.trader.enter(eon, *starts)

    def place(self, amount: int, wanted: int, eons: int = 1, sell: bool = True) -> None:
        order = self.trader.place(amount, wanted, eons, sell)
        stored = done(order)
        self.trader.accepted(order, stored.order.tx_id)
        self.orders.append(str(stored.order.tx_id))

    def fill(self, market: Dealer, gives: int, gets: int) -> None:
        """Trade with the market's order at any price."""
        one, other = self.trader, market.trader
        owners = tuple(wallet.owner for side in (one, other) for wallet in (side.debit, side.credit))
        done(Fill(one.tx_id, other.tx_id, gives, gets, owners))

    def row(self, eon: int, order: int = -1) -> Transfer:
        return Transfer.objects.get(tx_id=self.orders[order], eon_number=eon)

    def freeze(self) -> None:
        done(self.trader.freeze())

    def cancel(self) -> None:
        row = self.row(self.hub.status.eon)
        out, got = int(row.matched_out or 0), int(row.matched_in or 0)
        self.freeze()
        done(self.trader.cancel(out, got))
        self.trader.closed(out, got)

    def finalize(self) -> None:
        row = self.row(self.hub.status.eon)
        out, got = int(row.matched_out or 0), int(row.matched_in or 0)
        done(self.trader.finalize(got))
        self.trader.closed(out, got)

    # ---- on chain ---------------------------------------------------------------------------------------------

    def challenge_all(self, eon: int) -> int:
        """Challenge what became of both wallets and of an order of the eon, in the next block; how often. The state
        is one of those that the operator signed, another one each time."""
        for player in (self.debit, self.credit):
            states = ActiveState.objects.filter(
                wallet=player.wallet, eon_number=eon, operator_signature__isnull=False
            ).order_by("id")
            state = states[(eon + self.debit.wallet.pk) % len(states)] if states else None
            player.challenge_state(eon, state, mine=False)
        rows = list(
            Transfer.objects.filter(tx_id__in=self.orders, eon_number=eon, appended=True).order_by("id")
        )
        if rows:
            self.challenge_order(rows[self.challenged], mine=False)
        return 2 + bool(rows)

    def committed(self, player: Player, eon: int) -> ActiveState | None:
        """The state of the eon in the wallet's leaf of the next checkpoint."""
        state = player.proof(eon + 1).allotment.active_state
        if state is not None:
            state.wallet = player.wallet
        return state

    def challenge_order(self, row: Transfer, mine: bool = True) -> bool:
        """Challenge how an order was executed, with the debit wallet's leaf."""
        player = self.debit if row.wallet_id == self.debit.wallet.pk else self.credit
        other = self.credit if player is self.debit else self.debit
        state = self.committed(player, row.eon_number)
        assert state is not None
        entries = set_of_state(state)
        index = next(place for place, entry in enumerate(entries) if entry.row.pk == row.pk)
        proof = player.proof(row.eon_number + 1)
        allotment = proof.allotment
        allotment_chain, membership_chain, values = chains(proof)
        return player.send(
            "challengeSwapEnactmentWithProofOfActiveStateUpdateAgreement",
            [player.token, other.token],
            [player.wallet.trail_identifier, index, other.wallet.trail_identifier],
            allotment_chain,
            membership_chain,
            list(MerkleTree([entry.leaf for entry in entries]).proof(index)),
            values,
            [
                [allotment.left, allotment.right],
                [state.updated_spendings, state.updated_gains],
                [allotment.passive_amount, allotment.passive_marker],
            ],
            [row.amount, row.amount_swapped, entries[index].start, row.nonce],
            [state.tx_set_hash, allotment.passive_checksum or ZERO_HASH, ZERO_HASH],
            mine=mine,
        )

    def __str__(self) -> str:
        return to_checksum(self.debit.address)


def market(hub: Hub, number: int = 2900) -> Dealer:
    """A dealer with an order that takes any price, for many eons."""
    ether, token = hub.ether, Token.objects.get(trail=1)
    return Dealer.register(hub, number, token, ether, POOL)
