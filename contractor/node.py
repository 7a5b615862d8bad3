"""The connection to an Ethereum node. web3 is imported when the first connection is made, not before."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from contractor.errors import NodeError, NodeRefusedError, RevertedError
from contractor.fees import Market
from contractor.headers import BLOOM_BYTES, Header, check_links, may_hold_logs
from contractor.spans import Span, read_range
from nocust.addresses import to_checksum
from nocust.encoding import hex_to_bytes
from nocust.errors import NocustError

CONNECT_SECONDS = 3.05
ANSWER_SECONDS = 15.0
HEIGHT_SECONDS = 5.0
"""A node that takes longer for the number of its newest block is not one to read from."""
HEADERS_A_REQUEST = 200
LOG_BLOCKS_A_REQUEST = 2000
TRANSACTIONS_A_REQUEST = 100
LOGS_A_REQUEST = 50
"""Blocks whose logs are asked for by their hashes in one request."""
REASON = "0x08c379a0"
"""How the data of a call begins that a contract refused with a reason, whatever the node says of it."""
TOO_MUCH = {400, 413}
"""HTTP statuses of nodes that refuse a request for its size."""
SERVER_ERROR = 500
"""HTTP status that some gateways give to every JSON-RPC error, as that the node has a transaction already."""


@dataclass(frozen=True, slots=True)
class RawLog:
    """A log as the node gave it. `raw` is what the interface decodes."""

    address: bytes
    block: int
    block_hash: bytes
    txid: bytes
    log_index: int
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction: its block, and whether it succeeded."""

    block: int
    block_hash: bytes
    succeeded: bool
    gas_used: int


class Node:
    """A node's JSON-RPC interface, for a hub that watches the logs of one contract (`watched`).

    Every method raises NodeError when the node does not answer in time or not sensibly; calls of the contract raise
    RevertedError when the contract refuses. `failed_at` is when (monotonic seconds) it last did not answer, and
    `failure` what was wrong then.
    """

    def __init__(
        self, url: str, watched: bytes, poa: bool = False, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        from web3 import HTTPProvider, Web3

        from contractor.deadlines import session

        self._session = session()
        provider = HTTPProvider(
            url,
            request_kwargs={"timeout": (CONNECT_SECONDS, answer_seconds)},
            session=self._session,
            exception_retry_configuration=None,
        )
        self.url = url
        self.name = _host(url)
        self.watched = watched
        self.failed_at: float | None = None
        self.failure = ""
        self.header_span, self.log_span = Span(HEADERS_A_REQUEST), Span(LOG_BLOCKS_A_REQUEST)
        self.transaction_span = Span(TRANSACTIONS_A_REQUEST)
        self._answer_seconds = answer_seconds
        self.web3 = Web3(provider)
        if poa:
            from web3.middleware import ExtraDataToPOAMiddleware

            self.web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)

    def note_failure(self, failure: Exception) -> None:
        """Have another node used for a while, where there is one."""
        self.failed_at, self.failure = time.monotonic(), str(failure)

    @contextmanager
    def _asking(self, what: str, refusals: Set[int] = TOO_MUCH) -> Iterator[None]:
        """`refusals`: HTTP statuses with which a JSON-RPC error is the node's answer, not its failure."""
        try:
            with self._translating(what, refusals):
                yield
        except NodeRefusedError:
            raise
        except NodeError as error:
            self.note_failure(error)
            raise

    @contextmanager
    def _translating(self, what: str, refusals: Set[int]) -> Iterator[None]:
        from requests import RequestException
        from web3.exceptions import BadFunctionCallOutput, ContractLogicError, Web3Exception, Web3RPCError

        try:
            yield
        except ContractLogicError as error:
            raise RevertedError(_reason(error.message or "")) from error
        except BadFunctionCallOutput as error:
            # Of a contract that is there, as is checked before: the node does not have the block's state.
            raise NodeError(f"{what}: the node's answer is empty") from error
        except Web3RPCError as error:
            if _is_revert(error.message):
                raise RevertedError(_reason(error.message)) from error
            raise NodeRefusedError(f"{what}: the node says: {error.message}") from error
        except RequestException as error:
            status, said = _said(error.response)
            if _is_revert(said):
                raise RevertedError(_reason(said)) from error
            if said and status in refusals:
                raise NodeRefusedError(f"{what}: the node says: {said}") from error
            raise NodeError(f"{what}: the node at {self.name} does not answer ({_kind(error)})") from error
        except (
            Web3Exception,
            NocustError,
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
        ) as error:
            raise NodeError(f"{what}: the node's answer makes no sense ({_kind(error)}: {error})") from error

    def chain_id(self) -> int:
        with self._asking("chain id"):
            return int(self.web3.eth.chain_id)

    def height(self) -> int:
        """The number of the newest block; answered fast or not at all. May be called from any thread."""
        from contractor.deadlines import session

        with self._asking("height"), session() as own:
            question = _question("eth_blockNumber", 1)
            answer = own.post(self.url, json=question, timeout=(CONNECT_SECONDS, HEIGHT_SECONDS))
            answer.raise_for_status()
            return int(answer.json()["result"], 16)

    def head(self) -> Header:
        """The newest block."""
        with self._asking("head"):
            return self._header(self._ask([_question("eth_getBlockByNumber", 0, "latest", False)])[0])

    def headers(self, first: int, last: int) -> list[Header]:
        """The headers of blocks `first` to `last`, checked to follow each other."""
        result = self.headers_of(range(first, last + 1))
        check_links(result)
        return result

    def headers_of(self, numbers: Sequence[int]) -> list[Header]:
        """The headers of blocks with these numbers, in as many requests as it takes."""
        return read_range(
            self.header_span, 0, len(numbers) - 1, lambda start, end: self._headers(numbers[start : end + 1])
        )

    def _headers(self, numbers: Sequence[int]) -> list[Header]:
        questions = [
            _question("eth_getBlockByNumber", index, hex(number), False)
            for index, number in enumerate(numbers)
        ]
        what = f"headers {numbers[0]} to {numbers[-1]}"
        with self._asking(what):
            found = [self._header(block) for block in self._ask(questions)]
        if [header.number for header in found] != list(numbers):
            raise NodeError(f"{what}: the node gave other ones")
        return found

    def _ask(self, questions: list[Any]) -> list[Any]:
        """The results of several requests sent as one, in their order. web3 would take ten times as long, which is
        minutes where many blocks are to be caught up."""
        response = self._session.post(
            self.url,
            data=orjson.dumps(questions),
            headers={"Content-Type": "application/json"},
            timeout=(CONNECT_SECONDS, self._answer_seconds),
        )
        if response.status_code in TOO_MUCH:
            raise NodeRefusedError(f"the node refuses {len(questions)} requests at once")
        response.raise_for_status()
        answers = orjson.loads(response.content)
        for answer in answers if isinstance(answers, list) else [answers]:
            if answer.get("error") is not None:
                raise NodeRefusedError(f"the node says: {answer['error']['message']}")
        results = {answer["id"]: answer["result"] for answer in answers}
        return [results[question["id"]] for question in questions]

    def _header(self, block: Any) -> Header:
        return Header(
            int(block["number"], 16),
            hex_to_bytes(block["hash"], 32),
            hex_to_bytes(block["parentHash"], 32),
            int(block["timestamp"], 16),
            may_hold_logs(hex_to_bytes(block["logsBloom"], BLOOM_BYTES), self.watched),
        )

    def code(self, address: bytes) -> bytes:
        with self._asking("code"):
            return bytes(self.web3.eth.get_code(_address(address)))

    def balance(self, address: bytes) -> int:
        """An account's ether, in wei."""
        with self._asking("balance"):
            return int(self.web3.eth.get_balance(_address(address)))

    def logs_of_range(self, address: bytes, first: int, last: int) -> list[RawLog]:
        """All logs of `address` in blocks `first` to `last`, in the chain's order, in as many requests as it
        takes."""
        return read_range(self.log_span, first, last, lambda start, end: self.logs(address, start, end))

    def logs(self, address: bytes, first: int, last: int) -> list[RawLog]:
        """All logs of `address` in blocks `first` to `last`, in one request."""
        with self._asking(f"logs of blocks {first} to {last}"):
            found = self.web3.eth.get_logs(
                {"address": _address(address), "fromBlock": first, "toBlock": last}
            )
            return _sorted_logs(found)

    def logs_of_blocks(self, address: bytes, hashes: Sequence[bytes]) -> list[RawLog]:
        """All logs of `address` in some blocks; NodeError if the node does not know one of them."""
        found: list[RawLog] = []
        for start in range(0, len(hashes), LOGS_A_REQUEST):
            asked = hashes[start : start + LOGS_A_REQUEST]
            with self._asking("logs of blocks"), self.web3.batch_requests() as batch:
                for block_hash in asked:
                    query: Any = {"address": _address(address), "blockHash": _hash(block_hash)}
                    batch.add(self.web3.eth.get_logs(query))
                # web3 passes over answers that are missing, and takes another one in the place of one that is.
                answers: Any = batch.execute()
                for block_hash, logs in zip(asked, answers, strict=True):
                    answer = _sorted_logs(logs)
                    if any(log.block_hash != block_hash for log in answer):
                        raise NodeError("logs of blocks: the node gave those of another block")
                    found += answer
        return sorted(found, key=lambda log: (log.block, log.log_index))

    def transaction_count(self, address: bytes, pending: bool = False, block: int | None = None) -> int:
        """The nonce of the account's next transaction, those waiting at the node included if `pending`; or as of a
        block."""
        at: Any = block if block is not None else "pending" if pending else "latest"
        with self._asking("transaction count"):
            return int(self.web3.eth.get_transaction_count(_address(address), at))

    def fee_market(self) -> Market:
        """What transactions pay now. A node that suggests no priority fee on a chain with a base fee is taken to
        mean the gas price less the base fee."""
        with self._asking("fees"):
            block, price = self._ask(
                [_question("eth_getBlockByNumber", 0, "latest", False), _question("eth_gasPrice", 1)]
            )
            gas_price = int(price, 16)
            if block.get("baseFeePerGas") is None:
                return Market(None, gas_price, 0)
            base_fee = int(block["baseFeePerGas"], 16)
            try:
                (priority,) = self._ask([_question("eth_maxPriorityFeePerGas", 0)])
            except NodeRefusedError:
                return Market(base_fee, gas_price, max(gas_price - base_fee, 0))
            return Market(base_fee, gas_price, int(priority, 16))

    def estimate_gas(self, sender: bytes, to: bytes, data: bytes) -> int:
        """Gas that the call would use now. Raises RevertedError if it would be refused."""
        with self._asking("gas estimate"):
            call: Any = {"from": to_checksum(sender), "to": to_checksum(to), "data": data, "value": 0}
            return int(self.web3.eth.estimate_gas(call))

    def send(self, signed: bytes) -> None:
        """Hand over a signed transaction. Raises NodeRefusedError with what the node says if it does not."""
        with self._asking("send", TOO_MUCH | {SERVER_ERROR}):
            self.web3.eth.send_raw_transaction(signed)

    def knows(self, transaction: bytes) -> bool:
        """Whether the node has the transaction, waiting or mined."""
        from web3.exceptions import TransactionNotFound

        with self._asking("transaction"):
            try:
                self.web3.eth.get_transaction(_hash(transaction))
            except TransactionNotFound:
                return False
            return True

    def know(self, transactions: Sequence[bytes]) -> list[bool]:
        """Of each transaction what `knows` says, in as few requests as the node takes."""
        found = self._of_transactions("eth_getTransactionByHash", transactions)
        return [transaction is not None for transaction in found]

    def receipt(self, transaction: bytes) -> Receipt | None:
        """The receipt of a mined transaction, or None."""
        return self.receipts([transaction])[0]

    def receipts(self, transactions: Sequence[bytes]) -> list[Receipt | None]:
        """Of each transaction the receipt, or None, in as few requests as the node takes."""
        found = self._of_transactions("eth_getTransactionReceipt", transactions)
        with self._asking("receipts"):
            return [None if receipt is None else _receipt(receipt) for receipt in found]

    def _of_transactions(self, method: str, transactions: Sequence[bytes]) -> list[Any]:
        def ask(first: int, last: int) -> list[Any]:
            asked = transactions[first : last + 1]
            with self._asking(method):
                return self._ask([_question(method, index, _hash(one)) for index, one in enumerate(asked)])

        return read_range(self.transaction_span, 0, len(transactions) - 1, ask)

    def call(self, function: Any, sender: bytes | None = None, block: int | None = None) -> Any:
        """Evaluate a bound contract function, at a block or at the head."""
        options: Any = {} if sender is None else {"from": to_checksum(sender)}
        with self._asking(f"call of {function.fn_name}"):
            return function.call(options, block_identifier="latest" if block is None else block)


def _question(method: str, index: int, *parameters: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": index, "method": method, "params": list(parameters)}


def _receipt(found: Any) -> Receipt:
    return Receipt(
        int(found["blockNumber"], 16),
        hex_to_bytes(found["blockHash"], 32),
        int(found["status"], 16) == 1,
        int(found["gasUsed"], 16),
    )


def _address(value: bytes) -> Any:
    return to_checksum(value)


def _hash(value: bytes) -> Any:
    return "0x" + value.hex()


def _kind(error: BaseException) -> str:
    return type(error).__name__


def _host(url: str) -> str:
    """The node's address without credentials or keys in its path."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _said(response: Any) -> tuple[int, str]:
    """The HTTP status and the JSON-RPC error, with its data, of a gateway that answers errors with a status of its
    own; "" for anything else."""
    try:
        error = orjson.loads(response.content)["error"]
        data = error.get("data")
        return response.status_code, str(error["message"]) + (f", data: {data}" if data else "")
    except (AttributeError, ValueError, LookupError, TypeError):
        return 0, ""


def _is_revert(said: str) -> bool:
    """Whether an error means that the contract refused, by its words or by its data."""
    return "revert" in said.lower() or REASON in said.lower()


def _reason(message: str) -> str:
    """The contract's reason inside a node's sentence."""
    found = re.search(
        r"revert(?:ed)?(?: with reason string)?:?\s*'?(.*?)'?(?:, data.*)?$", message, re.DOTALL
    )
    return found.group(1).strip() if found else message


def _sorted_logs(found: Sequence[Any]) -> list[RawLog]:
    logs = [
        RawLog(
            bytes.fromhex(log["address"][2:]),
            int(log["blockNumber"]),
            bytes(log["blockHash"]),
            bytes(log["transactionHash"]),
            int(log["logIndex"]),
            log,
        )
        for log in found
        if not log.get("removed", False)
    ]
    unique = {(log.block_hash, log.log_index): log for log in logs}
    return sorted(unique.values(), key=lambda log: (log.block, log.log_index))
