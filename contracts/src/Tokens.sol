// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {check} from "./Errors.sol";

/// Calls to ERC-20 tokens and payees that may misbehave.
library Tokens {
    /// Gas a payee may use; enough for a smart wallet, too little to exhaust the caller's.
    uint256 internal constant PAYEE_GAS = 100_000;

    /// Balance of `holder`, refused with `f` when the token does not answer with one.
    function balanceOf(address token, address holder) internal view returns (uint256 amount) {
        bool ok;
        assembly ("memory-safe") {
            mstore(0, shl(224, 0x70a08231))
            mstore(4, holder)
            ok := and(gt(returndatasize(), 31), staticcall(gas(), token, 0, 36, 0, 32))
            amount := mload(0)
        }
        check(ok, "f");
    }

    /// Takes up to `amount` from `from`; the amount by which the contract's balance really rose.
    function pull(address token, address from, uint256 amount) internal returns (uint256 received) {
        uint256 before = balanceOf(token, address(this));
        _call(token, abi.encodeWithSelector(0x23b872dd, from, address(this), amount));
        uint256 afterwards = balanceOf(token, address(this));
        check(afterwards >= before, "f");
        check(afterwards <= type(uint112).max, "+");
        unchecked {
            received = afterwards - before;
        }
        if (received > amount) received = amount;
    }

    /// Pays `amount` of a token, or of ether when `token` is this contract.
    function pay(address token, address to, uint256 amount) internal {
        if (token == address(this)) {
            check(sendEther(to, amount, PAYEE_GAS), "f");
        } else {
            _call(token, abi.encodeWithSelector(0xa9059cbb, to, amount));
        }
    }

    /// Sends ether with at most `gasLimit` gas for the payee, ignoring what it returns.
    function sendEther(address to, uint256 amount, uint256 gasLimit) internal returns (bool ok) {
        assembly ("memory-safe") {
            ok := call(gasLimit, to, amount, 0, 0, 0, 0)
        }
    }

    /// Calls a token; it must succeed and return nothing or true.
    function _call(address token, bytes memory data) private {
        bool ok;
        assembly ("memory-safe") {
            mstore(0, 0)
            ok := call(gas(), token, 0, add(data, 32), mload(data), 0, 32)
            if returndatasize() { ok := and(ok, eq(mload(0), 1)) }
        }
        check(ok, "f");
    }
}
