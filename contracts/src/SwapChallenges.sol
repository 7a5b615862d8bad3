// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {check, minus, plus} from "./Errors.sol";
import {Challenges} from "./Challenges.sol";
import {Hashing} from "./Hashing.sol";
import {Proofs} from "./Proofs.sol";

/// Challenges to show that an order was executed at its limit price or better.
abstract contract SwapChallenges is Challenges {
    // start balance in the receiving wallet's leaf of an order that is complete or cancelled
    uint256 private constant DONE = type(uint256).max;
    // amounts are compared in hundreds of units squared, as the hub's matching rounds
    uint256 private constant TOLERANCE = 100;

    /// Challenge by the owner of an order: his selling wallet's set and entry in the current checkpoint.
    function challengeSwapEnactmentWithProofOfActiveStateUpdateAgreement(
        address[2] calldata tokens,
        uint64[3] calldata senderTransferRecipientTrails,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        bytes32[] calldata txChain,
        uint256[] calldata values,
        uint256[2][3] calldata lrDeltasPassiveMark,
        uint256[4] calldata sellBuyBalanceNonce,
        bytes32[3] calldata txSetRootChecksumDummy
    ) external payable lock {
        uint256 startGas = gasleft();
        bytes32 leaf = _order(tokens, senderTransferRecipientTrails[2], sellBuyBalanceNonce);
        check(
            Proofs.isMember(senderTransferRecipientTrails[1], txChain, leaf, txSetRootChecksumDummy[0]), "e"
        );
        Account memory a = _swapAccount(
            tokens[0],
            msg.sender,
            currentEon(),
            senderTransferRecipientTrails[0],
            lrDeltasPassiveMark,
            txSetRootChecksumDummy
        );
        _verifyAccount(a, allotmentChain, membershipChain, values);
        (uint256 added, uint256 taken) = _flows(a, sellBuyBalanceNonce[2], lrDeltasPassiveMark[1]);
        uint256 covered = plus(a.right - a.left, taken);
        check(covered >= added, "d");
        uint256 initial = added > taken ? added - taken : 0;
        Challenge storage record =
            _record(Hashing.conduit(tokens[0], tokens[1]), msg.sender, msg.sender, false);
        _open(
            record,
            SWAP,
            senderTransferRecipientTrails[2],
            initial,
            _pair(sellBuyBalanceNonce[0], sellBuyBalanceNonce[1])
        );
        record.nonce = sellBuyBalanceNonce[3];
        record.finalBalance = initial + (covered - added);
        emit ChallengeIssued(Hashing.conduit(tokens[0], tokens[1]), msg.sender, msg.sender);
        _charge(record, startGas, 0);
    }

    function _order(address[2] calldata tokens, uint256 recipientTrail, uint256[4] calldata sellBuyBalanceNonce)
        private
        pure
        returns (bytes32)
    {
        return Hashing.order(
            tokens[0],
            tokens[1],
            recipientTrail,
            sellBuyBalanceNonce[0],
            sellBuyBalanceNonce[1],
            sellBuyBalanceNonce[2],
            sellBuyBalanceNonce[3]
        );
    }

    function _swapAccount(
        address token,
        address holder,
        uint256 eon,
        uint256 trail,
        uint256[2][3] calldata lrDeltasPassiveMark,
        bytes32[3] calldata txSetRootChecksum
    ) private view returns (Account memory) {
        bytes32 active =
            _stateHash(token, holder, trail, eon - 1, txSetRootChecksum[0], lrDeltasPassiveMark[1]);
        return _account(
            token,
            holder,
            eon,
            trail,
            active,
            txSetRootChecksum[1],
            lrDeltasPassiveMark[0],
            lrDeltasPassiveMark[2]
        );
    }

    /// What a wallet had and got, and what it gave, had the order moved its committed amounts and nothing else.
    /// The difference may be negative: an order of several eons is signed in advance with the start balance that
    /// its wallet would have if nothing was matched, and what was matched since may have been withdrawn.
    function _flows(Account memory a, uint256 start, uint256[2] calldata deltas)
        private
        view
        returns (uint256 added, uint256 taken)
    {
        Wallet storage wallet = _wallets[a.token][a.holder];
        uint256 eon = a.eon - 1;
        added = plus(plus(plus(start, deltas[1]), a.passiveAmount), _depositsAt(wallet, eon));
        taken = plus(deltas[0], _requestsAt(wallet, eon));
    }

    /// Answers with the buying wallet's set and entry in the checkpoint after the challenged eon. `balance` is the
    /// start balance in that wallet's leaf of the order.
    function answerSwapChallengeWithProofOfExclusiveBalanceAllotment(
        address[2] calldata tokens,
        address issuer,
        uint64 transferMembershipTrail,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        bytes32[] calldata txChain,
        uint256[] calldata values,
        uint256[2][3] calldata lrDeltasPassiveMark,
        uint256 balance,
        bytes32[3] calldata txSetRootChecksumDummy
    ) external {
        address conduit = Hashing.conduit(tokens[0], tokens[1]);
        Challenge storage record = _record(conduit, issuer, issuer, false);
        uint256 head = record.head;
        check(_kind(head) == SWAP, "k");
        bytes32 leaf = _recordedOrder(record, tokens, _trail(head), balance);
        check(Proofs.isMember(transferMembershipTrail, txChain, leaf, txSetRootChecksumDummy[0]), "M");
        Account memory a = _swapAccount(
            tokens[1],
            issuer,
            (head & 0xffffff) + 1,
            _trail(head),
            lrDeltasPassiveMark,
            txSetRootChecksumDummy
        );
        _verifyAccount(a, allotmentChain, membershipChain, values);
        if (balance != DONE) {
            (uint256 added, uint256 taken) = _flows(a, balance, lrDeltasPassiveMark[1]);
            uint256 given = minus(plus(a.right - a.left, taken), added);
            _checkPrice(record, head >> 144, given);
        }
        _close(record, conduit, issuer, issuer);
    }

    function _recordedOrder(
        Challenge storage record,
        address[2] calldata tokens,
        uint256 recipientTrail,
        uint256 start
    ) private view returns (bytes32) {
        uint256 amounts = record.body;
        return Hashing.order(
            tokens[0],
            tokens[1],
            recipientTrail,
            amounts & WORD128,
            amounts >> 128,
            start,
            record.nonce
        );
    }

    /// What was given for what was taken must be at least what the order asks: given * sell >= taken * buy.
    function _checkPrice(Challenge storage record, uint256 initial, uint256 given) private view {
        uint256 amounts = record.body;
        uint256 sell = amounts & WORD128;
        uint256 kept = record.finalBalance - initial;
        uint256 taken = sell > kept ? sell - kept : 0;
        check(given <= WORD128, "*");
        unchecked {
            check(given * sell / TOLERANCE >= taken * (amounts >> 128) / TOLERANCE, "v");
        }
    }
}
