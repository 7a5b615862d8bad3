// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {check} from "./Errors.sol";
import {Tokens} from "./Tokens.sol";
import {Withdrawals} from "./Withdrawals.sol";

/// The records of the challenge game: opening, fees, closing.
abstract contract Challenges is Withdrawals {
    uint256 internal constant STATE_UPDATE = 1;
    uint256 internal constant DELIVERY = 2;
    uint256 internal constant SWAP = 3;

    uint256 private constant FEE_BITS = ((1 << 21) - 1) << 123;
    // surplus ether worth less than sending it back
    uint256 private constant CRUMBS = 1 << 44;

    /// Record of challenges about `token` issued by `recipient` or, if `bySender`, by `sender`. The two parties of
    /// a transfer have separate records, so that neither can use up the other's.
    function _record(address token, address sender, address recipient, bool bySender)
        internal
        pure
        returns (Challenge storage record)
    {
        bytes32 slot = keccak256(abi.encode("challenge", token, recipient, sender, bySender));
        assembly ("memory-safe") {
            record.slot := slot
        }
    }

    function _kind(uint256 head) internal pure returns (uint256) {
        return head >> 24 & 7;
    }

    function _trail(uint256 head) internal pure returns (uint256) {
        return uint64(head >> 59);
    }

    /// Opens a challenge about the previous eon: once an eon for each record, after the first epoch of the eon.
    function _open(Challenge storage record, uint256 kind, uint256 trail, uint256 amount, uint256 body) internal {
        uint256 eon = currentEon();
        uint256 head = record.head;
        uint256 status = _status;
        check(_kind(head) == 0 && (head & 0xffffff) + 1 < eon, "k");
        check(currentEra() > BLOCKS_PER_EPOCH, "w");
        check(!_missed(status, eon) && !_outstanding(status, eon), "p");
        check(amount <= WORD112, "+");
        unchecked {
            record.head = eon - 1 | kind << 24 | block.number << 27 | trail << 59 | amount << 144;
            _status = _withLive(status, eon, _liveAt(status, eon) + 1);
        }
        if (body != 0) record.body = body;
    }

    /// Two numbers in one word.
    function _pair(uint256 low, uint256 high) internal pure returns (uint256) {
        check(low <= WORD128 && high <= WORD128, "+");
        return low | high << 128;
    }

    /// Keeps the fee for the gas used since `startGas`, at no less than the minimum price, until the challenge is
    /// answered, and gives the rest back. At higher gas prices the fee rises as far as the ether sent allows.
    function _charge(Challenge storage record, uint256 startGas, uint256 extra) internal {
        unchecked {
            uint256 used = startGas - gasleft() + extra;
            uint256 fee = used * MIN_CHALLENGE_GAS_COST;
            check(msg.value >= fee, "r");
            if (tx.gasprice > MIN_CHALLENGE_GAS_COST) {
                fee = used * tx.gasprice;
                if (fee > msg.value) fee = msg.value;
            }
            uint256 units = fee >> 40;
            if (units >= 1 << 21) units = (1 << 21) - 1;
            record.head |= units << 123;
            uint256 rest = msg.value - (units << 40);
            if (rest < CRUMBS) {
                _keepFee(msg.value, rest);
            } else {
                _keepFee(msg.value - rest, 0);
                _refund(rest);
            }
        }
    }

    /// Closes an answered challenge if there is still time to; its fee is the operator's.
    function _close(Challenge storage record, address token, address recipient, address sender) internal {
        uint256 eon = currentEon();
        uint256 head = record.head;
        uint256 initialEon = head & 0xffffff;
        unchecked {
            check(block.number - (head >> 27 & 0xffffffff) < BLOCKS_PER_EPOCH, "w");
            check(
                initialEon + 1 == eon || initialEon + 2 == eon && currentEra() < BLOCKS_PER_EPOCH, "w"
            );
            uint256 status = _status;
            _status = _withLive(status, initialEon + 1, _liveAt(status, initialEon + 1) - 1);
        }
        _keepFee(0, _clear(record, head));
        emit ChallengeAnswered(token, recipient, sender);
    }

    /// Empties a record but for its eon and returns the fee held for it.
    function _clear(Challenge storage record, uint256 head) internal returns (uint256 fee) {
        record.head = head & 0xffffff;
        if (record.body != 0) record.body = 0;
        if (_kind(head) == SWAP) {
            record.nonce = 0;
            record.finalBalance = 0;
        }
        return (head & FEE_BITS) >> 123 << 40;
    }

    /// Gives the fee of a challenge that was never answered back to its issuer, once the chain has halted.
    function reclaimChallengeFee(address token, address sender, address recipient, bool bySender)
        external
        lock
        returns (uint256 fee)
    {
        check(_punished(), "f");
        Challenge storage record = _record(token, sender, recipient, bySender);
        uint256 head = record.head;
        check(_kind(head) != 0, "k");
        fee = _clear(record, head);
        unchecked {
            _fees -= fee;
        }
        Tokens.pay(address(this), bySender ? sender : recipient, fee);
    }
}
