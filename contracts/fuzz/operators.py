"""Operators: the honest one, and the ways in which one cheats."""

from __future__ import annotations

from contracts.fuzz import moves, users
from contracts.fuzz.board import TOKENS, Board, Challenge, Move
from contracts.fuzz.chain import BLOCKS_PER_EON, EPOCH, SUBMISSION_END
from contracts.fuzz.moves import Page
from contracts.tests.people import OPERATOR

LATEST_SUBMISSION = EPOCH + 2
"""Era by which an honest operator has submitted, so that he can answer the first challenges in time."""


def honest_eon(board: Board, end: int = BLOCKS_PER_EON) -> None:
    """Plays the current eon until `end`, an era, with an honest operator: whatever users do, he is never at a
    loss. His checkpoint waits for cancellations of the past eon's requests alone, which are soon used up."""
    eon = board.eon
    planned = board.rng.randint(1, LATEST_SUBMISSION)
    while board.eon == eon and board.era < end:
        users.pay(board)
        block = [move for token in TOKENS for move in users.requests(board, token)]
        settled = not any(board.mirror.requested_at(pair, eon - 1) for pair in overdrawn(board))
        block += slashes(board)
        block += [honest_answer(board, item) for item in board.open if item.eon in board.pages]
        due = eon not in board.pages and board.era >= planned
        if due and settled and all(item.eon == eon for item in board.open):
            block.append(board.submission(board.honest_page()))
        block += users.deposits(board) + users.nuisances(board) + users.challenges(board)
        board.mine(block)


def silent_eon(board: Board, end: int) -> None:
    """Plays the current eon until `end`, an era, with an operator who does nothing."""
    eon = board.eon
    while board.eon == eon and board.era < end:
        block = [move for token in TOKENS for move in users.requests(board, token)]
        board.mine(block + users.deposits(board) + users.nuisances(board))


def slashes(board: Board, spared: int | None = None) -> list[Move]:
    """Cancels the requests of wallets that asked for more than they have left, one of them spared."""
    found: list[Move] = []
    for token, wallet in overdrawn(board):
        if wallet == spared:
            continue
        book = board.books[token]
        markers = {
            at: book.eons[at].marker[wallet]
            for at in range(max(board.eon - 2, 1), board.eon + 1)
            if wallet in book.eons[at].marker
        }
        at = max(markers, key=lambda at: _requested_since(board, token, wallet, at) - markers[at])
        found.append((moves.slash(book, wallet, at, markers[at], OPERATOR, True), None))
    return found


def overdrawn(board: Board) -> list[tuple[int, int]]:
    """The wallets, with their token before them, that asked for more than they have left."""
    pairs = ((token, wallet) for token in TOKENS for wallet in board.wallets())
    return [(token, wallet) for token, wallet in pairs if board.books[token].overdrawn(board.eon, wallet)]


def _requested_since(board: Board, token: int, wallet: int, eon: int) -> int:
    """What the contract holds against a marker of `eon`: the requests of this eon and of the one before, and those
    of the marker's own eon."""
    counted = {board.eon, board.eon - 1, eon}
    return sum(board.mirror.requested_at((token, wallet), at) for at in counted)


def honest_answer(board: Board, challenge: Challenge) -> Move:
    """The answer from the books, which must be accepted."""
    book, page = board.books[challenge.token], board.pages[challenge.eon]
    if challenge.transfer is None:
        call = moves.answer_state(book, page, challenge.token, challenge.wallet, challenge.state, True)
    else:
        got = book.eons[challenge.eon - 1].received(challenge.transfer.recipient)
        place = got.index(challenge.transfer)
        call = moves.answer_delivery(book, page, challenge.token, challenge.transfer, place, True)
    return board.answer(challenge, call)


# ---- cheating ----


class Theft:
    """A false checkpoint in the current eon and the challenge that exposes it."""

    def __init__(self, page: Page, exposure: Move, challenge: Challenge, token: int) -> None:
        self.page = page
        self.exposure = exposure
        self.challenge = challenge
        self.token = token


def prepare_own_request(board: Board) -> None:
    """The operator authorises himself to withdraw what is not his."""
    token = board.rng.choice(TOKENS)
    book = board.books[token]
    free = board.mirror.holdings(token) + (board.gifts if token == 0 else 0) - board.mirror.pending(token)
    already = board.mirror.requested_at((token, 0), board.eon)
    beyond = free - max(book.available(board.eon, 0), 0)
    if beyond > 0:
        call = moves.authorised(book, 0, free, already, board.block, False, True)
        board.mine([(call, None)])


def theft(board: Board) -> Theft | None:
    """A theft of a kind that is possible now, if there is one. Closes the books of the eon."""
    eon = board.eon
    honest = [book.close_eon(eon) for book in board.books]
    overdrawn = [token for token in TOKENS if min(honest[token]) < 0]
    if overdrawn:
        widths = [[max(width, 0) for width in sheet] for sheet in honest]
        return _exposed_by_state(board, overdrawn[0], widths, board.rng.choice(board.wallets()[1:]))
    kinds = [_move, _inflate, _drop]
    board.rng.shuffle(kinds)
    for kind in kinds:
        found = kind(board, honest)
        if found:
            return found
    return None


def _exposed_by_state(board: Board, token: int, widths: list[list[int]], victim: int) -> Theft:
    eon = board.eon
    first, second = (book.sheet(eon, widths[index]) for index, book in enumerate(board.books))
    states = board.books[token].eons[eon - 1].states[victim]
    newest = states[-1] if states else None
    challenge = Challenge(eon, token, victim, newest)
    call = moves.challenge_state(
        board.books[token], board.pages[eon - 1], token, victim, board.rng.choice([None, newest]), True
    )
    return Theft(board.page((first, second)), board.challenge(challenge, call), challenge, token)


def _move(board: Board, honest: list[list[int]]) -> Theft | None:
    """Part of a wallet's balance becomes the operator's."""
    options = [(t, w) for t in TOKENS for w in board.wallets()[1:] if honest[t][w] > 0]
    if not options:
        return None
    token, victim = board.rng.choice(options)
    loot = max(users.amount(board, honest[token][victim]), 1)
    widths = [list(sheet) for sheet in honest]
    widths[token][victim] -= loot
    widths[token][0] += loot
    return _exposed_by_state(board, token, widths, victim)


def _inflate(board: Board, honest: list[list[int]]) -> Theft | None:
    """The operator allots himself more than there is; any challenge of the token exposes it."""
    token = board.rng.choice(TOKENS)
    widths = [list(sheet) for sheet in honest]
    # gifts belong to nobody, so he may have them
    widths[token][0] += (board.gifts if token == 0 else 0) + board.rng.choice((1, 10**18))
    return _exposed_by_state(board, token, widths, board.rng.choice(board.wallets()[1:]))


def _drop(board: Board, honest: list[list[int]]) -> Theft | None:
    """A transfer that the recipient does not get; the operator keeps it."""
    eon = board.eon
    options = [
        (token, item)
        for token in TOKENS
        for item in board.books[token].eons[eon - 1].transfers
        if item.recipient != 0 and honest[token][item.recipient] >= item.amount
    ]
    if not options:
        return None
    token, transfer = board.rng.choice(options)
    widths = [list(sheet) for sheet in honest]
    widths[token][transfer.recipient] -= transfer.amount
    widths[token][0] += transfer.amount
    first, second = (
        book.sheet(eon, widths[index], transfer if index == token else None)
        for index, book in enumerate(board.books)
    )
    page = board.page((first, second))
    by_sender = transfer.sender != 0 and board.rng.random() < 0.5
    challenge, call = users.delivery_challenge(board, token, transfer, by_sender)
    return Theft(page, board.challenge(challenge, call), challenge, token)


def crooked_eon(board: Board) -> None:
    """A false checkpoint, its exposure, and answers to it, all of which must be refused."""
    found = theft(board)
    if found is None:
        return
    board.skip_to(board.eon, board.rng.randint(1, EPOCH))
    board.mine([board.submission(found.page)])
    eon = board.eon
    board.skip_to(eon, board.rng.randint(EPOCH + 1, BLOCKS_PER_EON - 1))
    board.mine([found.exposure])
    board.mine(lies(board, found))
    board.mine(lies(board, found))


def lies(board: Board, found: Theft) -> list[Move]:
    """Every answer that the operator could think of."""
    book, challenge, page = board.books[found.token], found.challenge, found.page
    past = book.eons[challenge.eon - 1]
    if challenge.transfer is None:
        states = [None, *past.states[challenge.wallet]]
        tried = [
            moves.answer_state(book, page, found.token, challenge.wallet, state, False) for state in states
        ]
    else:
        count = len(past.received(challenge.transfer.recipient))
        tried = [
            moves.answer_delivery(book, page, found.token, other, place, False)
            for other in past.transfers
            for place in range(max(count - 1, 1))
            if other.recipient == challenge.transfer.recipient
            and page.sheets[found.token].leaves[other.recipient].passive
        ]
    board.rng.shuffle(tried)
    return [(call, None) for call in tried[:10]]


def late_submission(board: Board) -> None:
    """A checkpoint in the part of an eon that is closed to it."""
    silent_eon(board, board.rng.randint(SUBMISSION_END, BLOCKS_PER_EON - 1))
    board.mine([board.submission(board.honest_page(), False)])
