// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {check} from "./Errors.sol";
import {Layout} from "./Layout.sol";
import {Tokens} from "./Tokens.sol";

/// Tokens, deposits, checkpoints and the operator's fees.
abstract contract Ledger is Layout {
    /// Lets an ERC-20 token be used. The contract's own address, which stands for ether, cannot be registered, nor
    /// can anything twice. What is no token can be registered but never be deposited.
    function registerERC20(address token) external onlyOperator {
        uint256 native = _tokens[address(this)].info;
        check(_tokens[token].info == 0, "k");
        uint256 trail = uint64(native >> 96);
        _tokens[address(this)].info = native + (1 << 96);
        _tokens[token].info = trail | 1 << 88;
        _tokenAt[trail] = token;
        emit TokenRegistered(token, uint64(trail));
    }

    /// Credits ether sent along, or an ERC-20 token taken from the caller, to `beneficiary`.
    function deposit(address token, address beneficiary, uint256 amount) external payable lock {
        check(!_punished(), "p");
        if (token == address(this)) {
            amount = msg.value;
        } else {
            _registered(token);
            check(msg.value == 0, "m");
            amount = Tokens.pull(token, msg.sender, amount);
        }
        uint256 eon = currentEon();
        Wallet storage wallet = _wallets[token][beneficiary];
        unchecked {
            wallet.deposits[eon % 3] = eon | (_depositsAt(wallet, eon) + amount) << 32;
        }
        _addFlows(_tokens[token], eon, amount, 0);
        _accumulate(eon, token, beneficiary, DEPOSIT, amount);
        emit Deposit(token, beneficiary, amount);
    }

    /// Commits to all wallets as of the end of the previous eon. `accumulator` shows that the operator has seen
    /// all deposits and withdrawal requests of that eon.
    ///
    /// The last half epoch (an eighth) of an eon is closed to submission, so that nobody is confronted with a
    /// checkpoint that he has no time left to dispute. The first eon, in which nothing is at stake, is exempt.
    function submitCheckpoint(bytes32 accumulator, bytes32 merkleRoot) external onlyOperator {
        uint256 status = _status;
        uint256 eon = currentEon();
        check(!_missed(status, eon) && !_outstanding(status, eon), "p");
        check(accumulator == _accumulators[(eon - 1) % 5], "b");
        check(_liveAt(status, eon - 1) == 0, "c");
        check(eon > status & 0xffffff, "d");
        check(eon == 1 || currentEra() < BLOCKS_PER_EON - BLOCKS_PER_EPOCH / 2, "w");
        _status = _withLive(status, eon, _liveAt(status, eon)) & ~uint256(0xffffff) | eon;
        _roots[eon % 5] = merkleRoot;
        emit CheckpointSubmission(eon, merkleRoot);
    }

    /// Pays the operator what it earned by reimbursements; callable by anybody. One wei is left behind.
    function claimFees() external lock returns (uint256 amount) {
        uint256 fees = _fees;
        uint256 credit = fees >> 128;
        if (credit > 1) {
            unchecked {
                amount = credit - 1;
                _fees = (fees & WORD128) - amount | 1 << 128;
            }
            check(Tokens.sendEther(operator, amount, Tokens.PAYEE_GAS), "f");
        }
    }

    /// Ether that operators of challenges and requests paid: (held for open challenges, claimable by the operator).
    function getFees() external view returns (uint256 held, uint256 claimable) {
        uint256 fees = _fees;
        return ((fees & WORD128) - (fees >> 128), fees >> 128);
    }

    receive() external payable {
        emit EtherReceived(msg.sender, msg.value);
    }
}
