// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {check} from "./Errors.sol";
import {Allotments} from "./Allotments.sol";
import {Hashing} from "./Hashing.sol";
import {Tokens} from "./Tokens.sol";

/// Requests for withdrawal, their cancellation and their payment.
abstract contract Withdrawals is Allotments {
    /// Gas for which a request reimburses the operator.
    uint256 private constant RESPONSE_GAS = 100_100;

    /// Requests a withdrawal of the caller's allotment in the checkpoint of the previous eon. That checkpoint does
    /// not know the caller's requests of the previous and of the current eon, so these are subtracted.
    function requestWithdrawal(
        address token,
        bytes32[2] calldata checksums,
        uint64 trail,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        uint256[] calldata values,
        uint256[2][2] calldata lrPassiveMark,
        uint256 withdrawalAmount
    ) external payable lock {
        uint256 fee = RESPONSE_GAS
            * (tx.gasprice > MIN_CHALLENGE_GAS_COST ? tx.gasprice : MIN_CHALLENGE_GAS_COST);
        check(msg.value >= fee, "r");
        check(!_punished(), "p");
        uint256 eon = currentEon();
        Account memory a = _account(
            token, msg.sender, eon - 1, trail, checksums[0], checksums[1], lrPassiveMark[0], lrPassiveMark[1]
        );
        uint256 pool = _verifyAccount(a, allotmentChain, membershipChain, values);
        Wallet storage wallet = _wallets[token][msg.sender];
        uint256 requested = _requestsAt(wallet, eon - 1) + _requestsAt(wallet, eon);
        uint256 allotted = a.right - a.left;
        check(allotted >= requested && allotted - requested >= withdrawalAmount, "b");
        _request(token, msg.sender, withdrawalAmount, eon, pool);
        _keepFee(fee, fee);
        _refund(msg.value - fee);
    }

    /// Requests a withdrawal for `holder`, who signed the message with the sum of his requests of this eon.
    function requestDelegatedWithdrawal(
        address token,
        address holder,
        uint256 withdrawalAmount,
        uint256 expiry,
        bytes32 r,
        bytes32 s,
        uint8 v
    ) external onlyOperator running {
        _requestAuthorized(token, holder, withdrawalAmount, expiry, holder, r, s, v);
    }

    /// Requests a withdrawal for the caller, authorised by the operator.
    function requestAuthorizedWithdrawal(
        address token,
        uint256 withdrawalAmount,
        uint256 expiry,
        bytes32 r,
        bytes32 s,
        uint8 v
    ) external running {
        _requestAuthorized(token, msg.sender, withdrawalAmount, expiry, operator, r, s, v);
    }

    function _requestAuthorized(
        address token,
        address holder,
        uint256 amount,
        uint256 expiry,
        address attester,
        bytes32 r,
        bytes32 s,
        uint8 v
    ) private {
        _registered(token);
        check(block.number <= expiry, "y");
        uint256 eon = currentEon();
        uint256 sum;
        unchecked {
            sum = _requestsAt(_wallets[token][holder], eon) + amount;
        }
        check(sum >= amount, "+");
        bytes32 message = Hashing.numbers(SELF, token, holder, expiry, sum);
        check(!_used[message] && Hashing.signedBy(attester, message, r, s, v), "a");
        _used[message] = true;
        _request(token, holder, amount, eon, _pool(token));
    }

    function _request(address token, address holder, uint256 amount, uint256 eon, uint256 pool) private {
        check(amount != 0, "z");
        Token storage t = _tokens[token];
        uint256 info = _registered(token);
        uint256 pending = _pendingAt(t, info, eon);
        check(pool >= pending && amount <= pool - pending, "b");
        _append(_wallets[token][holder], eon, amount);
        _movePending(t, info, eon, amount, 0);
        _accumulate(eon, token, holder, WITHDRAWAL_REQUEST, amount);
        emit WithdrawalRequest(token, holder, amount);
    }

    /// Lists a request. The last one listed is not stored: it is the sum less the others.
    function _append(Wallet storage wallet, uint256 eon, uint256 amount) private {
        uint256 slot = eon % 3;
        uint256 word = wallet.requests[slot];
        uint256 listed = word >> 24 & 0xf;
        unchecked {
            if (word & 0xffffff != eon || listed == 0) {
                uint256 old = word >> 144;
                uint256 displaced = word & DISPLACED;
                if (old != 0) {
                    _mature(wallet, word & 0xffffff, old);
                    displaced = DISPLACED;
                }
                wallet.requests[slot] = eon | 1 << 24 | displaced | amount << 32 | amount << 144;
                return;
            }
            if (listed < LISTED_REQUESTS) {
                if (listed > 1) _listLast(wallet, slot, word, listed);
                word += 1 << 24;
            }
            wallet.requests[slot] = word + (amount << 144);
        }
    }

    /// Stores the last listed request of a ring entry among the details, before another one follows it.
    function _listLast(Wallet storage wallet, uint256 slot, uint256 word, uint256 listed) private {
        unchecked {
            uint256 last = (word >> 144) - (word >> 32 & WORD112);
            for (uint256 i = 0; i + 2 < listed; ++i) {
                last -= _detail(wallet, slot, i);
            }
            uint256 index = listed - 2;
            uint256 at = slot * 3 + index / 2;
            wallet.details[at] = index & 1 == 0 ? last : wallet.details[at] | last << 128;
        }
    }

    function _detail(Wallet storage wallet, uint256 slot, uint256 index) internal view returns (uint256) {
        unchecked {
            return wallet.details[slot * 3 + index / 2] >> (index & 1) * 128 & WORD128;
        }
    }

    /// Moves the requests of an eon that gives way in the ring, and so is payable, to the sum of such requests.
    function _mature(Wallet storage wallet, uint256 eon, uint256 amount) private {
        uint256 matured = wallet.matured;
        unchecked {
            uint256 newest = matured >> 128 & 0xffffff;
            if (newest > eon) eon = newest;
            wallet.matured = (matured & WORD128) + amount | eon << 128 | matured & RECOVERED;
        }
    }

    /// Takes all requests up to `eon` off a wallet and returns their sum. What was paid stays noted for recovery.
    function _takeRequests(Wallet storage wallet, uint256 eon) internal returns (uint256 amount) {
        uint256 seen;
        for (uint256 slot = 0; slot < 3; ++slot) {
            uint256 word = wallet.requests[slot];
            uint256 requested = word & 0xffffff;
            uint256 sum = word >> 144;
            seen |= word;
            if (requested <= eon && sum != 0) {
                unchecked {
                    amount += sum;
                }
                wallet.requests[slot] = requested | word & DISPLACED;
            }
        }
        if (seen & DISPLACED != 0) {
            uint256 matured = wallet.matured;
            unchecked {
                amount += matured & WORD128;
            }
            if (matured & WORD128 != 0) wallet.matured = matured & RECOVERED;
        }
    }

    /// Pays the recipient's requests that are old enough; zero, with an event, if there are none.
    ///
    /// Before the checkpoint of the current eon is submitted the chain can still halt, and the final checkpoint would
    /// not know the requests of two eons ago; so these wait for it, or for one eon more.
    function confirmWithdrawal(address token, address recipient) external lock running returns (uint256) {
        uint256 amount;
        uint256 eon = currentEon();
        uint256 waiting = currentEra() < EXTENDED_BLOCKS_PER_EPOCH || _lastSubmission() != eon ? 3 : 2;
        if (eon > waiting) amount = _takeRequests(_wallets[token][recipient], eon - waiting);
        emit WithdrawalConfirmation(token, recipient, amount);
        if (amount != 0) {
            Token storage t = _tokens[token];
            _movePending(t, t.info, eon, 0, amount);
            _addFlows(t, eon, 0, amount);
            Tokens.pay(token, recipient, amount);
        }
        return amount;
    }

    /// Cancels the withdrawer's requests of the previous and of the current eon if, with those made since the marked
    /// eon, they exceed what he declared in a balance marker of the last three eons to leave himself. Returns the
    /// cancelled sums of both eons.
    ///
    /// Once the current checkpoint is submitted it has taken the requests of the previous eon into account: these
    /// still count, but stay, since the operator could not justify the checkpoint any more. For the same reason it
    /// is the operator alone who cancels; nobody else but the withdrawer has his markers.
    ///
    /// A marker has the shape of a withdrawal authorisation. The eon must therefore have begun, and a message that
    /// served as an authorisation is no marker.
    function slashWithdrawalWithProofOfMinimumAvailableBalance(
        address token,
        address withdrawer,
        uint256[2] calldata markerEonAvailable,
        bytes32[2] calldata rs,
        uint8 v
    ) external onlyOperator returns (uint256[2] memory slashed) {
        uint256 eon = currentEon();
        uint256 marked = markerEonAvailable[0];
        check(marked <= eon && eon < marked + 3, "m");
        bytes32 marker = Hashing.numbers(SELF, token, withdrawer, marked, markerEonAvailable[1]);
        check(!_used[marker] && Hashing.signedBy(withdrawer, marker, rs[0], rs[1], v), "a");
        Wallet storage wallet = _wallets[token][withdrawer];
        slashed = [_requestsAt(wallet, eon - 1), _requestsAt(wallet, eon)];
        uint256 older = marked + 2 == eon ? _requestsAt(wallet, marked) : 0;
        check(older + slashed[0] + slashed[1] > markerEonAvailable[1], "b");
        if (_lastSubmission() == eon) slashed[0] = 0;
        check(slashed[0] | slashed[1] != 0, "d");
        _cancel(token, withdrawer, eon, slashed[1]);
        _cancel(token, withdrawer, eon - 1, slashed[0]);
        _reducePending(token, eon, slashed);
        emit WithdrawalSlashed(token, withdrawer, slashed[0], slashed[1]);
    }

    function _cancel(address token, address withdrawer, uint256 eon, uint256 amount) private {
        if (amount != 0) {
            _wallets[token][withdrawer].requests[eon % 3] &= DISPLACED;
            _accumulate(eon, token, withdrawer, CANCELLATION, amount);
        }
    }

    /// Takes cancelled requests from the running totals as of the previous and of the current eon.
    function _reducePending(address token, uint256 eon, uint256[2] memory slashed) private {
        Token storage t = _tokens[token];
        uint256 word = t.pending[eon % 5];
        unchecked {
            if (word & 0xffffff == eon) {
                t.pending[eon % 5] = word - (slashed[0] << 32 | (slashed[0] + slashed[1]) << 144);
            }
            if (slashed[0] != 0) t.pending[(eon - 1) % 5] -= slashed[0] << 144;
        }
    }

    // ---- ether that is not on deposit ----

    /// Sets `amount` of the ether sent apart, `earned` of it for the operator at once.
    function _keepFee(uint256 amount, uint256 earned) internal {
        unchecked {
            _fees += amount | earned << 128;
        }
    }

    /// Gives the rest of the ether sent back; if the caller cannot take it, it is the operator's.
    function _refund(uint256 amount) internal {
        if (amount != 0 && !Tokens.sendEther(msg.sender, amount, Tokens.PAYEE_GAS)) {
            _keepFee(amount, amount);
        }
    }
}
