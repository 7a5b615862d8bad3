"""What can go wrong between the hub and the chain. `NodeError` passes by itself; the others need somebody who
acts."""


class ChainError(Exception):
    """Something about the chain is not as it should be. The message is a sentence for the operator."""


class NodeError(ChainError):
    """The node did not answer, or not sensibly. Recoverable: nothing was applied, the next beat tries again."""


class NodeRefusedError(NodeError):
    """The node answered with an error: too large a range, an unknown block, a transaction it does not take."""


class RevertedError(ChainError):
    """The contract refuses the call. `reason` is its revert reason, empty when it gave none."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(f"the contract refuses the call{': ' + reason if reason else ''}")
        self.reason = reason


class WrongChainError(ChainError):
    """The node, the contract or the stored data belong to another chain or hub. Unrecoverable."""


class ForkTooDeepError(ChainError):
    """The chain forked below a block whose events are applied already. Unrecoverable without a decision."""


class NodesDisagreeError(ChainError):
    """Two nodes have different chains, deeper than the confirmations. One of them is wrong, and nobody but the
    operator can say which."""
