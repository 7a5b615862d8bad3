"""Calls of the contract, made from the books."""

from __future__ import annotations

from contracts.fuzz.book import Book, Sheet, State, Transfer
from contracts.fuzz.chain import WALLETS, Call
from contracts.tests.people import OPERATOR, Person
from nocust.encoding import ZERO_HASH
from nocust.leaves import OPEN_POSITION, transfer_tag
from nocust.messages import balance_marker_hash, withdrawal_authorization_hash
from nocust.passive import chain_words

REQUEST_FEE = 100_100 * 5 * 10**9
CHALLENGE_FEE = 400_000 * 5 * 10**9
NEVER = 10**9
"""Block number that no game reaches."""
SLASH = "slashWithdrawalWithProofOfMinimumAvailableBalance"


class Page:
    """A submitted checkpoint: both sheets, and per token the root of the other's leaf."""

    def __init__(self, root: bytes, sheets: tuple[Sheet, Sheet], leaves: list[bytes]) -> None:
        self.root = root
        self.sheets = sheets
        self._leaves = leaves

    def membership(self, token: int) -> list[bytes]:
        return [self._leaves[1 - token]]


def deposit(token: bytes, native: bool, wallet: int, payer: Person, amount: int) -> Call:
    arguments = token, WALLETS[wallet].address, amount
    return Call(payer, "deposit", arguments, value=amount if native else 0)


def request(book: Book, page: Page, token: int, wallet: int, amount: int, succeeds: bool | None) -> Call:
    sheet = page.sheets[token]
    leaf, proof = sheet.leaves[wallet], sheet.proof(wallet)
    arguments = (
        book.token,
        [leaf.active, leaf.passive_root],
        wallet,
        proof.hashes,
        page.membership(token),
        proof.values,
        [sheet.lr(wallet), sheet.passive_mark(wallet)],
        amount,
    )
    return Call(WALLETS[wallet], "requestWithdrawal", arguments, REQUEST_FEE, succeeds)


def authorised(
    book: Book, wallet: int, amount: int, already: int, expiry: int, delegated: bool, succeeds: bool | None
) -> Call:
    """A request with a signature: the operator's, or the holder's. `already`: his requests of the eon."""
    holder = WALLETS[wallet]
    message = withdrawal_authorization_hash(book.contract, book.token, holder.raw, expiry, already + amount)
    signature = (holder if delegated else OPERATOR).sign(message)
    if delegated:
        given = book.token, holder.address, amount, expiry, *signature
        return Call(OPERATOR, "requestDelegatedWithdrawal", given, 0, succeeds)
    arguments = book.token, amount, expiry, *signature
    return Call(holder, "requestAuthorizedWithdrawal", arguments, 0, succeeds)


def slash(book: Book, wallet: int, eon: int, amount: int, sender: Person, succeeds: bool | None) -> Call:
    message = balance_marker_hash(book.contract, book.token, WALLETS[wallet].raw, eon, amount)
    r, s, v = WALLETS[wallet].sign(message)
    arguments = book.token, WALLETS[wallet].address, [eon, amount], [r, s], v
    return Call(sender, SLASH, arguments, 0, succeeds)


def challenge_state(
    book: Book, page: Page, token: int, wallet: int, state: State | None, succeeds: bool | None
) -> Call:
    """Against the checkpoint before, with one of the eon's states or none."""
    sheet = page.sheets[token]
    leaf, proof = sheet.leaves[wallet], sheet.proof(wallet)
    r, s, v = OPERATOR.sign(state.message) if state else (ZERO_HASH, ZERO_HASH, 0)
    arguments = (
        book.token,
        [leaf.active, leaf.passive_root],
        wallet,
        proof.hashes,
        page.membership(token),
        proof.values,
        [sheet.lr(wallet), [state.spent if state else 0, 0], sheet.passive_mark(wallet)],
        [r, s, state.tree.root if state else ZERO_HASH],
        v,
    )
    name = "challengeStateUpdateWithProofOfExclusiveBalanceAllotment"
    return Call(WALLETS[wallet], name, arguments, CHALLENGE_FEE, succeeds)


def challenge_agreement(book: Book, wallet: int, state: State, succeeds: bool | None) -> Call:
    arguments = book.token, state.tree.root, wallet, [state.spent, 0], *OPERATOR.sign(state.message)
    name = "challengeStateUpdateWithProofOfActiveStateUpdateAgreement"
    return Call(WALLETS[wallet], name, arguments, CHALLENGE_FEE, succeeds)


def answer_state(
    book: Book, page: Page, token: int, wallet: int, state: State | None, succeeds: bool | None
) -> Call:
    sheet = page.sheets[token]
    leaf, proof = sheet.leaves[wallet], sheet.proof(wallet)
    own = WALLETS[wallet].sign(state.message) if state else (ZERO_HASH, ZERO_HASH, 0)
    his = OPERATOR.sign(state.message) if state else (ZERO_HASH, ZERO_HASH, 0)
    root = state.tree.root if state else ZERO_HASH
    arguments = (
        book.token,
        WALLETS[wallet].address,
        proof.hashes,
        page.membership(token),
        proof.values,
        [sheet.lr(wallet), [state.spent if state else 0, 0], sheet.passive_mark(wallet)],
        [*own[:2], *his[:2], root, leaf.passive_root],
        [own[2], his[2]],
    )
    return Call(OPERATOR, "answerStateUpdateChallenge", arguments, 0, succeeds)


def challenge_delivery(
    book: Book, transfer: Transfer, place: int, state: State, by_sender: bool, succeeds: bool | None
) -> Call:
    """About transfer number `place` of a signed state."""
    newest = place == state.count - 1
    tag = transfer_tag(OPEN_POSITION if newest else transfer.position, transfer.nonce)
    r, s, v = OPERATOR.sign(state.message)
    arguments = (
        book.token,
        [WALLETS[transfer.sender].address, WALLETS[transfer.recipient].address],
        [tag, transfer.amount],
        [transfer.sender, place, transfer.recipient],
        state.tree.proof(place),
        [state.spent, 0],
        [r, s, state.tree.root],
        v,
    )
    issuer = WALLETS[transfer.sender if by_sender else transfer.recipient]
    name = "challengeTransferDeliveryWithProofOfActiveStateUpdateAgreement"
    return Call(issuer, name, arguments, CHALLENGE_FEE, succeeds)


def challenge_newest_delivery(
    book: Book,
    page: Page,
    token: int,
    state: State,
    transfer: Transfer,
    by_sender: bool,
    succeeds: bool | None,
) -> Call:
    """About the newest transfer of the sender's entry in the current checkpoint."""
    sheet = page.sheets[token]
    leaf, proof = sheet.leaves[transfer.sender], sheet.proof(transfer.sender)
    place = state.count - 1
    arguments = (
        book.token,
        [WALLETS[transfer.sender].address, WALLETS[transfer.recipient].address],
        [state.tree.root, leaf.passive_root],
        [transfer.sender, place, transfer.recipient],
        proof.hashes,
        page.membership(token),
        proof.values,
        [
            sheet.lr(transfer.sender),
            [state.spent, 0],
            sheet.passive_mark(transfer.sender),
            [transfer.nonce, transfer.amount],
        ],
        state.tree.proof(place),
    )
    issuer = WALLETS[transfer.sender if by_sender else transfer.recipient]
    name = "challengeTransferDeliveryWithProofOfPassiveStateUpdate"
    return Call(issuer, name, arguments, CHALLENGE_FEE, succeeds)


def answer_delivery(
    book: Book, page: Page, token: int, transfer: Transfer, place: int, succeeds: bool | None
) -> Call:
    """With number `place` of what the recipient got."""
    sheet = page.sheets[token]
    leaf, proof = sheet.leaves[transfer.recipient], sheet.proof(transfer.recipient)
    chain = chain_words(leaf.passive.proof(place)) if leaf.passive else []
    arguments = (
        book.token,
        [WALLETS[transfer.sender].address, WALLETS[transfer.recipient].address],
        place,
        proof.hashes,
        page.membership(token),
        proof.values,
        [
            sheet.lr(transfer.recipient),
            sheet.passive_mark(transfer.recipient),
            [transfer.position, transfer.nonce],
        ],
        [leaf.active, leaf.passive_root],
        chain,
    )
    name = "answerTransferDeliveryChallengeWithProofOfPassiveStateUpdate"
    return Call(OPERATOR, name, arguments, 0, succeeds)


def recover(
    book: Book, page: Page, token: int, wallet: int, sender: Person, succeeds: bool | None = True
) -> Call:
    sheet = page.sheets[token]
    leaf, proof = sheet.leaves[wallet], sheet.proof(wallet)
    arguments = (
        book.token,
        WALLETS[wallet].address,
        [leaf.active, leaf.passive_root],
        wallet,
        proof.hashes,
        page.membership(token),
        proof.values,
        sheet.lr(wallet),
        [0, *sheet.passive_mark(wallet)],
    )
    return Call(sender, "recoverAllFunds", arguments, 0, succeeds)
