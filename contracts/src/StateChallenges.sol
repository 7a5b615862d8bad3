// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {check, plus} from "./Errors.sol";
import {Challenges} from "./Challenges.sol";
import {Hashing} from "./Hashing.sol";

/// Challenges to show that a wallet's balance in the new checkpoint follows from its old one and its activity.
abstract contract StateChallenges is Challenges {
    /// Challenge by a wallet that is part of the checkpoint of the previous eon. Non-zero deltas have to be part of
    /// a state that the operator signed.
    function challengeStateUpdateWithProofOfExclusiveBalanceAllotment(
        address token,
        bytes32[2] calldata checksums,
        uint64 trail,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        uint256[] calldata value,
        uint256[2][3] calldata lrDeltasPassiveMark,
        bytes32[3] calldata rsTxSetRoot,
        uint8 v
    ) external payable lock {
        uint256 startGas = gasleft();
        if (lrDeltasPassiveMark[1][0] | lrDeltasPassiveMark[1][1] != 0) {
            _checkOperatorState(
                token, trail, rsTxSetRoot[2], lrDeltasPassiveMark[1], rsTxSetRoot[0], rsTxSetRoot[1], v
            );
        }
        Account memory a = _account(
            token,
            msg.sender,
            currentEon() - 1,
            trail,
            checksums[0],
            checksums[1],
            lrDeltasPassiveMark[0],
            lrDeltasPassiveMark[2]
        );
        _verifyAccount(a, allotmentChain, membershipChain, value);
        _issue(token, trail, a.right - a.left, lrDeltasPassiveMark[1], startGas, 0);
    }

    /// Challenge by a wallet that has no allotment yet, with a state that the operator signed; the operator's
    /// signature under the registration is one.
    function challengeStateUpdateWithProofOfActiveStateUpdateAgreement(
        address token,
        bytes32 txSetRoot,
        uint64 trail,
        uint256[2] calldata deltas,
        bytes32 r,
        bytes32 s,
        uint8 v
    ) external payable lock {
        uint256 startGas = gasleft();
        _registered(token);
        _checkOperatorState(token, trail, txSetRoot, deltas, r, s, v);
        _issue(token, trail, 0, deltas, startGas, 25);
    }

    function _checkOperatorState(
        address token,
        uint64 trail,
        bytes32 txSetRoot,
        uint256[2] calldata deltas,
        bytes32 r,
        bytes32 s,
        uint8 v
    ) private view {
        bytes32 state = _stateHash(token, msg.sender, trail, currentEon() - 1, txSetRoot, deltas);
        check(Hashing.signedBy(operator, state, r, s, v), "A");
    }

    function _issue(
        address token,
        uint64 trail,
        uint256 balance,
        uint256[2] calldata deltas,
        uint256 startGas,
        uint256 extra
    ) private {
        Challenge storage record = _record(token, msg.sender, msg.sender, false);
        _open(record, STATE_UPDATE, trail, balance, _pair(deltas[0], deltas[1]));
        emit ChallengeIssued(token, msg.sender, msg.sender);
        _charge(record, startGas, extra);
    }

    /// Answers with the issuer's entry in the checkpoint after the challenged eon.
    ///
    /// A wallet without activity has zero deltas and a zero set root. Zero deltas with a set root are a state like
    /// any other: transfers of nothing and the receiving side of an untouched order have them.
    function answerStateUpdateChallenge(
        address token,
        address issuer,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        uint256[] calldata values,
        uint256[2][3] calldata lrDeltasPassiveMark,
        bytes32[6] calldata rSrStxSetRootChecksum,
        uint8[2] calldata v
    ) external {
        Challenge storage record = _record(token, issuer, issuer, false);
        uint256 head = record.head;
        check(_kind(head) == STATE_UPDATE, "k");
        Account memory a = _account(
            token,
            issuer,
            (head & 0xffffff) + 1,
            _trail(head),
            0,
            rSrStxSetRootChecksum[5],
            lrDeltasPassiveMark[0],
            lrDeltasPassiveMark[2]
        );
        a.active = _agreedState(a, lrDeltasPassiveMark[1], rSrStxSetRootChecksum, v);
        _checkBalance(record, head, a, lrDeltasPassiveMark[1]);
        _verifyAccount(a, allotmentChain, membershipChain, values);
        emit StateUpdate(
            token,
            issuer,
            a.eon - 1,
            uint64(a.trail),
            allotmentChain,
            membershipChain,
            values,
            lrDeltasPassiveMark,
            a.active,
            a.passiveRoot,
            rSrStxSetRootChecksum[0],
            rSrStxSetRootChecksum[1],
            v[0]
        );
        _close(record, token, issuer, issuer);
    }

    /// Hash of the state that the issuer and the operator signed, zero if the wallet had no activity.
    function _agreedState(
        Account memory a,
        uint256[2] calldata deltas,
        bytes32[6] calldata rSrStxSetRootChecksum,
        uint8[2] calldata v
    ) private view returns (bytes32 state) {
        if (deltas[0] | deltas[1] | uint256(rSrStxSetRootChecksum[4]) == 0) return 0;
        state = _stateHash(a.token, a.holder, a.trail, a.eon - 1, rSrStxSetRootChecksum[4], deltas);
        check(
            Hashing.signedBy(a.holder, state, rSrStxSetRootChecksum[0], rSrStxSetRootChecksum[1], v[0]), "A"
        );
        check(
            Hashing.signedBy(operator, state, rSrStxSetRootChecksum[2], rSrStxSetRootChecksum[3], v[1]), "u"
        );
    }

    /// What the wallet had, got and deposited must be covered by what it has now, spent and asked to withdraw.
    function _checkBalance(Challenge storage record, uint256 head, Account memory a, uint256[2] calldata deltas)
        private
        view
    {
        uint256 challenged = record.body;
        check(deltas[0] >= challenged & WORD128 && deltas[1] >= challenged >> 128, "x");
        check(a.right >= a.left, "s");
        Wallet storage wallet = _wallets[a.token][a.holder];
        uint256 eon = a.eon - 1;
        uint256 due = plus(plus((head >> 144) + _depositsAt(wallet, eon), deltas[1]), a.passiveAmount);
        uint256 covered = plus(plus(a.right - a.left, deltas[0]), _requestsAt(wallet, eon));
        check(due <= covered, "B");
    }
}
