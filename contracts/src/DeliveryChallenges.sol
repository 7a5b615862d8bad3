// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {check, plus} from "./Errors.sol";
import {Challenges} from "./Challenges.sol";
import {Hashing} from "./Hashing.sol";
import {Proofs} from "./Proofs.sol";

/// Challenges to show that a transfer in a sender's set reached its recipient.
///
/// A transfer's leaf holds the tag hash(position, nonce). In every state the newest transfer is still open, its
/// position counts as 2^256-1; older ones hold the position at which the recipient got them. In the recipient's
/// passive tree all positions are real.
///
/// * A final tag names one leaf of the passive tree: only hash(position, nonce) at that very position answers it.
/// * An open tag does not know the position. It is answered by the transfer with the same sender, recipient, amount
///   and nonce at whichever position the recipient got it. The nonce tells transfers of one eon apart.
/// * When the sender's newest transfer is challenged through his entry in the checkpoint, the entry's mark supplies
///   the position, and the tag is final.
abstract contract DeliveryChallenges is Challenges {
    uint256 private constant OPEN_POSITION = type(uint256).max;

    /// Challenge by either party about a transfer in a state of the previous eon that the operator signed.
    /// `nonceAmount[0]` is the tag in the leaf.
    function challengeTransferDeliveryWithProofOfActiveStateUpdateAgreement(
        address token,
        address[2] calldata SR,
        uint256[2] calldata nonceAmount,
        uint64[3] calldata trails,
        bytes32[] calldata chain,
        uint256[2] calldata deltas,
        bytes32[3] calldata rsTxSetRoot,
        uint8 v
    ) external payable lock {
        uint256 startGas = gasleft();
        _registered(token);
        bytes32 state = _stateHash(token, SR[0], trails[0], currentEon() - 1, rsTxSetRoot[2], deltas);
        check(Hashing.signedBy(operator, state, rsTxSetRoot[0], rsTxSetRoot[1], v), "A");
        bytes32 leaf = Hashing.transfer(SR[1], nonceAmount[1], trails[2], nonceAmount[0]);
        check(Proofs.isMember(trails[1], chain, leaf, rsTxSetRoot[2]), "e");
        _issueDelivery(token, SR, trails[2], nonceAmount[1], nonceAmount[0], startGas);
    }

    /// Challenge by either party about the newest transfer of the sender's state in the current checkpoint.
    /// The last pair is (nonce, amount).
    function challengeTransferDeliveryWithProofOfPassiveStateUpdate(
        address token,
        address[2] calldata SR,
        bytes32[2] calldata txSetRootChecksum,
        uint64[3] calldata senderTransferRecipientTrails,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        uint256[] calldata values,
        uint256[2][4] calldata lrDeltasPassiveMarkDummyAmount,
        bytes32[] calldata transferMembershipChain
    ) external payable lock {
        uint256 startGas = gasleft();
        uint256[2] calldata nonceAmount = lrDeltasPassiveMarkDummyAmount[3];
        bytes32 leaf = Hashing.transfer(
            SR[1],
            nonceAmount[1],
            senderTransferRecipientTrails[2],
            Hashing.tag(OPEN_POSITION, nonceAmount[0])
        );
        check(
            Proofs.isMember(
                senderTransferRecipientTrails[1], transferMembershipChain, leaf, txSetRootChecksum[0]
            ),
            "e"
        );
        Account memory a = _account(
            token,
            SR[0],
            currentEon(),
            senderTransferRecipientTrails[0],
            0,
            txSetRootChecksum[1],
            lrDeltasPassiveMarkDummyAmount[0],
            lrDeltasPassiveMarkDummyAmount[2]
        );
        a.active = _stateHash(
            token, a.holder, a.trail, a.eon - 1, txSetRootChecksum[0], lrDeltasPassiveMarkDummyAmount[1]
        );
        _verifyAccount(a, allotmentChain, membershipChain, values);
        _issueDelivery(
            token,
            SR,
            senderTransferRecipientTrails[2],
            nonceAmount[1],
            Hashing.tag(a.passiveMark, nonceAmount[0]),
            startGas
        );
    }

    function _issueDelivery(
        address token,
        address[2] calldata SR,
        uint256 recipientTrail,
        uint256 amount,
        uint256 tag,
        uint256 startGas
    ) private {
        bool bySender = msg.sender == SR[0];
        check(SR[0] != SR[1] && (bySender || msg.sender == SR[1]), "d");
        Challenge storage record = _record(token, SR[0], SR[1], bySender);
        _open(record, DELIVERY, recipientTrail, amount, tag);
        emit ChallengeIssued(token, SR[1], SR[0]);
        _charge(record, startGas, 0);
    }

    /// Answers with the transfer in the recipient's set of countersigned transactions.
    function answerTransferDeliveryChallengeWithProofOfActiveStateUpdateAgreement(
        address token,
        address[2] calldata SR,
        uint64 transferMembershipTrail,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        uint256[] calldata values,
        uint256[2][3] calldata lrDeltasPassiveMark,
        bytes32[2] calldata txSetRootChecksum,
        bytes32[] calldata txChain
    ) external {
        Challenge storage record = _record(token, SR[0], SR[1], false);
        bytes32 root = txSetRootChecksum[0];
        if (!_inSet(record, SR[0], transferMembershipTrail, txChain, root)) {
            record = _record(token, SR[0], SR[1], true);
            check(_inSet(record, SR[0], transferMembershipTrail, txChain, root), "k");
        }
        uint256 head = record.head;
        Account memory a = _account(
            token,
            SR[1],
            (head & 0xffffff) + 1,
            _trail(head),
            0,
            txSetRootChecksum[1],
            lrDeltasPassiveMark[0],
            lrDeltasPassiveMark[2]
        );
        check(lrDeltasPassiveMark[1][1] >= head >> 144, "x");
        a.active = _stateHash(token, SR[1], a.trail, a.eon - 1, root, lrDeltasPassiveMark[1]);
        _verifyAccount(a, allotmentChain, membershipChain, values);
        _close(record, token, SR[1], SR[0]);
    }

    function _inSet(
        Challenge storage record,
        address sender,
        uint256 trail,
        bytes32[] calldata txChain,
        bytes32 txSetRoot
    ) private view returns (bool) {
        uint256 head = record.head;
        if (_kind(head) != DELIVERY) return false;
        bytes32 leaf = Hashing.transfer(sender, head >> 144, _trail(head), record.body);
        return Proofs.isMember(trail, txChain, leaf, txSetRoot);
    }

    /// Answers with the transfer in the recipient's passive tree; the last pair is (position, nonce).
    function answerTransferDeliveryChallengeWithProofOfPassiveStateUpdate(
        address token,
        address[2] calldata SR,
        uint64 transferMembershipTrail,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        uint256[] calldata values,
        uint256[2][3] calldata lrPassiveMarkPositionNonce,
        bytes32[2] calldata checksums,
        bytes32[] calldata txChainValues
    ) external {
        Challenge storage record = _record(token, SR[0], SR[1], false);
        uint256[2] calldata positionNonce = lrPassiveMarkPositionNonce[2];
        if (!_names(record, positionNonce)) {
            record = _record(token, SR[0], SR[1], true);
            check(_names(record, positionNonce), "k");
        }
        uint256 head = record.head;
        Account memory a = _account(
            token,
            SR[1],
            (head & 0xffffff) + 1,
            _trail(head),
            checksums[0],
            checksums[1],
            lrPassiveMarkPositionNonce[0],
            lrPassiveMarkPositionNonce[1]
        );
        _checkDelivered(a, head >> 144, SR[0], transferMembershipTrail, positionNonce, txChainValues);
        _verifyAccount(a, allotmentChain, membershipChain, values);
        _close(record, token, SR[1], SR[0]);
    }

    /// Whether the record is a live delivery challenge whose tag is that of the position, or open, with the nonce.
    function _names(Challenge storage record, uint256[2] calldata positionNonce) private view returns (bool) {
        if (_kind(record.head) != DELIVERY) return false;
        uint256 tag = record.body;
        return tag == Hashing.tag(positionNonce[0], positionNonce[1])
            || tag == Hashing.tag(OPEN_POSITION, positionNonce[1]);
    }

    function _checkDelivered(
        Account memory a,
        uint256 amount,
        address sender,
        uint256 trail,
        uint256[2] calldata positionNonce,
        bytes32[] calldata txChainValues
    ) private pure {
        uint256 position = positionNonce[0];
        bytes32 leaf = Hashing.transfer(sender, amount, a.trail, Hashing.tag(position, positionNonce[1]));
        uint256 total = Proofs.passiveDelivery(
            trail, leaf, a.passiveRoot, txChainValues, position, plus(position, amount)
        );
        check(total <= a.passiveAmount, "B");
    }
}
