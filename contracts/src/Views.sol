// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {check} from "./Errors.sol";
import {Challenges} from "./Challenges.sol";
import {Hashing} from "./Hashing.sol";
import {Proofs} from "./Proofs.sol";
import {Tokens} from "./Tokens.sol";

/// Everything that clients and the operator read.
abstract contract Views is Challenges {
    function lastSubmissionEon() external view returns (uint256) {
        return _lastSubmission();
    }

    function getLiveChallenges(uint256 eon) external view returns (uint256) {
        return _liveAt(_status, eon);
    }

    function hasOutstandingChallenges() external view returns (bool) {
        return _outstanding(_status, currentEon());
    }

    function hasMissedCheckpointSubmission() external view returns (bool) {
        return _missed(_status, currentEon());
    }

    /// (eon, root, live challenges) of a ring entry.
    function getCheckpointAtSlot(uint8 slot) external view returns (uint256, bytes32, uint256) {
        check(slot < EONS_KEPT, "n");
        uint256 word = _status >> _slotShift(slot);
        uint256 eon = word & 0xffffff;
        return (eon, _root(eon), word >> 24 & 0x3fffff);
    }

    function getParentChainAccumulatorAtSlot(uint8 slot) external view returns (bytes32) {
        return _accumulators[slot];
    }

    function getTokenTrail(address token) external view returns (uint64) {
        return uint64(_registered(token));
    }

    function getTokenAtTrail(uint64 trail) external view returns (address) {
        address token = _tokenAt[trail];
        check(token != address(0), "t");
        return token;
    }

    function getIsWalletRecovered(address token, address holder) external view returns (bool) {
        return _wallets[token][holder].matured & RECOVERED != 0;
    }

    // ---- deposits and withdrawals ----

    function getDepositsAtEon(address token, address addr, uint256 eon) external view returns (uint256) {
        return _depositsAt(_wallets[token][addr], eon);
    }

    function getWalletDepositAggregateAtSlot(address token, address addr, uint8 slot)
        external
        view
        returns (uint256, uint256)
    {
        uint256 word = _wallets[token][addr].deposits[slot];
        return (word & 0xffffffff, word >> 32);
    }

    function getDepositsAtSlot(address token, uint8 slot) external view returns (uint256, uint256) {
        uint256 word = _tokens[token].flows[slot];
        return (word & 0xffffff, word >> 32 & WORD112);
    }

    function getConfirmedWithdrawalsAtSlot(address token, uint8 slot) external view returns (uint256, uint256) {
        uint256 word = _tokens[token].flows[slot];
        return (word & 0xffffff, word >> 144);
    }

    function getPendingWithdrawalsAtSlot(address token, uint8 slot) external view returns (uint256, uint256) {
        uint256 word = _tokens[token].pending[slot];
        return (word & 0xffffff, word >> 144);
    }

    function getPendingWithdrawalsAtEon(address token, uint256 eon) external view returns (uint256) {
        Token storage t = _tokens[token];
        return _pendingAt(t, t.info, eon);
    }

    function getWalletPendingWithdrawalAmountAtEon(address token, address holder, uint256 eon)
        external
        view
        returns (uint256)
    {
        return _requestsAt(_wallets[token][holder], eon);
    }

    /// Holder's deposits and requests of the eon about which his last state update challenge was.
    function getCurrentEonDepositsWithdrawals(address token, address holder)
        external
        view
        returns (uint256 currentEonDeposits, uint256 currentEonWithdrawals)
    {
        uint256 eon = _record(token, holder, holder, false).head & 0xffffff;
        Wallet storage wallet = _wallets[token][holder];
        return (_depositsAt(wallet, eon), _requestsAt(wallet, eon));
    }

    // ---- challenges ----

    /// Challenge about a transfer, or with equal addresses about a state or a swap (with the conduit as token).
    /// Of two about transfers the recipient's is shown while it is live, then the sender's.
    function getChallenge(address token, address sender, address recipient)
        external
        view
        returns (uint8, uint256, uint256, uint256, uint256, uint256, uint256, uint256, uint64)
    {
        uint256 head = _record(token, sender, recipient, false).head;
        uint256 other = _record(token, sender, recipient, true).head;
        bool bySender = _kind(head) == 0 && (_kind(other) != 0 || other > head);
        return getChallengeOf(token, sender, recipient, bySender);
    }

    /// Challenge issued by the sender, or else by the recipient.
    function getChallengeOf(address token, address sender, address recipient, bool bySender)
        public
        view
        returns (
            uint8 kind,
            uint256 openBlock,
            uint256 initialEon,
            uint256 initialBalance,
            uint256 deltaSpent,
            uint256 deltaGained,
            uint256 finalBalance,
            uint256 nonce,
            uint64 trail
        )
    {
        Challenge storage record = _record(token, sender, recipient, bySender);
        uint256 head = record.head;
        uint256 body = record.body;
        kind = uint8(_kind(head));
        openBlock = head >> 27 & 0xffffffff;
        initialEon = head & 0xffffff;
        trail = uint64(_trail(head));
        if (kind == DELIVERY) {
            finalBalance = head >> 144;
            nonce = body;
        } else {
            initialBalance = head >> 144;
            deltaSpent = body & WORD128;
            deltaGained = body >> 128;
            finalBalance = record.finalBalance;
            nonce = record.nonce;
        }
    }

    // ---- summaries ----

    function getServerContractStateVariables()
        external
        view
        returns (
            bytes32 parentChainAccumulator,
            uint256 lastSubmissionEon,
            bytes32 lastCheckpointRoot,
            bool isCheckpointSubmitted,
            bool missedCheckpointSubmission,
            uint256 liveChallenges
        )
    {
        uint256 eon = currentEon();
        uint256 status = _status;
        lastSubmissionEon = status & 0xffffff;
        parentChainAccumulator = _accumulators[eon % 5];
        lastCheckpointRoot = _root(lastSubmissionEon);
        isCheckpointSubmitted = lastSubmissionEon == eon;
        missedCheckpointSubmission = _missed(status, eon);
        liveChallenges = _liveAt(status, eon);
    }

    function getServerContractLedgerStateVariables(uint256 eonNumber, address token)
        external
        view
        returns (
            uint256 pendingWithdrawals,
            uint256 confirmedWithdrawals,
            uint256 deposits,
            uint256 totalBalance
        )
    {
        Token storage t = _tokens[token];
        uint256 word = t.pending[eonNumber % 5];
        if (word & 0xffffff == eonNumber) pendingWithdrawals = word >> 144;
        (deposits, confirmedWithdrawals) = _flowsAt(t, eonNumber);
        totalBalance = _pool(token);
    }

    function getClientContractStateVariables(address token, address holder)
        external
        view
        returns (
            uint256 latestCheckpointEonNumber,
            bytes32[5] memory latestCheckpointsMerkleRoots,
            uint256[5] memory latestCheckpointsLiveChallenges,
            uint256 currentEonDeposits,
            uint256 previousEonDeposits,
            uint256 secondPreviousEonDeposits,
            uint256[2][] memory pendingWithdrawals,
            uint256 holderBalance
        )
    {
        latestCheckpointEonNumber = _lastSubmission();
        for (uint256 i = 0; i < EONS_KEPT && i < latestCheckpointEonNumber; ++i) {
            latestCheckpointsMerkleRoots[i] = _root(latestCheckpointEonNumber - i);
            latestCheckpointsLiveChallenges[i] = _liveAt(_status, latestCheckpointEonNumber - i);
        }
        Wallet storage wallet = _wallets[token][holder];
        uint256 eon = currentEon();
        currentEonDeposits = _depositsAt(wallet, eon);
        previousEonDeposits = _depositsAt(wallet, eon - 1);
        if (eon > 1) secondPreviousEonDeposits = _depositsAt(wallet, eon - 2);
        pendingWithdrawals = _listRequests(wallet);
        holderBalance = token == address(this) ? holder.balance : Tokens.balanceOf(token, holder);
    }

    /// Requests not yet paid, oldest first, as (eon, amount). Beyond eight an eon they are listed together, as are
    /// those of older eons that were not collected when their place in the ring was needed.
    function _listRequests(Wallet storage wallet) private view returns (uint256[2][] memory list) {
        uint256 length;
        uint256 matured = wallet.matured;
        if (matured & WORD128 != 0) length = 1;
        for (uint256 slot = 0; slot < 3; ++slot) {
            length += wallet.requests[slot] >> 24 & 0xf;
        }
        list = new uint256[2][](length);
        uint256 at;
        if (matured & WORD128 != 0) list[at++] = [matured >> 128 & 0xffffff, matured & WORD128];
        uint256 listedEon;
        for (uint256 turn = 0; turn < 3; ++turn) {
            uint256 next = type(uint256).max;
            uint256 nextSlot;
            for (uint256 slot = 0; slot < 3; ++slot) {
                uint256 eon = wallet.requests[slot] & 0xffffff;
                if (eon > listedEon && eon < next) (next, nextSlot) = (eon, slot);
            }
            if (next == type(uint256).max) break;
            listedEon = next;
            at = _listEon(wallet, nextSlot, list, at);
        }
    }

    function _listEon(Wallet storage wallet, uint256 slot, uint256[2][] memory list, uint256 at)
        private
        view
        returns (uint256)
    {
        uint256 word = wallet.requests[slot];
        uint256 eon = word & 0xffffff;
        uint256 listed = word >> 24 & 0xf;
        uint256 rest = word >> 144;
        for (uint256 i = 0; i < listed; ++i) {
            uint256 amount;
            if (i == listed - 1) amount = rest;
            else if (i == 0) amount = word >> 32 & WORD112;
            else amount = _detail(wallet, slot, i - 1);
            rest -= amount;
            list[at++] = [eon, amount];
        }
        return at;
    }

    // ---- verification ----

    function signedMessageECRECOVER(bytes32 message, bytes32 r, bytes32 s, uint8 v)
        external
        pure
        returns (address)
    {
        return Hashing.signer(message, r, s, v);
    }

    function verifyProofOfMembership(
        uint256 trail,
        bytes32[] calldata chain,
        bytes32 node,
        bytes32 merkleRoot
    ) external pure returns (bool) {
        return Proofs.isMember(trail, chain, node, merkleRoot);
    }

    function verifyProofOfPassiveDelivery(
        uint64 allotmentTrail,
        bytes32 node,
        bytes32 root,
        bytes32[] calldata chainValues,
        uint256[2] calldata LR
    ) external pure returns (uint256) {
        return Proofs.passiveDelivery(allotmentTrail, node, root, chainValues, LR[0], LR[1]);
    }

    function verifyProofOfExclusiveBalanceAllotment(
        uint64 allotmentTrail,
        uint64 membershipTrail,
        bytes32 node,
        bytes32 root,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        uint256[] calldata value,
        uint256[2] calldata LR
    ) external pure returns (uint256) {
        return Proofs.exclusiveAllotment(
            allotmentTrail,
            membershipTrail,
            node,
            root,
            allotmentChain,
            membershipChain,
            value,
            LR[0],
            LR[1]
        );
    }

    function verifyProofOfExclusiveAccountBalanceAllotment(
        address token,
        address holder,
        bytes32[2] calldata activeStateChecksum_passiveTransfersRoot,
        uint64 trail,
        uint256[3] calldata eonPassiveMark,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        uint256[] calldata values,
        uint256[2] calldata LR
    ) external view returns (bool) {
        Account memory a = _account(
            token,
            holder,
            eonPassiveMark[0],
            trail,
            activeStateChecksum_passiveTransfersRoot[0],
            activeStateChecksum_passiveTransfersRoot[1],
            LR,
            _tail(eonPassiveMark)
        );
        _verifyAccount(a, allotmentChain, membershipChain, values);
        return true;
    }

    /// Hash of the state, if `attester` signed it.
    function verifyProofOfActiveStateUpdateAgreement(
        address token,
        address holder,
        uint64 trail,
        uint256 eon,
        bytes32 txSetRoot,
        uint256[2] calldata deltas,
        address attester,
        bytes32 r,
        bytes32 s,
        uint8 v
    ) external view returns (bytes32 checksum) {
        checksum = _stateHash(token, holder, trail, eon, txSetRoot, deltas);
        check(Hashing.signedBy(attester, checksum, r, s, v), "A");
    }

    function verifyWithdrawalAuthorization(
        address token,
        address holder,
        uint256 expiry,
        uint256 amount,
        address attester,
        bytes32 r,
        bytes32 s,
        uint8 v
    ) external view returns (bool) {
        return Hashing.signedBy(attester, Hashing.numbers(SELF, token, holder, expiry, amount), r, s, v);
    }
}
