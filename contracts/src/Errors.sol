// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// Reverts with `Error(string)` holding the single letter `reason` unless `ok`.
/// One shared routine instead of `require` keeps the runtime small; clients look for the selector 0x08c379a0.
function check(bool ok, bytes1 reason) pure {
    if (!ok) {
        fail(reason);
    }
}

/// Reverts with `Error(string)` holding the single letter `reason`.
function fail(bytes1 reason) pure {
    assembly ("memory-safe") {
        let at := mload(0x40)
        mstore(at, shl(224, 0x08c379a0))
        mstore(add(at, 0x04), 0x20)
        mstore(add(at, 0x24), 1)
        mstore(add(at, 0x44), reason)
        revert(at, 0x64)
    }
}

/// Sum, refused with `+` on overflow.
function plus(uint256 a, uint256 b) pure returns (uint256 c) {
    unchecked {
        c = a + b;
    }
    check(c >= a, "+");
}

/// Difference, refused with `-` below zero.
function minus(uint256 a, uint256 b) pure returns (uint256) {
    check(a >= b, "-");
    unchecked {
        return a - b;
    }
}
