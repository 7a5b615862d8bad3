"""What users do after an honest checkpoint cannot take the operator's answer away."""

from __future__ import annotations

from contextlib import suppress

import pytest

from contracts.gas_lab import EPOCH, PLAIN, Lab
from contracts.gas_scenarios import CHALLENGE_VALUE, NOW, PAST
from contracts.synthetic import COIN, Entry, Place, plain_path, trail
from contracts.tests.bound import Refused
from contracts.tests.people import ALICE, MALLORY, OPERATOR, Person
from nocust.encoding import ZERO_HASH
from nocust.leaves import swap_leaf
from nocust.messages import balance_marker_hash, withdrawal_authorization_hash

SLASH = "slashWithdrawalWithProofOfMinimumAvailableBalance"


def request(lab: Lab, person: Person, token: str, amount: int) -> None:
    """Lists a request for withdrawal."""
    message = withdrawal_authorization_hash(
        lab.chain.raw, bytes.fromhex(token[2:]), person.raw, 10**6, amount
    )
    lab.act(person, "requestAuthorizedWithdrawal", token, amount, 10**6, *OPERATOR.sign(message))


def cancel(lab: Lab, sender: Person, holder: Person, token: str, eon: int) -> None:
    """Tries to cancel the holder's requests with a marker that he signed."""
    message = balance_marker_hash(lab.chain.raw, bytes.fromhex(token[2:]), holder.raw, eon, 0)
    r, s, v = holder.sign(message)
    with suppress(Refused):
        lab.act(sender, SLASH, token, holder.address, [eon, 0], [r, s], v)


def challenge_state(lab: Lab, place: Place) -> None:
    """Alice challenges what followed from her entry in the previous checkpoint."""
    lab.act(
        ALICE,
        "challengeStateUpdateWithProofOfExclusiveBalanceAllotment",
        lab.eth,
        [place.entry.active, place.entry.passive_root],
        place.path.trail,
        place.path.hashes,
        place.membership,
        place.path.values,
        [place.lr, [0, 0], place.passive_mark],
        [ZERO_HASH] * 3,
        0,
        value=CHALLENGE_VALUE,
    )


def answer_state(lab: Lab, place: Place) -> None:
    """The operator answers it with her entry in the current checkpoint."""
    lab.act(
        OPERATOR,
        "answerStateUpdateChallenge",
        lab.eth,
        ALICE.address,
        place.path.hashes,
        place.membership,
        place.path.values,
        [place.lr, [0, 0], place.passive_mark],
        [ZERO_HASH] * 6,
        [0, 0],
    )


@pytest.mark.parametrize("sender", [ALICE, MALLORY], ids=["the holder", "a stranger"])
@pytest.mark.parametrize("opened_first", [True, False], ids=["after opening", "before opening"])
def test_user_cancels_a_request_that_the_checkpoint_honours(
    lab: Lab, sender: Person, opened_first: bool
) -> None:
    past = lab.checkpoint(4)
    lab.submit(past.root)
    request(lab, ALICE, lab.eth, COIN)
    after = Entry(ALICE.raw, PLAIN[0].width - COIN)
    now = lab.checkpoint(4, ether=(after, PLAIN[1]))
    lab.to(NOW)
    lab.submit(now.root)
    lab.to(NOW, EPOCH + 1)
    if opened_first:
        challenge_state(lab, past.places[0][0])
    cancel(lab, sender, ALICE, lab.eth, NOW)
    if not opened_first:
        challenge_state(lab, past.places[0][0])
    answer_state(lab, now.places[0][0])
    assert lab.chain.read("getLiveChallenges", NOW) == 0


def test_user_cancels_a_request_to_spoil_the_submission(lab: Lab) -> None:
    lab.submit(lab.checkpoint(4).root)
    request(lab, ALICE, lab.eth, COIN)
    lab.to(NOW)
    accumulator = lab.chain.read("getParentChainAccumulatorAtSlot", PAST % 5)
    cancel(lab, ALICE, ALICE, lab.eth, NOW)
    root = lab.checkpoint(4).root
    lab.act(OPERATOR, "submitCheckpoint", accumulator, root)
    assert lab.chain.read("lastSubmissionEon") == NOW


def test_owner_of_a_lasting_order_withdraws_what_it_bought(lab: Lab) -> None:
    """An order that lasts several eons is signed in advance with a start balance of zero on the buying side; what
    it bought in earlier eons may be withdrawn. The order bought 6 for 3 of 4, 2 of the 6 are requested."""
    sell, buy, nonce = 4 * COIN, 8 * COIN, 77
    where = trail(0, 4)
    sold, sold_root = plain_path(lab.rng, swap_leaf(*lab.tokens, where, sell, buy, sell, nonce), 4)
    bought, bought_root = plain_path(lab.rng, swap_leaf(*lab.tokens, where, sell, buy, 0, nonce), 4)
    debit = lab.state(ALICE, lab.chain.raw, where, PAST, sold_root, (sell, 0))
    credit = lab.state(ALICE, lab.token.raw, where, PAST, bought_root, (0, 0))
    lab.submit(lab.checkpoint(4).root)
    request(lab, ALICE, lab.token.address, 2 * COIN)
    selling, buying = Entry(ALICE.raw, COIN, debit), Entry(ALICE.raw, 4 * COIN, credit)
    now = lab.checkpoint(4, ether=(selling, PLAIN[1]), token=(buying, PLAIN[1]))
    lab.to(NOW)
    lab.submit(now.root)
    lab.to(NOW, EPOCH + 1)
    tokens = [lab.eth, lab.token.address]
    place = now.places[0][0]
    lab.act(
        ALICE,
        "challengeSwapEnactmentWithProofOfActiveStateUpdateAgreement",
        tokens,
        [where, sold.trail, where],
        place.path.hashes,
        place.membership,
        sold.hashes,
        place.path.values,
        [place.lr, [sell, 0], place.passive_mark],
        [sell, buy, sell, nonce],
        [sold_root, ZERO_HASH, ZERO_HASH],
        value=CHALLENGE_VALUE,
    )
    place = now.places[1][0]
    lab.act(
        OPERATOR,
        "answerSwapChallengeWithProofOfExclusiveBalanceAllotment",
        tokens,
        ALICE.address,
        bought.trail,
        place.path.hashes,
        place.membership,
        bought.hashes,
        place.path.values,
        [place.lr, [0, 0], place.passive_mark],
        0,
        [bought_root, ZERO_HASH, ZERO_HASH],
    )
    assert lab.chain.read("getLiveChallenges", NOW) == 0
