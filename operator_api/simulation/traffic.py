"""Wallets that use a running hub at random, and know what they must own in the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

from nocust.balances import verify_account_allotment
from nocust.encoding import hex_to_bytes
from operator_api.simulation.chain_client import ChainClient
from operator_api.simulation.hub_client import HubClient, HubRefusedError
from operator_api.simulation.wallets import SimulatedWallet

OUT_OF_SYNC = "EON_NUMBER_OUT_OF_SYNC"
POLL_SECONDS = 0.5


class TrafficError(Exception):
    """The hub did not do what it owes its wallets."""


class Traffic:
    """A crowd of wallets in Ether. `balances` is what each must own; a seed makes keys and payments repeatable."""

    def __init__(self, hub: HubClient, chain: ChainClient, contract: bytes, count: int, seed: int) -> None:
        self.hub = hub
        self.chain = chain
        self.random = Random(seed)  # noqa: S311  (players, not secrets)
        self.contract = contract
        self.wallets = [
            SimulatedWallet.create(contract, contract, self.random.randbytes(32)) for _ in range(count)
        ]
        self.balances = dict.fromkeys(range(count), 0)
        self.payments = 0

    def register(self) -> None:
        """Register everybody."""
        self.hub.register(self.wallets)

    def deposit(self, amount: int) -> None:
        """Deposit `amount` wei for every second wallet, and wait until the hub has credited it."""
        lucky = range(0, len(self.wallets), 2)
        since = self.hub.eon
        self.chain.deposit_ether({self.wallets[i].address: amount for i in lucky})
        for i in lucky:
            self.balances[i] += amount
        self.wait("the deposits", lambda: self.funded(self.wallets[lucky[-1]], since))

    def pay(self, count: int) -> None:
        """That many payments of random amounts between random wallets, over eon changes."""
        for _ in range(count):
            sender, recipient = self.random.sample(range(len(self.wallets)), 2)
            amount = self.random.randint(0, self.balances[sender])
            self._pay(sender, recipient, amount, self.random.getrandbits(128))
            self.balances[sender] -= amount
            self.balances[recipient] += amount
            self.payments += 1

    def _pay(self, sender: int, recipient: int, amount: int, nonce: int) -> None:
        player = self.wallets[sender]
        while True:
            eon = self.hub.eon
            if player.eon != eon:
                player.enter(eon)
            try:
                self.hub.pay(player, self.wallets[recipient].owner, amount, nonce=nonce)
                return
            except HubRefusedError as error:
                if error.code != OUT_OF_SYNC:
                    raise
                time.sleep(POLL_SECONDS)

    def verify_checkpoint(self, eon: int = 0) -> int:
        """Wait for the checkpoint of an eon, by default the next, and verify every wallet's proof against the root
        on chain and the balance it must own; the eon. Raises TrafficError."""
        eon = eon or self.hub.eon + 1
        self.wait("the checkpoint", lambda: self._submitted(eon))
        root = bytes(self.chain.contract.functions.getCheckpointAtSlot(eon % 5).call()[1])
        for index, wallet in enumerate(self.wallets):
            proof = self.hub.proof(wallet, eon)
            if proof is None or proof.right - proof.left != self.balances[index]:
                raise TrafficError(f"wallet {index} must own {self.balances[index]}, proof: {proof}")
            body = proof.body
            verify_account_allotment(
                contract=self.contract,
                token=wallet.token,
                wallet=wallet.address,
                passive_checksum=hex_to_bytes(body["passive_checksum"], 32),
                passive_amount=int(body["passive_amount"]),
                passive_marker=int(body["passive_marker"]),
                active_state_checksum=hex_to_bytes(body["active_state_checksum"], 32),
                trail=body["trail"],
                token_trail=0,
                root=root,
                chain=[hex_to_bytes(node, 32) for node in body["allotment_chain"]],
                membership_chain=[hex_to_bytes(node, 32) for node in body["membership_chain"]],
                values=[int(value) for value in body["values"]],
                left=proof.left,
                right=proof.right,
            )
        return eon

    @property
    def submitted_eon(self) -> int:
        """The eon of the contract's newest checkpoint."""
        return int(self.chain.contract.functions.lastSubmissionEon().call())

    def funded(self, wallet: SimulatedWallet, since: int) -> bool:
        """Whether the hub has credited a deposit in an eon from `since` on."""
        return any(self.hub.state(wallet, eon)["deposits"] for eon in range(since, self.hub.eon + 1))

    def _submitted(self, eon: int) -> bool:
        submitted = self.submitted_eon
        if submitted > eon:
            raise TrafficError(f"the checkpoint of eon {eon} passed unseen")
        return submitted == eon

    @staticmethod
    def wait(what: str, done: Callable[[], bool], seconds: float = 600) -> None:
        """Poll until `done`. Raises TrafficError after `seconds`."""
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise TrafficError(f"waited {seconds} s for {what}")
            time.sleep(POLL_SECONDS)
