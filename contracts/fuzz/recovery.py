"""After the halt: everybody gets what is his, once."""

from __future__ import annotations

from contracts.fuzz import moves
from contracts.fuzz.board import TOKENS, Board
from contracts.fuzz.chain import STRANGER, WALLETS, BrokenGameError, Call
from contracts.fuzz.invariants import same


def entitled(board: Board, token: int, wallet: int, parent_only: bool = False) -> int:
    """What a holder must recover: his allotment in the final checkpoint less requests of its eon that were paid,
    later deposits, and earlier requests that were not paid."""
    last, pair = board.mirror.last, (token, wallet)
    sum_ = sum(amount for eon, amount in board.mirror.deposits[pair].items() if eon >= last - 1)
    sum_ += sum(amount for eon, amount in board.mirror.requests[pair] if eon <= last - 2)
    if not parent_only and last > 1:
        allotted = board.books[token].allotted[last - 1][wallet]
        sum_ += max(allotted - board.mirror.settled[pair][last - 1], 0)
    return sum_


def play(board: Board) -> None:
    """Recovers everything in random order. Raises BrokenGameError if anybody gets too much or too little."""
    if not board.mirror.punished(board.eon, board.era):
        raise BrokenGameError("the chain did not halt")
    _refuse_business(board)
    final = board.mirror.last - 1
    holders = [(token, wallet) for token in TOKENS for wallet in board.wallets()]
    board.rng.shuffle(holders)
    for token, wallet in holders:
        book, sender = board.books[token], board.rng.choice((WALLETS[wallet], STRANGER))
        expected = entitled(board, token, wallet)
        before = board.mirror.recovered[token, wallet]
        only = book.token, WALLETS[wallet].address
        if board.rng.random() < 0.4 or final < 1:
            board.mine([(Call(sender, "recoverOnlyParentChainFunds", only), None)])
            got = board.mirror.recovered[token, wallet] - before
            same("parent-chain funds", got, entitled_once(board, token, wallet, expected, final))
        if final >= 1:
            page = board.pages[final]
            board.mine([(moves.recover(book, page, token, wallet, sender), None)])
        same(f"recovery of {token, wallet}", board.mirror.recovered[token, wallet] - before, expected)
        again = [Call(sender, "recoverOnlyParentChainFunds", only)]
        if final >= 1:
            again.append(moves.recover(book, board.pages[final], token, wallet, sender, False))
        board.mine([(call, None) for call in again])
        same("second recovery", board.mirror.recovered[token, wallet] - before, expected)
    _settle_fees(board)


def entitled_once(board: Board, token: int, wallet: int, expected: int, final: int) -> int:
    """The part of `expected` that needs no checkpoint."""
    if final < 1:
        return expected
    paid = board.mirror.settled[token, wallet][final]
    return expected - max(board.books[token].allotted[final][wallet] - paid, 0)


def _refuse_business(board: Board) -> None:
    """A halted chain takes no deposits and pays no requests."""
    calls = [Call(STRANGER, "deposit", (board.books[0].token, WALLETS[0].address, 0), 5, False)]
    for token in TOKENS:
        for wallet in board.wallets():
            arguments = board.books[token].token, WALLETS[wallet].address
            calls.append(Call(STRANGER, "confirmWithdrawal", arguments, 0, False))
    board.mine([(call, None) for call in calls])


def _settle_fees(board: Board) -> None:
    """Fees of unanswered challenges go back, the operator takes his, and nothing but gifts and a wei is left."""
    for challenge in list(board.open):
        if challenge.transfer:
            sender, recipient = challenge.transfer.sender, challenge.transfer.recipient
        else:
            sender = recipient = challenge.wallet
        arguments = (
            board.books[challenge.token].token,
            WALLETS[sender].address,
            WALLETS[recipient].address,
            challenge.by_sender,
        )
        call = Call(STRANGER, "reclaimChallengeFee", arguments)
        board.mine([(call, None), (Call(STRANGER, "reclaimChallengeFee", arguments, 0, False), None)])
    board.mine([(Call(STRANGER, "claimFees", ()), None)])
    chain = board.chain
    held, claimable = chain.contract.read("getFees")
    same("fees held", held, 0)
    same("fees left", claimable in (0, 1), True)
    same("ether left", chain.node.balance(chain.contract.address), board.gifts + claimable)
    same("tokens left", chain.token.read("balanceOf", chain.contract.address), 0)
    same("holdings left", [board.mirror.holdings(token) for token in TOKENS], [0, 0])
