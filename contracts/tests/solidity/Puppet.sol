// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// Account with code that does what it is told, and treats incoming ether as told.
contract Puppet {
    enum Manner {
        Accept,
        Refuse,
        Burn,
        Strike
    }

    Manner public manner;
    address public target;
    bytes public data;
    bool public succeeded;
    uint256 public sink;

    function behave(Manner manner_, address target_, bytes calldata data_) external {
        (manner, target, data) = (manner_, target_, data_);
    }

    /// Calls `to`, passing revert data on.
    function act(address to, uint256 value, bytes calldata input) external payable returns (bytes memory) {
        (bool ok, bytes memory output) = to.call{value: value}(input);
        if (!ok) {
            assembly ("memory-safe") {
                revert(add(output, 32), mload(output))
            }
        }
        return output;
    }

    receive() external payable {
        if (manner == Manner.Refuse) revert("refused");
        if (manner == Manner.Burn) while (true) sink++;
        if (manner == Manner.Strike) (succeeded,) = target.call(data);
    }
}
