"""Plays every operation of `spec/contract.md` §8.2 once and reads the gas off its receipt.

Challenges carry the ether that the stock client sends, which is more than the fee; the refund is part of the cost.
"""

from __future__ import annotations

from collections.abc import Callable

from contracts.gas_lab import EPOCH, EXTENDED_EPOCH, PLAIN, TOTAL, Lab
from contracts.synthetic import COIN, Checkpoint, Entry, Place, passive_path, plain_path, trail
from contracts.tests.people import ALICE, BOB, CAROL, DAVE, ERIN, OPERATOR, Person
from nocust.encoding import ZERO_HASH
from nocust.leaves import OPEN_POSITION, active_transfer_leaf, swap_leaf, transfer_leaf
from nocust.messages import balance_marker_hash, withdrawal_authorization_hash

Gas = dict[str, int]
FEE = 100_100 * 5 * 10**9
CHALLENGE_VALUE = 400_000 * 5 * 10**9
DELIVERY_VALUE = 300_000 * 5 * 10**9
SET_DEPTH = 4
PAST, NOW = 10, 11
"""Eons of the two checkpoints on which disputes are played."""
DEPOSIT_LIMIT, REQUEST_LIMIT, STATE_LIMIT, DELIVERY_LIMIT, RECOVERY_LIMIT = (
    300_000,
    1_000_000,
    400_000,
    300_000,
    300_000,
)
CLIENT_LIMITS = {
    "deposit": DEPOSIT_LIMIT,
    "requestWithdrawal": REQUEST_LIMIT,
    "challengeStateUpdate": STATE_LIMIT,
    "challengeDelivery(active)": DELIVERY_LIMIT,
    "recoverAllFunds": RECOVERY_LIMIT,
}
"""Gas limits that the stock client sets (`spec/contract.md` §6), by the beginning of the operation's name."""


def limit_of(operation: str) -> int | None:
    """The stock client's gas limit for an operation, if it has one."""
    return next((limit for name, limit in CLIENT_LIMITS.items() if operation.startswith(name)), None)


# ---- deposits, checkpoints ----


def founding(lab: Lab) -> Gas:
    """Operations in the first eon, on empty storage."""
    eth, token = lab.eth, lab.token.address
    gas = {"registerERC20": lab.act(OPERATOR, "registerERC20", token).gas}
    for name, person, coin, amount in (
        ("deposit ETH: 1st ever (all slots new)", DAVE, eth, 3 * TOTAL),
        ("deposit ETH: new wallet, same eon", ALICE, eth, COIN),
        ("deposit ETH: same wallet again, same eon", ALICE, eth, COIN),
        ("deposit ERC20: 1st (token slots new)", DAVE, token, 3 * TOTAL),
        ("deposit ERC20: new wallet, same eon", ALICE, token, COIN),
        ("deposit ERC20: same wallet again", ALICE, token, COIN),
    ):
        gas[name] = _deposit(lab, person, coin, amount, name)
    gas["submitCheckpoint: slot new"] = lab.submit(lab.checkpoint(4).root)
    return gas


def _deposit(lab: Lab, person: Person, token: str, amount: int, name: str = "") -> int:
    value = amount if token == lab.eth else 0
    arguments = token, person.address, amount
    return lab.act_as_client(name, DEPOSIT_LIMIT, person, "deposit", *arguments, value=value)


def settling(lab: Lab) -> Gas:
    """Eons until every ring of the contract has been round once, and the operations after that. Ends with the eon
    before the disputes, without its checkpoint."""
    eth, token = lab.eth, lab.token.address
    for eon in range(2, 8):
        lab.to(eon)
        for coin in (eth, token):
            _deposit(lab, DAVE, coin, COIN)
        lab.submit(lab.checkpoint(4).root)
    lab.to(8)
    gas: Gas = {}
    for name, person, coin in (
        ("deposit ETH: steady, 1st in eon (slots reused)", DAVE, eth),
        ("deposit ETH: steady, new wallet", BOB, eth),
        ("deposit ERC20: steady, 1st in eon", DAVE, token),
    ):
        gas[name] = _deposit(lab, person, coin, COIN, name)
    gas["submitCheckpoint: steady (slot reused)"] = lab.submit(lab.checkpoint(4).root)
    lab.to(9)
    lab.submit(lab.checkpoint(4).root)
    lab.to(PAST)
    return gas


# ---- authorised requests, slashing, payment ----


def authorised(lab: Lab) -> Gas:
    """Requests that carry a signature instead of a proof, their cancellation and payment. Starts and ends nowhere
    in particular: the caller reverts."""
    gas: Gas = {}
    eth = lab.eth
    lab.submit(lab.checkpoint(4).root)
    for position in range(3):
        message = withdrawal_authorization_hash(
            lab.chain.raw, lab.chain.raw, ALICE.raw, 10**6, (position + 1) * COIN
        )
        receipt = lab.act(
            OPERATOR, "requestDelegatedWithdrawal", eth, ALICE.address, COIN, 10**6, *ALICE.sign(message)
        )
        gas["requestDelegatedWithdrawal ETH (operator tx), 3rd pending"] = receipt.gas
    gas["requestAuthorizedWithdrawal ETH, new wallet"] = _authorise(lab, BOB, eth)
    _authorise(lab, CAROL, eth)
    _authorise(lab, CAROL, lab.token.address)
    _authorise(lab, DAVE, eth)
    gas["slashWithdrawal: current-eon requests"] = _slash(lab, DAVE, PAST)
    lab.to(NOW)
    gas["slashWithdrawal: previous-eon requests"] = _slash(lab, BOB, NOW)
    lab.submit(lab.checkpoint(4).root)
    lab.to(NOW + 1)
    lab.submit(lab.checkpoint(4).root)
    lab.to(NOW + 1, EXTENDED_EPOCH)
    confirm = "confirmWithdrawal"
    gas["confirmWithdrawal ERC20: 1 request"] = lab.act(ERIN, confirm, lab.token.address, CAROL.address).gas
    gas["confirmWithdrawal ETH: 3 requests"] = lab.act(ERIN, confirm, eth, ALICE.address).gas
    gas["confirmWithdrawal ETH: nothing pending"] = lab.act(ERIN, confirm, eth, ALICE.address).gas
    gas["confirmWithdrawal ETH: 1 request"] = lab.act(ERIN, confirm, eth, CAROL.address).gas
    return gas


def _authorise(lab: Lab, person: Person, token: str) -> int:
    message = withdrawal_authorization_hash(lab.chain.raw, bytes.fromhex(token[2:]), person.raw, 10**6, COIN)
    signature = OPERATOR.sign(message)
    return lab.act(person, "requestAuthorizedWithdrawal", token, COIN, 10**6, *signature).gas


def _slash(lab: Lab, person: Person, eon: int) -> int:
    message = balance_marker_hash(lab.chain.raw, lab.chain.raw, person.raw, eon, 0)
    r, s, v = person.sign(message)
    function = "slashWithdrawalWithProofOfMinimumAvailableBalance"
    return lab.act(OPERATOR, function, lab.eth, person.address, [eon, 0], [r, s], v).gas


# ---- requests with proof ----


def requests(lab: Lab, depth: int) -> Gas:
    """Requests against a checkpoint of 2^depth wallets. The caller reverts."""
    past = lab.checkpoint(depth)
    lab.submit(past.root)
    lab.to(NOW)
    names = (
        ("requestWithdrawal ETH: 1st in eon", lab.eth, past.places[0][0]),
        ("requestWithdrawal ETH: 2nd by same wallet", lab.eth, past.places[0][0]),
        ("requestWithdrawal ERC20: 1st in eon", lab.token.address, past.places[1][0]),
    )
    return {name: _request(lab, name, token, place) for name, token, place in names}


def _request(lab: Lab, name: str, token: str, place: Place) -> int:
    return lab.act_as_client(
        name,
        REQUEST_LIMIT,
        ALICE,
        "requestWithdrawal",
        token,
        [place.entry.active, place.entry.passive_root],
        place.path.trail,
        place.path.hashes,
        place.membership,
        place.path.values,
        [place.lr, place.passive_mark],
        COIN,
        value=FEE,
    )


def recoveries(lab: Lab, depth: int) -> Gas:
    """Ways out of a chain that halted without a checkpoint after the next. The caller reverts."""
    past = lab.checkpoint(depth)
    lab.submit(past.root)
    lab.to(NOW)
    lab.submit(lab.checkpoint(4).root)
    for token in (lab.eth, lab.token.address):
        _deposit(lab, BOB, token, COIN)
    lab.to(NOW + 2)
    gas: Gas = {}
    for coin, token, places in zip(("ETH", "ERC20"), (lab.eth, lab.token.address), past.places, strict=True):
        name = f"recoverAllFunds {coin}"
        gas[name] = _recover(lab, name, token, places[0])
        name = "recoverOnlyParentChainFunds " + ("ETH (1 deposit)" if coin == "ETH" else "ERC20")
        gas[name] = lab.act(BOB, "recoverOnlyParentChainFunds", token, BOB.address).gas
    return gas


def _recover(lab: Lab, name: str, token: str, place: Place) -> int:
    return lab.act_as_client(
        name,
        RECOVERY_LIMIT,
        ALICE,
        "recoverAllFunds",
        token,
        ALICE.address,
        [place.entry.active, place.entry.passive_root],
        place.path.trail,
        place.path.hashes,
        place.membership,
        place.path.values,
        place.lr,
        [0, *place.passive_mark],
    )


# ---- state updates ----


def states(lab: Lab, depth: int) -> Gas:
    """State update challenges and answers in trees of 2^depth wallets. The caller reverts before each call of
    this module's functions; between the three games here it is done inside."""
    before = lab.snapshot()
    gas = _state_game(lab, depth, (COIN, 2 * COIN))
    before = lab.revert(before)
    gas |= _state_game(lab, depth, (0, 0))
    lab.revert(before)
    gas |= _empty_game(lab, depth)
    return gas


def _state_game(lab: Lab, depth: int, deltas: tuple[int, int]) -> Gas:
    spent, gained = deltas
    kind = "signed deltas" if any(deltas) else "no deltas"
    where = trail(0, depth)
    passive = 3 * COIN
    set_root = lab.rng.randbytes(32) if any(deltas) else ZERO_HASH
    message = lab.state(ALICE, lab.chain.raw, where, PAST, set_root, deltas)
    signatures = ALICE.sign(message), OPERATOR.sign(message)
    earlier = Entry(ALICE.raw, 10 * COIN, lab.rng.randbytes(32), lab.rng.randbytes(32), 4 * COIN, COIN)
    later = Entry(
        ALICE.raw,
        earlier.width + gained + passive - spent,
        message if any(deltas) else ZERO_HASH,
        lab.rng.randbytes(32),
        passive,
        COIN,
    )
    past = lab.checkpoint(depth, ether=(earlier, PLAIN[1]))
    now = lab.checkpoint(depth, ether=(later, PLAIN[1]))
    _stage(lab, past, now)
    challenge = _challenge_state(lab, past.places[0][0], deltas, set_root, signatures[1])
    answer = _answer_state(lab, ALICE, now.places[0][0], deltas, set_root, signatures)
    return {
        f"challengeStateUpdate(PoEA), {kind}": challenge,
        f"answerStateUpdateChallenge, {kind}": answer,
    }


def _stage(lab: Lab, past: Checkpoint, now: Checkpoint) -> None:
    """Submits both checkpoints and goes on to the time of challenges."""
    lab.submit(past.root)
    lab.to(NOW)
    lab.submit(now.root)
    lab.to(NOW, EPOCH + 1)


Signature = tuple[bytes, bytes, int]


def _challenge_state(
    lab: Lab, place: Place, deltas: tuple[int, int], set_root: bytes, operator: Signature
) -> int:
    r, s, v = operator if any(deltas) else (ZERO_HASH, ZERO_HASH, 0)
    return lab.act_as_client(
        "challengeStateUpdate(PoEA), " + ("signed deltas" if any(deltas) else "no deltas"),
        STATE_LIMIT,
        ALICE,
        "challengeStateUpdateWithProofOfExclusiveBalanceAllotment",
        lab.eth,
        [place.entry.active, place.entry.passive_root],
        place.path.trail,
        place.path.hashes,
        place.membership,
        place.path.values,
        [place.lr, list(deltas), place.passive_mark],
        [r, s, set_root],
        v,
        value=CHALLENGE_VALUE,
    )


def _answer_state(
    lab: Lab,
    issuer: Person,
    place: Place,
    deltas: tuple[int, int],
    set_root: bytes,
    signatures: tuple[Signature, Signature],
) -> int:
    words = [*signatures[0][:2], *signatures[1][:2], set_root, place.entry.passive_root]
    kinds = [signatures[0][2], signatures[1][2]]
    if not any(deltas):
        words[:4] = [ZERO_HASH] * 4
        kinds = [0, 0]
    return lab.act(
        OPERATOR,
        "answerStateUpdateChallenge",
        lab.eth,
        issuer.address,
        place.path.hashes,
        place.membership,
        place.path.values,
        [place.lr, list(deltas), place.passive_mark],
        words,
        kinds,
    ).gas


def _empty_game(lab: Lab, depth: int) -> Gas:
    """Challenge by a wallet that was only registered."""
    where = trail(1, depth)
    message = lab.state(BOB, lab.chain.raw, where, PAST, ZERO_HASH, (0, 0))
    now = lab.checkpoint(depth, ether=(PLAIN[0], Entry(BOB.raw, 0)))
    _stage(lab, lab.checkpoint(4), now)
    challenge = lab.act_as_client(
        "challengeStateUpdate(empty / agreement)",
        STATE_LIMIT,
        BOB,
        "challengeStateUpdateWithProofOfActiveStateUpdateAgreement",
        lab.eth,
        ZERO_HASH,
        where,
        [0, 0],
        *OPERATOR.sign(message),
        value=CHALLENGE_VALUE,
    )
    unsigned = BOB.sign(message), OPERATOR.sign(message)
    answer = _answer_state(lab, BOB, now.places[0][1], (0, 0), ZERO_HASH, unsigned)
    return {
        "challengeStateUpdate(empty / agreement)": challenge,
        "answerStateUpdateChallenge (to empty)": answer,
    }


# ---- deliveries ----


def deliveries(lab: Lab, depth: int) -> Gas:
    """Delivery challenges and answers in trees of 2^depth wallets. Beyond 2^30 the sender's set is as large."""
    before = lab.snapshot()
    gas = _active_delivery(lab, depth, depth if depth > 30 else SET_DEPTH)
    lab.revert(before)
    return gas | _passive_delivery(lab, depth)


def _active_delivery(lab: Lab, depth: int, set_depth: int) -> Gas:
    amount, nonce = 2 * COIN, lab.rng.getrandbits(250)
    sender, recipient = trail(0, depth), trail(1, depth)
    leaf = active_transfer_leaf(BOB.raw, amount, recipient, nonce)
    sent, sent_root = plain_path(lab.rng, leaf, set_depth)
    received, received_root = plain_path(
        lab.rng, active_transfer_leaf(ALICE.raw, amount, recipient, nonce), SET_DEPTH
    )
    deltas = amount, COIN
    message = lab.state(ALICE, lab.chain.raw, sender, PAST, sent_root, deltas)
    gained = 0, amount
    arrived = lab.state(BOB, lab.chain.raw, recipient, PAST, received_root, gained)
    bob = Entry(BOB.raw, 5 * COIN, arrived, lab.rng.randbytes(32), COIN, COIN)
    now = lab.checkpoint(depth, ether=(PLAIN[0], bob))
    _stage(lab, lab.checkpoint(4), now)
    r, s, v = OPERATOR.sign(message)
    challenge = lab.act_as_client(
        "challengeDelivery(active), tx tree 2^4",
        DELIVERY_LIMIT,
        BOB,
        "challengeTransferDeliveryWithProofOfActiveStateUpdateAgreement",
        lab.eth,
        [ALICE.address, BOB.address],
        [nonce, amount],
        [sender, sent.trail, recipient],
        sent.hashes,
        list(deltas),
        [r, s, sent_root],
        v,
        value=DELIVERY_VALUE,
    )
    place = now.places[0][1]
    answer = lab.act(
        OPERATOR,
        "answerTransferDeliveryChallengeWithProofOfActiveStateUpdateAgreement",
        lab.eth,
        [ALICE.address, BOB.address],
        received.trail,
        place.path.hashes,
        place.membership,
        place.path.values,
        [place.lr, list(gained), place.passive_mark],
        [received_root, bob.passive_root],
        received.hashes,
    ).gas
    return {"challengeDelivery(active), tx tree 2^4": challenge, "answerDelivery(active)": answer}


def _passive_delivery(lab: Lab, depth: int) -> Gas:
    amount, nonce, position = 2 * COIN, lab.rng.getrandbits(250), 7 * COIN
    sender, recipient = trail(0, depth), trail(1, depth)
    leaf = transfer_leaf(BOB.raw, amount, recipient, nonce, OPEN_POSITION)
    sent, sent_root = plain_path(lab.rng, leaf, SET_DEPTH)
    deltas = amount, COIN
    state = lab.state(ALICE, lab.chain.raw, sender, PAST, sent_root, deltas)
    total = 20 * COIN
    got, got_root = passive_path(
        lab.rng,
        transfer_leaf(ALICE.raw, amount, recipient, nonce, position),
        position,
        position + amount,
        total,
        SET_DEPTH,
    )
    alice = Entry(ALICE.raw, 10 * COIN, state, lab.rng.randbytes(32), COIN, position)
    bob = Entry(BOB.raw, 25 * COIN, lab.rng.randbytes(32), got_root, total, COIN)
    now = lab.checkpoint(depth, ether=(alice, bob))
    _stage(lab, lab.checkpoint(4), now)
    place = now.places[0][0]
    challenge = lab.act(
        BOB,
        "challengeTransferDeliveryWithProofOfPassiveStateUpdate",
        lab.eth,
        [ALICE.address, BOB.address],
        [sent_root, alice.passive_root],
        [sender, sent.trail, recipient],
        place.path.hashes,
        place.membership,
        place.path.values,
        [place.lr, list(deltas), place.passive_mark, [nonce, amount]],
        sent.hashes,
        value=CHALLENGE_VALUE,
    ).gas
    place = now.places[0][1]
    answer = lab.act(
        OPERATOR,
        "answerTransferDeliveryChallengeWithProofOfPassiveStateUpdate",
        lab.eth,
        [ALICE.address, BOB.address],
        got.trail,
        place.path.hashes,
        place.membership,
        place.path.values,
        [place.lr, place.passive_mark, [position, nonce]],
        [bob.active, got_root],
        got.words(),
    ).gas
    return {"challengeDelivery(passive), tx tree 2^4": challenge, "answerDelivery(passive)": answer}


# ---- swaps ----


def swaps(lab: Lab, depth: int) -> Gas:
    """An order of 4 ETH for 8 tokens, half executed, disputed in trees of 2^depth wallets."""
    sell, buy, start, nonce = 4 * COIN, 8 * COIN, 10 * COIN, lab.rng.getrandbits(250)
    where = trail(0, depth)
    tokens = [lab.eth, lab.token.address]
    order = swap_leaf(*lab.tokens, where, sell, buy, start, nonce)
    sold, sold_root = plain_path(lab.rng, order, SET_DEPTH)
    bought, bought_root = plain_path(lab.rng, order, SET_DEPTH)
    debit = lab.state(ALICE, lab.chain.raw, where, PAST, sold_root, (sell, 0))
    credit = lab.state(ALICE, lab.token.raw, where, PAST, bought_root, (COIN, COIN))
    selling = Entry(ALICE.raw, start - sell // 2, debit, lab.rng.randbytes(32))
    buying = Entry(ALICE.raw, start + buy // 2, credit, lab.rng.randbytes(32))
    now = lab.checkpoint(depth, ether=(selling, PLAIN[1]), token=(buying, PLAIN[1]))
    _stage(lab, lab.checkpoint(4), now)
    place = now.places[0][0]
    challenge = lab.act(
        ALICE,
        "challengeSwapEnactmentWithProofOfActiveStateUpdateAgreement",
        tokens,
        [where, sold.trail, where],
        place.path.hashes,
        place.membership,
        sold.hashes,
        place.path.values,
        [place.lr, [sell, 0], place.passive_mark],
        [sell, buy, start, nonce],
        [sold_root, selling.passive_root, ZERO_HASH],
        value=CHALLENGE_VALUE,
    ).gas
    place = now.places[1][0]
    answer = lab.act(
        OPERATOR,
        "answerSwapChallengeWithProofOfExclusiveBalanceAllotment",
        tokens,
        ALICE.address,
        bought.trail,
        place.path.hashes,
        place.membership,
        bought.hashes,
        place.path.values,
        [place.lr, [COIN, COIN], place.passive_mark],
        start,
        [bought_root, buying.passive_root, ZERO_HASH],
    ).gas
    return {"challengeSwapEnactment, tx tree 2^4": challenge, "answerSwapChallenge": answer}


ON_TREES: tuple[Callable[[Lab, int], Gas], ...] = (requests, states, deliveries, swaps, recoveries)
"""Scenarios that start in eon `PAST` before its checkpoint."""
