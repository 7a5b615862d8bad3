"""A depositor: what a wallet's owner does on the chain."""

from __future__ import annotations

from typing import Any

import contracts
from nocust.addresses import to_checksum
from nocust.signatures import private_key_address

GAS = 400_000
GAS_PRICE = 10**8
"""Wei a unit of gas: 0.1 gwei."""
MINED_SECONDS = 60


class ChainClient:
    """One account on a node. Raises web3's exceptions when the node refuses or does not answer, and
    RuntimeError when a transaction fails."""

    def __init__(self, url: str, contract: bytes, private_key: bytes) -> None:
        from web3 import HTTPProvider, Web3

        self.web3 = Web3(HTTPProvider(url, request_kwargs={"timeout": 30}))
        self.address = to_checksum(private_key_address(private_key))
        self._key = private_key
        self.contract = self.web3.eth.contract(
            address=self.web3.to_checksum_address(to_checksum(contract)),
            abi=contracts.load("NOCUSTCommitChain").abi,
        )

    @property
    def block(self) -> int:
        """The node's newest block."""
        return int(self.web3.eth.block_number)

    def deposit_ether(self, amounts: dict[bytes, int]) -> None:
        """Deposit wei for other addresses, all at once; returns when all are mined."""
        ether = self.contract.address
        calls = [
            (self.contract.functions.deposit(ether, to_checksum(address), amount), amount)
            for address, amount in amounts.items()
        ]
        self.send_all(calls)

    def deposit_token(self, token: bytes, amounts: dict[bytes, int]) -> None:
        """Deposit units of an ERC-20 token that this account holds for other addresses, all at once."""
        erc20 = self.web3.eth.contract(
            address=self.web3.to_checksum_address(to_checksum(token)), abi=contracts.load("TestToken").abi
        )
        approval = erc20.functions.approve(self.contract.address, sum(amounts.values()))
        deposits = [
            self.contract.functions.deposit(erc20.address, to_checksum(address), amount)
            for address, amount in amounts.items()
        ]
        self.send_all([(call, 0) for call in [approval, *deposits]])

    def send_all(self, calls: list[tuple[Any, int]]) -> list[Any]:
        """Send contract calls with their values in wei from this account, all at once; their receipts."""
        account = self.web3.to_checksum_address(self.address)
        nonce = int(self.web3.eth.get_transaction_count(account, "pending"))
        hashes = []
        for call, value in calls:
            built = call.build_transaction(
                {
                    "from": self.address,
                    "value": value,
                    "gas": GAS,
                    "gasPrice": GAS_PRICE,
                    "nonce": nonce,
                    "chainId": self.web3.eth.chain_id,
                }
            )
            signed = self.web3.eth.account.sign_transaction(built, self._key)
            hashes.append(self.web3.eth.send_raw_transaction(signed.raw_transaction))
            nonce += 1
        receipts = [self.web3.eth.wait_for_transaction_receipt(tx, timeout=MINED_SECONDS) for tx in hashes]
        for receipt in receipts:
            if receipt["status"] != 1:
                raise RuntimeError(f"transaction {receipt['transactionHash'].hex()} failed")
        return receipts
