// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {check, minus} from "./Errors.sol";
import {Tokens} from "./Tokens.sol";
import {Withdrawals} from "./Withdrawals.sol";

/// Ways out of a halted chain.
///
/// The last checkpoint but one is final: nobody can dispute it any more. It knows deposits and requests of earlier
/// eons, so later deposits and earlier requests are paid on top, and later requests are void: none of them has been
/// paid, see `confirmWithdrawal`.
abstract contract Recovery is Withdrawals {
    /// Pays what the parent chain knows of a holder: for wallets that are in no final checkpoint.
    function recoverOnlyParentChainFunds(address token, address holder)
        external
        lock
        returns (uint256 reclaimed)
    {
        check(_punished(), "f");
        reclaimed = _takeParentChainFunds(token, holder);
        if (reclaimed == 0) _registered(token);
        _payOut(token, holder, reclaimed, false);
    }

    /// Pays a holder's allotment in the final checkpoint and what the parent chain knows of him, once.
    function recoverAllFunds(
        address token,
        address holder,
        bytes32[2] calldata checksums,
        uint64 trail,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        uint256[] calldata values,
        uint256[2] calldata LR,
        uint256[3] calldata dummyPassiveMark
    ) external lock returns (uint256 recovered) {
        check(_punished(), "f");
        Wallet storage wallet = _wallets[token][holder];
        check(wallet.matured & RECOVERED == 0, "a");
        Account memory a = _account(
            token,
            holder,
            minus(_lastSubmission(), 1),
            trail,
            checksums[0],
            checksums[1],
            LR,
            _tail(dummyPassiveMark)
        );
        _verifyAccount(a, allotmentChain, membershipChain, values);
        unchecked {
            recovered = a.right - a.left + _takeParentChainFunds(token, holder);
        }
        wallet.matured |= RECOVERED;
        _payOut(token, holder, recovered, true);
    }

    function _takeParentChainFunds(address token, address holder) private returns (uint256 amount) {
        Wallet storage wallet = _wallets[token][holder];
        uint256 last = _lastSubmission();
        unchecked {
            if (last > 2) amount = _takeRequests(wallet, last - 2);
            for (uint256 slot = 0; slot < DEPOSITS_KEPT; ++slot) {
                uint256 word = wallet.deposits[slot];
                uint256 eon = word & 0xffffffff;
                if (word >> 32 != 0 && eon + 1 >= last) {
                    amount += word >> 32;
                    wallet.deposits[slot] = 0;
                }
            }
        }
    }

    /// Books a payment as a withdrawal of the final checkpoint's eon, so that the other holders' proofs stay good.
    function _payOut(address token, address holder, uint256 amount, bool complete) private {
        uint256 last = _lastSubmission();
        if (amount != 0) {
            if (last > 1) _addFlows(_tokens[token], last - 1, 0, amount);
            emit FundsRecovered(token, holder, amount, complete);
            Tokens.pay(token, holder, amount);
        }
    }
}
