"""The connection to an Ethereum node. web3 is imported when the first connection is made, not before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from contractor.errors import NodeError, NodeRefusedError, RevertedError
from contractor.headers import Header, check_links, may_hold_logs
from nocust.addresses import to_checksum

CONNECT_SECONDS = 3.05
ANSWER_SECONDS = 15.0
HEADERS_A_REQUEST = 100


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
    RevertedError when the contract refuses.
    """

    def __init__(self, url: str, watched: bytes, poa: bool = False) -> None:
        from web3 import HTTPProvider, Web3

        provider = HTTPProvider(
            url,
            request_kwargs={"timeout": (CONNECT_SECONDS, ANSWER_SECONDS)},
            exception_retry_configuration=None,
        )
        self.url = url
        self.watched = watched
        self.web3 = Web3(provider)
        if poa:
            from web3.middleware import ExtraDataToPOAMiddleware

            self.web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        from requests import RequestException
        from web3.exceptions import BadFunctionCallOutput, ContractLogicError, Web3Exception, Web3RPCError

        try:
            yield
        except ContractLogicError as error:
            raise RevertedError(_reason(error.message or "")) from error
        except BadFunctionCallOutput as error:
            raise RevertedError("it has no such function") from error
        except Web3RPCError as error:
            if "revert" in error.message.lower():
                raise RevertedError(_reason(error.message)) from error
            raise NodeRefusedError(f"{what}: the node says: {error.message}") from error
        except RequestException as error:
            raise NodeError(
                f"{what}: the node at {_host(self.url)} does not answer ({_kind(error)})"
            ) from error
        except (Web3Exception, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise NodeError(f"{what}: the node's answer makes no sense ({_kind(error)}: {error})") from error

    def chain_id(self) -> int:
        with self._asking("chain id"):
            return int(self.web3.eth.chain_id)

    def head(self) -> Header:
        """The newest block."""
        with self._asking("head"):
            return self._header(self.web3.eth.get_block("latest"))

    def headers(self, first: int, last: int) -> list[Header]:
        """The headers of blocks `first` to `last`, checked to follow each other."""
        result: list[Header] = []
        for start in range(first, last + 1, HEADERS_A_REQUEST):
            numbers = range(start, min(last, start + HEADERS_A_REQUEST - 1) + 1)
            asking = self._asking(f"headers {numbers[0]} to {numbers[-1]}")
            with asking, self.web3.batch_requests() as batch:
                for number in numbers:
                    batch.add(self.web3.eth.get_block(number))
                result.extend(self._header(block) for block in batch.execute())
        if [header.number for header in result] != list(range(first, last + 1)):
            raise NodeError(f"headers {first} to {last}: the node gave other ones")
        check_links(result)
        return result

    def _header(self, block: Any) -> Header:
        return Header(
            int(block["number"]),
            bytes(block["hash"]),
            bytes(block["parentHash"]),
            int(block["timestamp"]),
            may_hold_logs(bytes(block["logsBloom"]), self.watched),
        )

    def code(self, address: bytes) -> bytes:
        with self._asking("code"):
            return bytes(self.web3.eth.get_code(_address(address)))

    def balance(self, address: bytes) -> int:
        """An account's ether, in wei."""
        with self._asking("balance"):
            return int(self.web3.eth.get_balance(_address(address)))

    def logs(self, address: bytes, first: int, last: int) -> list[RawLog]:
        """All logs of `address` in blocks `first` to `last`, in the chain's order."""
        with self._asking(f"logs of blocks {first} to {last}"):
            found = self.web3.eth.get_logs(
                {"address": _address(address), "fromBlock": first, "toBlock": last}
            )
            return _sorted_logs(found)

    def logs_of_block(self, address: bytes, block_hash: bytes) -> list[RawLog]:
        """All logs of `address` in one block; NodeError if the node does not know that block."""
        with self._asking(f"logs of block 0x{block_hash.hex()}"):
            found = self.web3.eth.get_logs({"address": _address(address), "blockHash": _hash(block_hash)})
            return _sorted_logs(found)

    def transaction_count(self, address: bytes, pending: bool = False) -> int:
        """The nonce of the account's next transaction, those waiting at the node included if `pending`."""
        with self._asking("transaction count"):
            return int(
                self.web3.eth.get_transaction_count(_address(address), "pending" if pending else "latest")
            )

    def gas_price(self) -> int:
        """What the node thinks a transaction should pay, in wei."""
        with self._asking("gas price"):
            return int(self.web3.eth.gas_price)

    def estimate_gas(self, sender: bytes, to: bytes, data: bytes) -> int:
        """Gas that the call would use now. Raises RevertedError if it would be refused."""
        with self._asking("gas estimate"):
            call: Any = {"from": to_checksum(sender), "to": to_checksum(to), "data": data, "value": 0}
            return int(self.web3.eth.estimate_gas(call))

    def send(self, signed: bytes) -> None:
        """Hand over a signed transaction. Raises NodeRefusedError with what the node says if it does not."""
        with self._asking("send"):
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

    def receipt(self, transaction: bytes) -> Receipt | None:
        """The receipt of a mined transaction, or None."""
        from web3.exceptions import TransactionNotFound

        with self._asking("receipt"):
            try:
                found = self.web3.eth.get_transaction_receipt(_hash(transaction))
            except TransactionNotFound:
                return None
            return Receipt(
                int(found["blockNumber"]),
                bytes(found["blockHash"]),
                int(found["status"]) == 1,
                int(found["gasUsed"]),
            )

    def call(self, function: Any, sender: bytes | None = None, block: int | None = None) -> Any:
        """Evaluate a bound contract function, at a block or at the head."""
        options: Any = {} if sender is None else {"from": to_checksum(sender)}
        with self._asking(f"call of {function.fn_name}"):
            return function.call(options, block_identifier="latest" if block is None else block)


def _address(value: bytes) -> Any:
    return to_checksum(value)


def _hash(value: bytes) -> Any:
    return "0x" + value.hex()


def _kind(error: BaseException) -> str:
    return type(error).__name__


def _host(url: str) -> str:
    """The node's address without credentials or keys in its path."""
    return urlsplit(url).netloc.rpartition("@")[2]


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


@cache
def node() -> Node:
    """The configured node."""
    return Node(
        settings.HUB_ETHEREUM_NODE_URL,
        settings.HUB_LQD_CONTRACT_ADDRESS,
        settings.HUB_ETHEREUM_NETWORK_IS_POA,
    )
