// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {check, minus, plus} from "./Errors.sol";
import {Hashing} from "./Hashing.sol";
import {Layout} from "./Layout.sol";
import {Proofs} from "./Proofs.sol";

/// Verifies what a submitted checkpoint says about a wallet.
abstract contract Allotments is Layout {
    /// A wallet's entry in a checkpoint, as claimed.
    struct Account {
        address token;
        address holder;
        uint256 eon;
        uint256 trail;
        bytes32 active;
        bytes32 passiveRoot;
        uint256 passiveAmount;
        uint256 passiveMark;
        uint256 left;
        uint256 right;
    }

    function _account(
        address token,
        address holder,
        uint256 eon,
        uint256 trail,
        bytes32 active,
        bytes32 passiveRoot,
        uint256[2] calldata lr,
        uint256[2] calldata passiveMark
    ) internal pure returns (Account memory) {
        return Account(
            token, holder, eon, trail, active, passiveRoot, passiveMark[0], passiveMark[1], lr[0], lr[1]
        );
    }

    /// The last two of three numbers.
    function _tail(uint256[3] calldata numbers) internal pure returns (uint256[2] calldata tail) {
        assembly ("memory-safe") {
            tail := add(numbers, 32)
        }
    }

    /// Refuses unless the checkpoint of `a.eon` contains `a` and the contract can pay all that the checkpoint
    /// allots of the token. Returns what the contract holds of the token.
    function _verifyAccount(
        Account memory a,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        uint256[] calldata values
    ) internal view returns (uint256 pool) {
        bytes32 root = _root(a.eon);
        check(root != 0, "r");
        uint256 info = _registered(a.token);
        uint256 total = Proofs.exclusiveAllotment(
            a.trail,
            uint64(info),
            _leaf(a),
            root,
            allotmentChain,
            membershipChain,
            values,
            a.left,
            a.right
        );
        pool = _pool(a.token);
        check(total <= _owned(a.token, info, a.eon, pool), "b");
    }

    function _leaf(Account memory a) private view returns (bytes32) {
        return Hashing.balanceLeaf(
            SELF,
            a.token,
            a.holder,
            a.passiveRoot,
            a.passiveAmount,
            a.passiveMark,
            a.active,
            a.left,
            a.right
        );
    }

    /// What wallets owned of `token` when `eon` began: what the contract holds, without later deposits, with
    /// later payments, and without what was requested for withdrawal before.
    function _owned(address token, uint256 info, uint256 eon, uint256 pool) private view returns (uint256) {
        Token storage t = _tokens[token];
        uint256 added = pool;
        uint256 taken = _pendingAt(t, info, eon - 1);
        uint256 last = currentEon();
        if (last > eon + 4) last = eon + 4;
        for (uint256 e = eon; e <= last; ++e) {
            (uint256 deposits, uint256 confirmations) = _flowsAt(t, e);
            added = plus(added, confirmations);
            taken += deposits;
        }
        return minus(added, taken);
    }

    /// Hash of the wallet's state in `eon`; zero when it had no activity.
    function _stateHash(
        address token,
        address holder,
        uint256 trail,
        uint256 eon,
        bytes32 txSetRoot,
        uint256[2] calldata deltas
    ) internal view returns (bytes32) {
        return Hashing.activeState(SELF, token, holder, trail, eon, txSetRoot, deltas[0], deltas[1]);
    }
}
