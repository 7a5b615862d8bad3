"""Orders taken to the contract: whatever was matched, cancelled or carried over, the hub wins every challenge that
their owners can open, unless it cheated them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.utils import timezone

from contractor import sender
from contractor.models import EthereumTransaction
from contractor.tests.conftest import Hub
from contractor.tests.court import OPEN_ERA, check_won, live, players, settle
from contractor.tests.exchange import FUNDS, POOL, UNIT, Dealer, market
from heartbeat.tests.drill import Drill
from ledger import store
from ledger.models import Challenge, Token, TokenPair, Transfer
from ledger.store import StoredTransfer
from ledger.tests.checks import check_checkpoint, check_ledger
from nocust.addresses import to_checksum

WANTED = 300 * UNIT
"""What orders want for all that they give."""

Act = Callable[["Scene", Dealer], None]
Story = dict[int, list[Act]]
"""What a dealer does in each eon."""


class Scene:
    """Dealers who sell ether, each with a story, and the market they trade with."""

    def __init__(self, hub: Hub, stories: dict[str, Story]) -> None:
        """In eon 3, the first in which the dealers have allotments."""
        self.hub = hub
        self.market = market(hub)
        ether, token = hub.ether, Token.objects.get(trail=1)
        self.stories = {
            name: (Dealer.register(hub, 2000 + number, ether, token, FUNDS), story)
            for number, (name, story) in enumerate(stories.items())
        }
        self.stranger = Dealer.register(hub, 2950, ether, token, FUNDS)
        self.stranger.fund(self.stranger.credit, FUNDS)
        hub.settle()
        hub.go_to(3, 7)
        for dealer in self.dealers:
            dealer.enter(goes_on=False)
        self.market.place(POOL, 1, eons=5)

    @property
    def dealers(self) -> list[Dealer]:
        return [self.market, *(dealer for dealer, _ in self.stories.values())]

    def dealer(self, name: str) -> Dealer:
        return self.stories[name][0]

    def play(self) -> None:
        """What happens in the latest eon."""
        for dealer, story in self.stories.values():
            for act in story.get(self.hub.status.eon, []):
                act(self, dealer)

    def next_eon(self) -> None:
        """Enter it, once its checkpoint is submitted and challenges are taken."""
        eon = self.hub.status.eon + 1
        self.hub.settle()
        self.hub.go_to(eon, OPEN_ERA)
        check_ledger()
        check_checkpoint(eon)
        for dealer in self.dealers:
            newest = dealer.orders[-1:]
            dealer.enter(Transfer.objects.filter(tx_id__in=newest, eon_number=eon, appended=True).exists())

    def challenge(self) -> int:
        """Let everybody challenge all that can be challenged of the eon before; how much that was."""
        before = self.hub.status.eon - 1
        issued = sum(dealer.challenge_all(before) for dealer in self.dealers)
        self.hub.node.mine()
        assert live(self.hub, before + 1) == issued
        return issued

    def win(self, issued: int) -> None:
        """The hub answers by itself."""
        eon = self.hub.status.eon
        settle(self.hub, 9)
        rows = list(Challenge.objects.filter(eon_number=eon))
        assert len(rows) == issued
        assert [row for row in rows if not row.rebuted] == []
        assert live(self.hub, eon) == 0


def place(eons: int = 1, sell: bool = True, wanted: int = WANTED) -> Act:
    return lambda scene, dealer: dealer.place(FUNDS, wanted, eons, sell)


def fill(gives: int, gets: int) -> Act:
    return lambda scene, dealer: dealer.fill(scene.market, gives * UNIT, gets * UNIT)


def freeze(scene: Scene, dealer: Dealer) -> None:
    dealer.freeze()


def cancel(scene: Scene, dealer: Dealer) -> None:
    dealer.cancel()


def finalize(scene: Scene, dealer: Dealer) -> None:
    dealer.finalize()


def place_again(scene: Scene, dealer: Dealer) -> None:
    dealer.place(FUNDS, 2 * WANTED, 2)


def place_rest(scene: Scene, dealer: Dealer) -> None:
    dealer.place(scene.hub.available(dealer.debit.wallet), WANTED // 3, 2)


def challenge_the_first(scene: Scene, dealer: Dealer) -> None:
    dealer.challenged = 0


def pay(side: str, amount: int) -> Act:
    """From one of the dealer's wallets to the stranger's."""

    def act(scene: Scene, dealer: Dealer) -> None:
        outcome = getattr(dealer, side).pay(getattr(scene.stranger, side), amount * UNIT)
        assert outcome.position is not None

    return act


def stranger_deposits(scene: Scene, dealer: Dealer) -> None:
    """One wei and one unit of the token, for wallets that an order holds."""
    node = scene.hub.node
    for player in (dealer.debit, dealer.credit):
        ether = player.wallet.token.trail == 0
        source = scene.stranger.debit
        if not ether:
            operator = bytes.fromhex(node.contract.functions.operator().call()[2:])
            node.send(operator, node.token.functions.transfer(source.text, 1))
            node.send(source.address, node.token.functions.approve(node.contract.address, 1))
        assert source.send("deposit", player.token, player.text, 1, value=int(ether))


STORIES: dict[str, Story] = {
    "untouched": {3: [place()]},
    "partly filled at the limit": {3: [place(), fill(40, 120)]},
    "partly filled at a better price": {3: [place(), fill(40, 200)]},
    "a gift": {3: [place(3), fill(0, 7)]},
    "complete at the limit": {3: [place(), fill(100, 300)]},
    "complete at a better price": {3: [place(5), fill(60, 200), fill(40, 150)]},
    "finalised, and paid on": {
        3: [place(5), fill(100, 350), finalize, pay("credit", 340)],
        4: [pay("credit", 5)],
    },
    "complete in the second eon": {3: [place(5), fill(40, 130)], 4: [fill(60, 190)]},
    "complete and finalised in the second eon": {
        3: [place(5), fill(40, 130)],
        4: [fill(60, 190), finalize, pay("credit", 300)],
    },
    "more than all in the second eon": {3: [place(2), fill(1, 3)], 4: [fill(99, 320)]},
    "cancelled": {3: [place(5), fill(40, 130), cancel, pay("debit", 10), pay("credit", 130)]},
    "cancelled in the second eon": {
        3: [place(5), fill(40, 130)],
        4: [fill(20, 60), cancel, pay("debit", 40), pay("credit", 1)],
    },
    "cancelled and placed again": {3: [place(5), cancel, place_again, fill(10, 60)], 4: [fill(10, 61)]},
    "cancelled after a fill and placed again": {
        3: [
            place(5),
            fill(60, 210),
            cancel,
            challenge_the_first,
            pay("credit", 210),
            place_rest,
            fill(10, 61),
        ]
    },
    "finalised and placed again": {
        3: [
            place(2, sell=False),
            fill(70, 300),
            finalize,
            pay("credit", 300),
            place_rest,
            challenge_the_first,
        ],
        4: [fill(10, 60)],
    },
    "paid before and after": {3: [pay("debit", 50), pay("debit", 0)], 4: [pay("debit", 50)]},
    "frozen and left": {3: [place(5), fill(40, 130), freeze], 4: [pay("debit", 60)]},
    "bought for less": {3: [place(3, sell=False), fill(70, 300)], 4: [pay("debit", 30)]},
    "bought for less, finalised, spent": {
        3: [place(3, sell=False), fill(70, 300), finalize, pay("debit", 30), pay("credit", 300)]
    },
    "bought in two eons": {
        3: [place(3, sell=False), fill(30, 150)],
        4: [fill(40, 150), finalize, pay("debit", 30)],
    },
    "carried over three eons": {
        3: [place(4), fill(10, 30), stranger_deposits],
        4: [fill(20, 70)],
        5: [fill(30, 90), stranger_deposits],
        6: [fill(5, 15)],
    },
}


@pytest.mark.timeout(1200)
@pytest.mark.slow
def test_every_challenge_is_won(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(hub, STORIES)
    for eon in (4, 5, 6, 7):
        scene.play()
        scene.next_eon()
        issued = scene.challenge()
        scene.win(issued)
        assert hub.status.eon == eon
    assert "ALARM challenge lost" not in caplog.text
    assert "ALARM challenge unanswerable" not in caplog.text
    assert not hub.status.halted


def give_less(dealer: Dealer, market_: Dealer, amount: int, eon: int) -> None:
    """As a dishonest operator would: some of what the dealer got stays with the market."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        for wallet, change in ((dealer.credit, -amount), (market_.debit, amount)):
            cursor.execute(
                "UPDATE ledger_account SET swapped = swapped + %s WHERE wallet_id = %s AND eon_number = %s",
                [change, wallet.wallet.pk, eon],
            )
            assert cursor.rowcount == 1
        cursor.execute("SET session_replication_role = origin")


def test_a_payment_written_together_with_a_cancellation_is_answered(hub: Hub) -> None:
    ether, token = Token.objects.order_by("trail")
    dealer = Dealer.register(hub, 2500, ether, token, 100)
    (payee,) = players(hub, 1)
    dealer.enter(goes_on=False)
    dealer.place(100, 200)
    dealer.freeze()
    cancel = dealer.trader.cancel(0, 0)
    dealer.trader.closed(0, 0)
    _, paid = store.execute([cancel, dealer.trader.debit.transfer(payee.owner.owner, 40)])
    assert isinstance(paid, StoredTransfer)
    hub.go_to(4, OPEN_ERA)
    row = Transfer.objects.select_related("sender_active_state").get(pk=paid.id)
    assert dealer.debit.challenge_state(3, row.sender_active_state)
    settle(hub, 7)
    check_won(hub, 4, 1)


def test_an_order_executed_below_its_limit_loses(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(hub, {"cheated": {3: [place(), fill(40, 120)]}, "honest": {3: [place(), fill(40, 120)]}})
    scene.play()
    give_less(scene.dealer("cheated"), scene.market, 1000, 3)
    hub.settle()
    hub.go_to(4, OPEN_ERA)
    issued = scene.challenge()
    settle(hub, 9)
    cheated = scene.dealer("cheated")
    (lost,) = Challenge.objects.filter(rebuted=False)
    pair = (cheated.debit.wallet.token, cheated.credit.wallet.token)
    assert (lost.token, lost.sender) == (TokenPair.between(*pair).conduit, cheated.debit.address)
    assert Challenge.objects.filter(rebuted=True).count() == issued - 1
    refused = EthereumTransaction.objects.get(tag=f"answer/{lost.pk}/1")
    assert refused.note == "the contract refuses the call: v" or "over" in refused.note
    assert "ALARM challenge lost" in caplog.text
    hub.node.mine_to_era(5, OPEN_ERA)
    assert hub.node.contract.functions.hasOutstandingChallenges().call()


@pytest.mark.alarm("challenge unanswerable")
def test_an_order_that_the_hub_does_not_have_is_unanswerable(
    hub: Hub, caplog: pytest.LogCaptureFixture, drill: Drill
) -> None:
    """Rows that were lost or changed are named; and the operator reads which pair it is about."""
    scene = Scene(hub, {"changed": {3: [place(), fill(40, 120)]}})
    scene.play()
    dealer = scene.dealer("changed")
    tokens = (dealer.debit.wallet.token, dealer.credit.wallet.token)
    hub.settle()
    hub.go_to(4, OPEN_ERA)
    assert dealer.challenge_order(dealer.row(3))
    Transfer.objects.filter(tx_id=dealer.orders[-1]).update(nonce=dealer.row(3).nonce + 1)
    settle(hub, 3)
    names = " for ".join(to_checksum(token.address) for token in tokens)
    assert f"in orders of {names}, issued in block" in caplog.text
    (queued,) = EthereumTransaction.objects.filter(kind="answerChallenge")
    assert "had no order" in queued.note

    def try_again() -> None:
        for _ in range(sender.ALARM_REFUSALS):
            EthereumTransaction.objects.update(retry_at=timezone.now())
            sender.step()

    try_again()
    assert "had no order" in drill.raised("challenge unanswerable")
    drill.lasts("challenge unanswerable", try_again)
    Transfer.objects.filter(tx_id=dealer.orders[-1]).update(nonce=dealer.row(3).nonce - 1)
    settle(hub, 2)
    assert live(hub, 4) == 0
    settle(hub, 4)
    drill.over("challenge unanswerable")
