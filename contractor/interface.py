"""The contract as Python: its views with types, the data of the calls the operator makes, its events decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import contracts
from contractor import events
from contractor.errors import NodeError, RevertedError
from contractor.events import ContractEvent, Place
from contractor.node import Node, RawLog
from ledger.deliveries import Delivery
from ledger.models import Transfer
from ledger.proofs import Proof, active_state_checksum
from nocust.addresses import parse_address, to_checksum
from nocust.encoding import ZERO_HASH, u256

CONTRACT = "NOCUSTCommitChain"
EONS_KEPT = 5
"""Eons that the contract keeps checkpoints and accumulators of, in rings."""
Arguments = list[Any]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What never changes of a contract; lengths in blocks, the challenge cost in wei a unit of gas."""

    operator: bytes
    genesis: int
    blocks_per_eon: int
    blocks_per_epoch: int
    extended_blocks_per_epoch: int
    eons_kept: int
    deposits_kept: int
    challenge_cost: int


@dataclass(frozen=True, slots=True)
class ServerState:
    """The contract at a block: the accumulator of its eon, the newest submitted eon with its root, whether the
    eon's checkpoint is submitted, whether one was missed, and the challenges that are open."""

    accumulator: bytes
    last_submission_eon: int
    last_root: bytes
    submitted_this_eon: bool
    missed_submission: bool
    live_challenges: int


class ChallengeKind(IntEnum):
    """What a challenge is about, by the contract's numbers; `NONE` when the record is empty."""

    NONE = 0
    STATE_UPDATE = 1
    DELIVERY = 2
    SWAP = 3


@dataclass(frozen=True, slots=True)
class ChallengeEntry:
    """A challenge as the contract records it: the block it was opened in, the eon it is about, and the trail of
    the wallet whose leaf answers it. A delivery has the transfer's amount and tag, an order what it sells, what it
    buys for that and its nonce; the others have 0 there."""

    kind: ChallengeKind
    open_block: int
    initial_eon: int
    amount: int
    tag: int
    trail: int
    sell: int = 0
    buy: int = 0
    nonce: int = 0


@dataclass(frozen=True, slots=True)
class SwapAnswer:
    """An order in its credit wallet's set: its place, its path, and the start balance in its leaf."""

    index: int
    path: Sequence[bytes]
    start: int


def _token_holder_amount(kind: Callable[..., ContractEvent]) -> Callable[[Place, Arguments], ContractEvent]:
    def decode(place: Place, values: Arguments) -> ContractEvent:
        return kind(place, parse_address(values[0]), parse_address(values[1]), values[2])

    return decode


def _challenge(kind: Callable[..., ContractEvent]) -> Callable[[Place, Arguments], ContractEvent]:
    def decode(place: Place, values: Arguments) -> ContractEvent:
        return kind(place, *(parse_address(value) for value in values))

    return decode


def _slashed(place: Place, values: Arguments) -> ContractEvent:
    token, withdrawer = parse_address(values[0]), parse_address(values[1])
    return events.WithdrawalSlashed(place, token, withdrawer, values[2], values[3])


def _submission(place: Place, values: Arguments) -> ContractEvent:
    return events.CheckpointSubmission(place, values[0], bytes(values[1]))


DECODERS: dict[str, Callable[[Place, Arguments], ContractEvent]] = {
    "Deposit": _token_holder_amount(events.Deposit),
    "WithdrawalRequest": _token_holder_amount(events.WithdrawalRequest),
    "WithdrawalConfirmation": _token_holder_amount(events.WithdrawalConfirmation),
    "WithdrawalSlashed": _slashed,
    "CheckpointSubmission": _submission,
    "ChallengeIssued": _challenge(events.ChallengeIssued),
    "ChallengeAnswered": _challenge(events.ChallengeAnswered),
    "FundsRecovered": _token_holder_amount(events.FundsRecovered),
}
"""Events that mean something to the ledger, by name; the arguments come in the ABI's order."""


class Contract:
    """The commit-chain contract at `address`, read through `node`. Views raise NodeError and RevertedError."""

    def __init__(self, node: Node, address: bytes) -> None:
        self.node = node
        self.address = address

    @cached_property
    def _web3(self) -> Any:
        return self.node.web3.eth.contract(
            address=self.node.web3.to_checksum_address(self.address), abi=contracts.load(CONTRACT).abi
        )

    def _view(self, name: str, *arguments: object, block: int | None = None) -> Any:
        return self.node.call(self._web3.functions[name](*arguments), block=block)

    # ---- views -----------------------------------------------------------------------------------------------

    def parameters(self) -> Parameters:
        """Everything that was fixed when the contract was made."""
        return Parameters(
            operator=parse_address(self._view("operator")),
            genesis=self._view("genesis"),
            blocks_per_eon=self._view("BLOCKS_PER_EON"),
            blocks_per_epoch=self._view("BLOCKS_PER_EPOCH"),
            extended_blocks_per_epoch=self._view("EXTENDED_BLOCKS_PER_EPOCH"),
            eons_kept=self._view("EONS_KEPT"),
            deposits_kept=self._view("DEPOSITS_KEPT"),
            challenge_cost=self._view("MIN_CHALLENGE_GAS_COST"),
        )

    def current_eon(self) -> int:
        return int(self._view("currentEon"))

    def server_state(self, block: int | None = None) -> ServerState:
        """The state at the head, or at `block`."""
        values = self._view("getServerContractStateVariables", block=block)
        return ServerState(bytes(values[0]), values[1], bytes(values[2]), values[3], values[4], values[5])

    def halted(self) -> bool:
        """Whether the contract refuses to go on: a checkpoint was missed or a challenge stays unanswered."""
        return bool(self._view("hasMissedCheckpointSubmission") or self._view("hasOutstandingChallenges"))

    def accumulator(self, eon: int, block: int | None = None) -> bytes:
        """The running hash of an eon's deposits and withdrawals, 32 bytes (`spec/contract.md` §2); at the head or
        at `block`."""
        return bytes(self._view("getParentChainAccumulatorAtSlot", eon % EONS_KEPT, block=block))

    def checkpoint(self, eon: int, block: int | None = None) -> bytes | None:
        """The root submitted in a recent eon, or None; at the head or at `block`."""
        stored_eon, root, _ = self._view("getCheckpointAtSlot", eon % EONS_KEPT, block=block)
        return bytes(root) if stored_eon == eon and any(root) else None

    def token_trail(self, token: bytes) -> int | None:
        """The token's place in the tree of tokens, or None if the contract does not know it. Ether, the
        contract's own address, has trail 0."""
        if token == self.address:
            return 0
        try:
            return int(self._view("getTokenTrail", to_checksum(token)))
        except RevertedError:
            return None

    def matches_artifact(self) -> bool:
        """Whether the code at the address is this hub's contract, whatever its parameters."""
        return contracts.load(CONTRACT).matches(self.node.code(self.address))

    def payable_now(self, token: bytes, holder: bytes, sender: bytes, block: int | None = None) -> int:
        """What a withdrawal confirmation would pay the holder now, or would have paid after `block`."""
        function = self._web3.functions["confirmWithdrawal"](to_checksum(token), to_checksum(holder))
        return int(self.node.call(function, sender=sender, block=block))

    def claimable_fees(self) -> int:
        """What the operator has earned by answers and requests and not taken yet, in wei."""
        return int(self._view("getFees")[1])

    def challenge(
        self, token: bytes, sender: bytes, recipient: bytes, by_sender: bool, block: int | None = None
    ) -> ChallengeEntry:
        """The record of challenges that the sender, or else the recipient, opens; at the head or at `block`."""
        parties = (to_checksum(token), to_checksum(sender), to_checksum(recipient))
        kind, opened, eon, _, sell, buy, amount, number, trail = self._view(
            "getChallengeOf", *parties, by_sender, block=block
        )
        if kind == ChallengeKind.DELIVERY:
            return ChallengeEntry(ChallengeKind.DELIVERY, opened, eon, amount, number, trail)
        if kind == ChallengeKind.SWAP:
            return ChallengeEntry(ChallengeKind.SWAP, opened, eon, 0, 0, trail, sell, buy, number)
        return ChallengeEntry(ChallengeKind(kind), opened, eon, 0, 0, trail)

    # ---- calls -----------------------------------------------------------------------------------------------

    def _data(self, name: str, *arguments: object) -> bytes:
        return bytes.fromhex(self._web3.encode_abi(name, args=list(arguments))[2:])

    def submit_checkpoint(self, accumulator: bytes, root: bytes) -> bytes:
        """`accumulator` is that of the eon before."""
        return self._data("submitCheckpoint", accumulator, root)

    def register_erc20(self, token: bytes) -> bytes:
        return self._data("registerERC20", to_checksum(token))

    def confirm_withdrawal(self, token: bytes, holder: bytes) -> bytes:
        return self._data("confirmWithdrawal", to_checksum(token), to_checksum(holder))

    def request_delegated_withdrawal(
        self, token: bytes, holder: bytes, amount: int, expiry_block: int, signature: bytes
    ) -> bytes:
        """`signature` is the holder's authorisation, 65 bytes r ‖ s ‖ v (`spec/contract.md` §3)."""
        r, s, v = _split(signature)
        return self._data(
            "requestDelegatedWithdrawal",
            to_checksum(token),
            to_checksum(holder),
            amount,
            expiry_block,
            r,
            s,
            v,
        )

    def slash_withdrawal(
        self, token: bytes, holder: bytes, marker_eon: int, available: int, signature: bytes
    ) -> bytes:
        """`signature` is the holder's on the balance marker (`spec/contract.md` §4)."""
        r, s, v = _split(signature)
        return self._data(
            "slashWithdrawalWithProofOfMinimumAvailableBalance",
            to_checksum(token),
            to_checksum(holder),
            [marker_eon, available],
            [r, s],
            v,
        )

    def claim_fees(self) -> bytes:
        return self._data("claimFees")

    def answer_state_update(self, proof: Proof) -> bytes:
        """The issuer's leaf in the checkpoint after the challenged eon, with the state that it commits to."""
        allotment, state = proof.allotment, proof.allotment.active_state
        wallet = _split(bytes(65) if state is None else state.wallet_signature)
        operator = _split(bytes(65) if state is None else state.operator_signature)
        return self._data(
            "answerStateUpdateChallenge",
            to_checksum(allotment.wallet.token.address),
            to_checksum(allotment.wallet.address),
            *_chains(proof),
            [
                [allotment.left, allotment.right],
                [0, 0] if state is None else [state.updated_spendings, state.updated_gains],
                [allotment.passive_amount, allotment.passive_marker],
            ],
            [
                *wallet[:2],
                *operator[:2],
                ZERO_HASH if state is None else state.tx_set_hash,
                allotment.passive_checksum or ZERO_HASH,
            ],
            [wallet[2], operator[2]],
        )

    def answer_delivery(self, transfer: Transfer, delivery: Delivery) -> bytes:
        """The recipient's leaf in the checkpoint after the transfer's eon, and the transfer's place in the passive
        tree that it commits to."""
        proof = delivery.recipient
        allotment = proof.allotment
        return self._data(
            "answerTransferDeliveryChallengeWithProofOfPassiveStateUpdate",
            to_checksum(allotment.wallet.token.address),
            [to_checksum(transfer.wallet.address), to_checksum(allotment.wallet.address)],
            delivery.index,
            *_chains(proof),
            [
                [allotment.left, allotment.right],
                [allotment.passive_amount, allotment.passive_marker],
                [transfer.position, transfer.nonce],
            ],
            [active_state_checksum(self.address, proof), allotment.passive_checksum or ZERO_HASH],
            [*delivery.path.hashes, *(u256(value) for value in delivery.path.values)],
        )

    def answer_swap(self, order: Transfer, proof: Proof, answer: SwapAnswer) -> bytes:
        """The leaf of the order's credit wallet in the checkpoint after the challenged eon, and the order's entry
        in the set of the state that it commits to."""
        allotment = proof.allotment
        state = allotment.active_state
        assert state is not None
        allotment_chain, membership_chain, values = _chains(proof)
        return self._data(
            "answerSwapChallengeWithProofOfExclusiveBalanceAllotment",
            [to_checksum(row.token.address) for row in (order.wallet, order.recipient)],
            to_checksum(order.wallet.address),
            answer.index,
            allotment_chain,
            membership_chain,
            list(answer.path),
            values,
            [
                [allotment.left, allotment.right],
                [state.updated_spendings, state.updated_gains],
                [allotment.passive_amount, allotment.passive_marker],
            ],
            answer.start,
            [state.tx_set_hash, allotment.passive_checksum or ZERO_HASH, ZERO_HASH],
        )

    # ---- events ----------------------------------------------------------------------------------------------

    @cached_property
    def _event_abis(self) -> dict[bytes, Any]:
        from eth_utils.abi import event_abi_to_log_topic

        found: dict[bytes, Any] = {}
        abi: list[Any] = contracts.load(CONTRACT).abi
        for entry in abi:
            if entry["type"] == "event":
                found[event_abi_to_log_topic(entry)] = entry
        return found

    def decode(self, log: RawLog, time: int = 0) -> ContractEvent:
        """The event of a log of this contract; one that means nothing to the ledger, or is not in the ABI, is
        `Other`. Raises NodeError for a log that does not fit its event."""
        from web3.exceptions import Web3Exception

        place = Place(log.txid, log.log_index, log.block, time)
        topics = log.raw["topics"]
        abi = self._event_abis.get(bytes(topics[0])) if topics else None
        if abi is None:
            return events.Other(place, "")
        name = abi["name"]
        if name not in DECODERS:
            return events.Other(place, name)
        try:
            arguments = self._web3.events[name]().process_log(log.raw)["args"]
            return DECODERS[name](place, [arguments[entry["name"]] for entry in abi["inputs"]])
        except (Web3Exception, ValueError, KeyError, TypeError) as error:
            raise NodeError(f"a log of block {log.block} is no {name} event: {error}") from error


def _chains(proof: Proof) -> tuple[list[bytes], list[bytes], list[int]]:
    """A leaf's path to the checkpoint as calls take it: allotment chain, membership chain, values."""
    return list(proof.path.hashes), list(proof.membership), list(proof.path.values)


def _split(signature: bytes) -> tuple[bytes, bytes, int]:
    return signature[:32], signature[32:64], signature[64]
