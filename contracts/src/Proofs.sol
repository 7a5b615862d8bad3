// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {check} from "./Errors.sol";

/// Walks Merkle and interval proofs directly in calldata, two hashes a level.
/// Bit i of a trail tells whether the sibling at level i stands on the left; surplus bits are refused.
library Proofs {
    /// Root reached from `node` in a plain Merkle tree.
    function membershipRoot(uint256 trail, bytes32[] calldata chain, bytes32 node)
        internal
        pure
        returns (bytes32 root)
    {
        assembly ("memory-safe") {
            root := node
            let at := mload(0x40)
            let offset := chain.offset
            for { let level := 0 } lt(level, chain.length) { level := add(level, 1) } {
                let side := shl(5, and(shr(level, trail), 1))
                mstore(at, level)
                mstore(add(add(at, 32), side), root)
                mstore(sub(add(at, 64), side), calldataload(offset))
                root := keccak256(add(at, 28), 68)
                offset := add(offset, 32)
            }
        }
    }

    /// Whether `node` is the leaf at `trail` of the plain Merkle tree `root`.
    function isMember(uint256 trail, bytes32[] calldata chain, bytes32 node, bytes32 root)
        internal
        pure
        returns (bool)
    {
        return trail >> chain.length == 0 && membershipRoot(trail, chain, node) == root;
    }

    /// Root and upper bound of the interval tree in which `node` spans [left, right].
    /// `hashes` and `bounds` are calldata offsets of `count` words each. The tree must begin at zero.
    function intervalRoot(
        uint256 trail,
        bytes32 node,
        uint256 hashes,
        uint256 bounds,
        uint256 count,
        uint256 left,
        uint256 right
    ) internal pure returns (bytes32 root, uint256 total) {
        check(trail >> count == 0, "p");
        check(right >= left, "s");
        bool disordered;
        assembly ("memory-safe") {
            root := node
            let at := mload(0x40)
            let pair := add(at, 128)
            for { let level := 0 } lt(level, count) { level := add(level, 1) } {
                let sibling := calldataload(hashes)
                let bound := calldataload(bounds)
                mstore(at, level)
                switch and(shr(level, trail), 1)
                case 0 {
                    disordered := or(disordered, lt(bound, right))
                    mstore(pair, root)
                    mstore(add(pair, 32), right)
                    mstore(add(pair, 64), sibling)
                    right := bound
                }
                default {
                    disordered := or(disordered, gt(bound, left))
                    mstore(pair, sibling)
                    mstore(add(pair, 32), left)
                    mstore(add(pair, 64), root)
                    left := bound
                }
                mstore(add(at, 32), left)
                mstore(add(at, 64), keccak256(pair, 96))
                mstore(add(at, 96), right)
                root := keccak256(add(at, 28), 100)
                hashes := add(hashes, 32)
                bounds := add(bounds, 32)
            }
        }
        check(!disordered, "x");
        check(left == 0, "l");
        total = right;
    }

    /// Upper bound of the balance tree that contains `leaf` over [left, right] and whose token leaf is in `root`.
    function exclusiveAllotment(
        uint256 trail,
        uint256 tokenTrail,
        bytes32 leaf,
        bytes32 root,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        uint256[] calldata values,
        uint256 left,
        uint256 right
    ) internal pure returns (uint256 total) {
        check(allotmentChain.length == values.length, "p");
        uint256 hashes;
        uint256 bounds;
        assembly ("memory-safe") {
            hashes := allotmentChain.offset
            bounds := values.offset
        }
        bytes32 node;
        (node, total) = intervalRoot(trail, leaf, hashes, bounds, allotmentChain.length, left, right);
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore(at, 0)
            mstore(add(at, 32), node)
            mstore(add(at, 64), total)
            node := keccak256(at, 96)
        }
        check(isMember(tokenTrail, membershipChain, node, root), "m");
    }

    /// Upper bound of the passive tree `root` in which the transfer `leaf` spans [left, right].
    /// `chainValues` holds all sibling hashes, then all sibling bounds.
    function passiveDelivery(
        uint256 trail,
        bytes32 leaf,
        bytes32 root,
        bytes32[] calldata chainValues,
        uint256 left,
        uint256 right
    ) internal pure returns (uint256 total) {
        check(chainValues.length & 1 == 0, "p");
        uint256 count = chainValues.length >> 1;
        uint256 hashes;
        assembly ("memory-safe") {
            hashes := chainValues.offset
        }
        bytes32 node;
        (node, total) = intervalRoot(trail, leaf, hashes, hashes + 32 * count, count, left, right);
        check(node == root, "n");
    }
}
