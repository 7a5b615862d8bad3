"""What users try in one block: honest and not."""

from __future__ import annotations

from dataclasses import replace

from contracts.fuzz import moves
from contracts.fuzz.board import TOKENS, Board, Challenge, Move
from contracts.fuzz.book import Transfer
from contracts.fuzz.chain import EPOCH, STRANGER, WALLETS, Call
from contracts.tests.people import OPERATOR

COIN = 10**18


def amount(board: Board, most: int) -> int:
    """A random amount up to `most`, small, large or all."""
    if most <= 0:
        return 0
    kind = board.rng.random()
    if kind < 0.2:
        return most
    return board.rng.randint(0, most) if kind < 0.6 else min(most, board.rng.randint(1, 9))


def pay(board: Board) -> None:
    """Transfers on the commit-chain; the operator lets nobody overdraw."""
    for token in TOKENS:
        if board.rng.random() < 0.4:
            book = board.books[token]
            sender, recipient = board.rng.sample(board.wallets(), 2)
            most = book.available(board.eon, sender)
            sum_ = amount(board, most)
            if sum_ > 0:
                book.transfer(board.eon, sender, recipient, sum_, board.rng.getrandbits(200))
                page = book.eons[board.eon]
                left = board.rng.choice((most - sum_, 0, board.rng.randint(0, most - sum_)))
                page.marker[sender] = min(left, page.marker.get(sender, left))


def requests(board: Board, token: int) -> list[Move]:
    """At most one request of a token in a block, so that it is certain whether it must succeed."""
    kind = board.rng.random()
    eon, book = board.eon, board.books[token]
    wallet = board.rng.choice(board.wallets())
    free = board.mirror.holdings(token) + (board.gifts if token == 0 else 0) - board.mirror.pending(token)
    if kind < 0.10 and eon - 1 in board.pages:
        page = board.pages[eon - 1]
        asked = sum(board.mirror.requested_at((token, wallet), at) for at in (eon - 1, eon))
        left = book.allotted[eon - 1][wallet] - asked
        wanted = amount(board, left) + (board.rng.randint(1, COIN) if board.rng.random() < 0.3 else 0)
        fine = 0 < wanted <= left and wanted <= free
        return [(moves.request(book, page, token, wallet, wanted, fine), None)]
    if kind < 0.14:
        already = board.mirror.requested_at((token, wallet), eon)
        wanted = amount(board, min(book.available(eon, wallet), free))
        expiry = board.block + board.rng.randint(0, 5)
        delegated = board.rng.random() < 0.5
        call = moves.authorised(book, wallet, wanted, already, expiry, delegated, None if wanted else False)
        return [(call, None)]
    if kind < 0.16:
        forged = moves.authorised(book, wallet, amount(board, free) + 1, 0, board.block + 9, False, False)
        return [(Call(STRANGER, forged.function, forged.arguments, 0, False), None)]
    return []


def deposits(board: Board) -> list[Move]:
    """Deposits for oneself and for others, and gifts."""
    found: list[Move] = []
    for token in TOKENS:
        if board.rng.random() < 0.15:
            payer = board.rng.choice((*WALLETS, STRANGER))
            wallet = board.rng.choice(board.wallets())
            value = board.rng.choice((0, 1, board.rng.randint(1, 1000), board.rng.randint(1, 1000) * COIN))
            found.append((moves.deposit(board.books[token].token, token == 0, wallet, payer, value), None))
    return found


def nuisances(board: Board) -> list[Move]:
    """Calls of strangers, and confirmations by and for anybody."""
    found: list[Move] = []
    for token in TOKENS:
        book = board.books[token]
        if board.rng.random() < board.paying:
            wallet = board.rng.choice(board.wallets())
            arguments = book.token, WALLETS[wallet].address
            caller = board.rng.choice((*WALLETS, STRANGER))
            found.append((Call(caller, "confirmWithdrawal", arguments), None))
        if board.rng.random() < 0.05:
            wallet = board.rng.choice(board.wallets()[1:])
            sender = board.rng.choice((WALLETS[wallet], STRANGER))
            found.append((moves.slash(book, wallet, board.eon, 0, sender, False), None))
        if board.rng.random() < 0.03:
            arguments = book.token, WALLETS[board.rng.choice(board.wallets())].address
            found.append((Call(STRANGER, "recoverOnlyParentChainFunds", arguments, 0, False), None))
    if board.rng.random() < 0.03:
        found.append((Call(board.rng.choice((OPERATOR, STRANGER)), "claimFees", ()), None))
    return found


def challenges(board: Board, eager: float = 0.12) -> list[Move]:
    """Challenges about true facts, which an honest operator answers, with stale states among them."""
    eon = board.eon
    if board.era <= EPOCH or eon < 2:
        return []
    found: list[Move] = []
    for token in TOKENS:
        for wallet in board.wallets():
            if board.rng.random() < eager:
                found += state_challenge(board, token, wallet)
        taken: set[Challenge] = set()
        for transfer in board.books[token].eons[eon - 1].transfers:
            if board.rng.random() < eager:
                challenge, call = delivery_challenge(board, token, transfer, board.rng.random() < 0.5)
                first = challenge.key not in {other.key for other in taken}
                taken.add(challenge)
                call = replace(call, succeeds=first and board.free(challenge))
                found.append(board.challenge(challenge, call))
    return found


def delivery_challenge(
    board: Board, token: int, transfer: Transfer, by_sender: bool
) -> tuple[Challenge, Call]:
    """Challenge of a transfer of the eon before, with any signed state that has it."""
    eon, book = board.eon, board.books[token]
    past = book.eons[eon - 1]
    challenge = Challenge(eon, token, transfer.recipient, None, transfer, by_sender)
    sent = past.sent(transfer.sender)
    place = sent.index(transfer)
    states = [state for state in past.states[transfer.sender] if state.count > place]
    if place == len(sent) - 1 and eon in board.pages and board.rng.random() < 0.4:
        page = board.pages[eon]
        call = moves.challenge_newest_delivery(book, page, token, states[-1], transfer, by_sender, True)
    else:
        call = moves.challenge_delivery(book, transfer, place, board.rng.choice(states), by_sender, True)
    return challenge, call


def state_challenge(board: Board, token: int, wallet: int) -> list[Move]:
    """Challenge of a wallet's state with any of its signed states."""
    eon, book = board.eon, board.books[token]
    states = book.eons[eon - 1].states[wallet]
    challenge = Challenge(eon, token, wallet, states[-1] if states else None)
    if not board.free(challenge):
        return []
    shown = board.rng.choice([None, *states])
    if shown and board.rng.random() < 0.3:
        call = moves.challenge_agreement(book, wallet, shown, True)
    else:
        call = moves.challenge_state(book, board.pages[eon - 1], token, wallet, shown, True)
    return [board.challenge(challenge, call)]
