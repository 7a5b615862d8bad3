"""Deploys the commit-chain contract to a real chain. Started by `deploy_contract.sh`.

Refuses with one sentence and exit status 1 before anything is sent if an input, the key, the chain or the balance
is not right. Before the transaction is sent its hash and the future address are shown, so that nothing is lost if
the program is ended.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode
from eth_account import Account

from contracts.artifacts_loader import load
from contracts.deploy_inputs import Inputs, ask, gather, parser
from contracts.deploy_node import DeploymentNode, DeploymentRefusedError, shown
from nocust.addresses import address_hash, parse_address, to_checksum
from nocust.native import keccak_256

CONTRACT = "NOCUSTCommitChain"
CHAINS = {1: "Ethereum", 11155111: "Sepolia", 17000: "Holesky", 560048: "Hoodi", 1337: "a development chain"}
POLL = 1.0
"""Seconds between looks at the chain."""
PATIENCE = 1800.0
"""Seconds to wait for the transaction and for each confirmation."""
COIN = 10**18


@dataclass(frozen=True)
class Plan:
    """A creation that the account can pay for. `fees` in wei per gas."""

    chain_id: int
    nonce: int
    gas: int
    fees: dict[str, int]
    address: str

    @property
    def price(self) -> int:
        """Most that a unit of gas may cost, in wei."""
        return self.fees.get("maxFeePerGas", self.fees.get("gasPrice", 0))


def say(text: str) -> None:
    """Tells the person at the terminal."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def creation_code(inputs: Inputs) -> bytes:
    """Init code with constructor arguments."""
    return load(CONTRACT).bytecode + encode(["uint256", "address"], [inputs.blocks_per_eon, inputs.owner])


def creation_address(owner: str, nonce: int) -> str:
    """Address of what the account creates with that nonce."""
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    if nonce == 0 or nonce > 0x7F:
        number = bytes([0x80 + len(number)]) + number
    pair = b"\x94" + parse_address(owner) + number
    digest: bytes = keccak_256(bytes([0xC0 + len(pair)]) + pair).digest()
    return to_checksum(digest[12:])


def prepare(node: DeploymentNode, inputs: Inputs) -> Plan:
    """Checks chain, account and balance. Raises DeploymentRefusedError."""
    chain = node.chain_id()
    name = CHAINS.get(chain, "a chain that this program does not know by name")
    if inputs.chain_id and inputs.chain_id != chain:
        raise DeploymentRefusedError(
            f"The node is on chain {chain} ({name}), not on chain {inputs.chain_id} as expected."
        )
    if not inputs.chain_id:
        say(f"The node is on chain {chain}: {name}.")
        if ask("Type the number of the chain to deploy there: ") != str(chain):
            raise DeploymentRefusedError("The chain was not confirmed; nothing was sent.")
    if node.call("eth_syncing"):
        raise DeploymentRefusedError(f"The node at {shown(node.url)} is still synchronising.")
    nonce = node.nonce(inputs.owner, "latest")
    waiting = node.nonce(inputs.owner, "pending") - nonce
    if waiting > 0:
        raise DeploymentRefusedError(
            f"{waiting} transaction(s) of {inputs.owner} are waiting to be mined; try again when they are."
        )
    balance = node.balance(inputs.owner)
    if balance == 0:
        raise DeploymentRefusedError(f"The account {inputs.owner} holds no ether on chain {chain}.")
    data = "0x" + creation_code(inputs).hex()
    gas = node.number("eth_estimateGas", {"from": inputs.owner, "data": data}) * 11 // 10
    plan = Plan(chain, nonce, gas, node.fees(), creation_address(inputs.owner, nonce))
    most = plan.gas * plan.price
    if balance < most:
        raise DeploymentRefusedError(
            f"The account {inputs.owner} holds {ether(balance)} ETH, the deployment may need {ether(most)} ETH."
        )
    say(f"Deploying takes up to {gas:,} gas, {ether(most)} ETH of {ether(balance)} ETH.")
    return plan


def ether(wei: int) -> str:
    """An amount in ether, exact."""
    whole, rest = divmod(wei, COIN)
    return f"{whole}.{rest:018}".rstrip("0").rstrip(".")


def send(node: DeploymentNode, inputs: Inputs, plan: Plan) -> str:
    """Signs and sends the creation; its hash. Raises DeploymentRefusedError."""
    transaction = {
        "nonce": plan.nonce,
        "gas": plan.gas,
        "to": b"",
        "value": 0,
        "data": creation_code(inputs),
        "chainId": plan.chain_id,
        **plan.fees,
    }
    signed = Account.sign_transaction(transaction, inputs.key)
    hashed = "0x" + bytes(signed.hash).hex()
    say(f"Sending transaction {hashed}; the contract will be at {plan.address}.")
    node.call("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
    return hashed


def settle(node: DeploymentNode, inputs: Inputs, hashed: str) -> int:
    """Waits until the creation lies under the confirmations; the number of its block. Raises
    DeploymentRefusedError if it failed or takes too long."""
    deadline = time.monotonic() + PATIENCE
    told = -1
    while time.monotonic() < deadline:
        receipt: dict[str, Any] | None = node.call("eth_getTransactionReceipt", hashed)
        if receipt is not None:
            if int(receipt["status"], 16) != 1:
                raise DeploymentRefusedError(f"The transaction {hashed} was mined, but failed.")
            block = int(receipt["blockNumber"], 16)
            above = node.head() - block
            if above >= inputs.confirmations:
                return block
            if above != told:
                say(f"In block {block}, {max(above, 0)} of {inputs.confirmations} confirmations.")
                told = above
                deadline = time.monotonic() + PATIENCE
        time.sleep(POLL)
    raise DeploymentRefusedError(f"The transaction {hashed} was not confirmed in time; look for it later.")


def verify(node: DeploymentNode, inputs: Inputs, address: str, block: int) -> None:
    """Compares the code on the chain with the artifact and its immutables with what they must be. Raises
    DeploymentRefusedError."""
    code = node.code(address)
    artifact = load(CONTRACT)
    if not artifact.matches(code):
        raise DeploymentRefusedError(f"The code at {address} is not that of the contract.")
    expected = {
        inputs.blocks_per_eon.to_bytes(32, "big"),
        (inputs.blocks_per_eon // 4).to_bytes(32, "big"),
        (inputs.blocks_per_eon // 3).to_bytes(32, "big"),
        block.to_bytes(32, "big"),
        bytes(12) + parse_address(inputs.owner),
        address_hash(parse_address(address)),
    }
    found = {code[offset : offset + 32] for offset in artifact.immutable_references}
    if found != expected:
        raise DeploymentRefusedError(f"The contract at {address} was made with other parameters.")


def environment_lines(inputs: Inputs, plan: Plan) -> str:
    """Settings of a hub that uses the contract. The key is left out."""
    return (
        f"HUB_LQD_CONTRACT_ADDRESS={plan.address}\n"
        f"HUB_LQD_CONTRACT_CONFIRMATIONS={inputs.confirmations}\n"
        f"HUB_ETHEREUM_CHAIN_ID={plan.chain_id}\n"
        f"HUB_ETHEREUM_NODE_URL={inputs.node_url}\n"
        f"HUB_OWNER_ACCOUNT_ADDRESS={inputs.owner}\n"
    )


def deploy(inputs: Inputs) -> Plan:
    """The whole of it. Raises DeploymentRefusedError."""
    node = DeploymentNode(inputs.node_url)
    plan = prepare(node, inputs)
    block = settle(node, inputs, send(node, inputs, plan))
    verify(node, inputs, plan.address, block)
    return plan


def main() -> int:
    """Command line entry point; the exit status."""
    arguments = parser().parse_args()
    try:
        inputs = gather(arguments)
        plan = deploy(inputs)
    except DeploymentRefusedError as error:
        say(str(error))
        return 1
    except (KeyboardInterrupt, EOFError):
        say("\nEnded by request.")
        return 130
    say(f"The contract is at {plan.address}, its code and parameters are verified. Lines for .env:")
    sys.stdout.write(environment_lines(inputs, plan))
    return 0


if __name__ == "__main__":
    sys.exit(main())
