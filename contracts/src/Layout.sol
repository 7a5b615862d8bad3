// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {check} from "./Errors.sol";
import {Hashing} from "./Hashing.sol";
import {Tokens} from "./Tokens.sol";

/// What the commit-chain stores, and how it packs and reads it. Comments at fields: name, width, lowest bit.
///
/// Rings are indexed by eon modulo their size; an entry counts only if the eon stored in it is the eon asked for.
abstract contract Layout {
    /// Per token. Amounts are below 2^112 in the token's smallest unit.
    struct Token {
        // trail 64@0, newest eon in `pending` 24@64, registered 1@88, number of tokens 64@96 (native coin only)
        uint256 info;
        // eon 24@0, deposits 112@32, confirmed withdrawals 112@144
        uint256[5] flows;
        // eon 24@0, distance to the previous entry's eon 8@24, opening total 112@32, running total 112@144
        uint256[5] pending;
    }

    /// Per token and holder.
    struct Wallet {
        // eon 32@0, amount 112@32
        uint256[3] deposits;
        // eon 24@0, number of listed requests 4@24, whether `matured` has been used 1@28, first request 112@32,
        // sum of the eon 112@144; once paid: eon 24@0, as before 1@28, amount paid 112@32
        uint256[3] requests;
        // sum of requests pushed out of the ring, all payable, 128@0; newest of their eons 24@128; recovered 1@152
        uint256 matured;
        // second to last but one request of each ring entry, two a word: 128@0, 128@128
        uint256[9] details;
    }

    /// Per challenge.
    struct Challenge {
        // initial eon 24@0, kind 3@24, opening block 32@27, trail 64@59, fee in units of 2^40 wei 21@123,
        // initial balance or delivered amount 112@144
        uint256 head;
        // state update: spent 128@0, gained 128@128; swap: sold 128@0, bought 128@128; delivery: tag 256@0
        uint256 body;
        // swap: nonce
        uint256 nonce;
        // swap: final balance
        uint256 finalBalance;
    }

    uint8 public constant EONS_KEPT = 5;
    uint8 public constant DEPOSITS_KEPT = 3;
    uint256 public constant MIN_CHALLENGE_GAS_COST = 5 gwei;

    uint256 internal constant WORD112 = type(uint112).max;
    uint256 internal constant WORD128 = type(uint128).max;
    uint256 internal constant LISTED_REQUESTS = 8;
    uint256 internal constant RECOVERED = 1 << 152;
    uint256 internal constant DISPLACED = 1 << 28;

    uint256 internal constant DEPOSIT = 0;
    uint256 internal constant WITHDRAWAL_REQUEST = 1;
    uint256 internal constant CANCELLATION = 2;

    uint256 public immutable BLOCKS_PER_EON;
    uint256 public immutable BLOCKS_PER_EPOCH;
    uint256 public immutable EXTENDED_BLOCKS_PER_EPOCH;
    uint256 public immutable genesis;
    address public immutable operator;
    bytes32 internal immutable SELF;

    // newest submitted eon 24@0, then five times: eon 24@24+46i, live challenges 22@48+46i
    uint256 internal _status;
    // ether that is no one's deposit: all of it 128@0, the part the operator may claim 128@128
    uint256 internal _fees;
    bytes32[5] internal _roots;
    bytes32[5] internal _accumulators;
    mapping(address token => Token) internal _tokens;
    mapping(uint256 trail => address token) internal _tokenAt;
    mapping(address token => mapping(address holder => Wallet)) internal _wallets;
    mapping(bytes32 authorization => bool) internal _used;
    bool private transient _entered;

    event CheckpointSubmission(uint256 indexed eon, bytes32 merkleRoot);
    event Deposit(address indexed token, address indexed recipient, uint256 amount);
    event WithdrawalRequest(address indexed token, address indexed requestor, uint256 amount);
    event WithdrawalConfirmation(address indexed token, address indexed requestor, uint256 amount);
    event ChallengeIssued(address indexed token, address indexed recipient, address indexed sender);
    event StateUpdate(
        address indexed token,
        address indexed account,
        uint256 indexed eon,
        uint64 trail,
        bytes32[] allotmentChain,
        bytes32[] membershipChain,
        uint256[] values,
        uint256[2][3] lrDeltasPassiveMark,
        bytes32 activeStateChecksum,
        bytes32 passiveChecksum,
        bytes32 r,
        bytes32 s,
        uint8 v
    );

    /// An ERC-20 token may be used from now on.
    event TokenRegistered(address indexed token, uint64 trail);
    /// Requests of the previous and of the current eon were cancelled.
    event WithdrawalSlashed(
        address indexed token, address indexed withdrawer, uint256 previousEonAmount, uint256 currentEonAmount
    );
    /// A challenge was answered.
    event ChallengeAnswered(address indexed token, address indexed recipient, address indexed sender);
    /// Funds left a halted chain.
    event FundsRecovered(address indexed token, address indexed holder, uint256 amount, bool complete);
    /// Ether arrived that is credited to nobody.
    event EtherReceived(address indexed from, uint256 amount);

    /// Refuses calls that arrive while a token or a payee is being called.
    modifier lock() {
        check(!_entered, "i");
        _entered = true;
        _;
        _entered = false;
    }

    modifier onlyOperator() {
        check(msg.sender == operator, "o");
        _;
    }

    modifier running() {
        check(!_punished(), "p");
        _;
    }

    constructor(uint256 blocksPerEon, address operator_) {
        check(blocksPerEon >= 12 && blocksPerEon < 1 << 32 && operator_ != address(0), "c");
        BLOCKS_PER_EON = blocksPerEon;
        BLOCKS_PER_EPOCH = blocksPerEon / 4;
        EXTENDED_BLOCKS_PER_EPOCH = blocksPerEon / 3;
        genesis = block.number;
        operator = operator_;
        SELF = Hashing.account(address(this));
        _tokens[address(this)].info = 1 << 96 | 1 << 88;
        _tokenAt[0] = address(this);
    }

    // ---- time ----

    /// Number of the current eon; the first is 1.
    function currentEon() public view returns (uint256) {
        unchecked {
            return (block.number - genesis) / BLOCKS_PER_EON + 1;
        }
    }

    /// Number of blocks since the current eon began.
    function currentEra() public view returns (uint256) {
        unchecked {
            return (block.number - genesis) % BLOCKS_PER_EON;
        }
    }

    // ---- status ----

    function _lastSubmission() internal view returns (uint256) {
        return _status & 0xffffff;
    }

    function _slotShift(uint256 eon) internal pure returns (uint256) {
        unchecked {
            return 24 + 46 * (eon % 5);
        }
    }

    function _liveAt(uint256 status, uint256 eon) internal pure returns (uint256) {
        uint256 slot = status >> _slotShift(eon);
        return slot & 0xffffff == eon ? (slot >> 24) & 0x3fffff : 0;
    }

    /// `status` with the ring entry of `eon` set to `live` challenges.
    function _withLive(uint256 status, uint256 eon, uint256 live) internal pure returns (uint256) {
        check(live < 1 << 22, "+");
        uint256 shift = _slotShift(eon);
        return status & ~(((1 << 46) - 1) << shift) | (eon | live << 24) << shift;
    }

    function _missed(uint256 status, uint256 eon) internal pure returns (bool) {
        unchecked {
            return eon - (status & 0xffffff) > 1;
        }
    }

    function _outstanding(uint256 status, uint256 eon) internal view returns (bool) {
        unchecked {
            return _liveAt(status, eon - 1) != 0 && currentEra() > BLOCKS_PER_EPOCH;
        }
    }

    /// Whether the operator failed a duty. Never reverts to false, since submission requires it to be false.
    function _punished() internal view returns (bool) {
        uint256 status = _status;
        uint256 eon = currentEon();
        return _missed(status, eon) || _outstanding(status, eon);
    }

    /// Root of the checkpoint of `eon`, zero if there is none or it is no longer kept.
    function _root(uint256 eon) internal view returns (bytes32) {
        uint256 last = _lastSubmission();
        unchecked {
            return eon != 0 && eon <= last && eon + EONS_KEPT > last ? _roots[eon % 5] : bytes32(0);
        }
    }

    function _accumulate(uint256 eon, address token, address participant, uint256 operation, uint256 value)
        internal
    {
        uint256 slot = eon % 5;
        _accumulators[slot] =
            Hashing.accumulate(_accumulators[slot], eon, token, participant, operation, value);
    }

    // ---- tokens ----

    function _registered(address token) internal view returns (uint256 info) {
        info = _tokens[token].info;
        check(info & 1 << 88 != 0, "t");
    }

    /// What the contract holds of `token` for wallets: fees, and ether sent with this call, are left out.
    function _pool(address token) internal view returns (uint256) {
        if (token == address(this)) {
            unchecked {
                return address(this).balance - msg.value - (_fees & WORD128);
            }
        }
        return Tokens.balanceOf(token, address(this));
    }

    /// (deposits, confirmed withdrawals) of `token` in `eon`.
    function _flowsAt(Token storage token, uint256 eon) internal view returns (uint256, uint256) {
        uint256 word = token.flows[eon % 5];
        return word & 0xffffff == eon ? (word >> 32 & WORD112, word >> 144) : (0, 0);
    }

    function _addFlows(Token storage token, uint256 eon, uint256 deposited, uint256 confirmed) internal {
        (uint256 deposits, uint256 confirmations) = _flowsAt(token, eon);
        unchecked {
            deposits += deposited;
            confirmations += confirmed;
        }
        check(deposits <= WORD112 && confirmations <= WORD112, "+");
        token.flows[eon % 5] = eon | deposits << 32 | confirmations << 144;
    }

    function _newestPending(uint256 info) internal pure returns (uint256) {
        return info >> 64 & 0xffffff;
    }

    /// Running total of requested and unpaid withdrawals as of the end of `eon`, for eons still in the ring.
    function _pendingAt(Token storage token, uint256 info, uint256 eon) internal view returns (uint256) {
        uint256 at = _newestPending(info);
        while (at != 0) {
            uint256 word = token.pending[at % 5];
            if (word & 0xffffff != at) break;
            if (at <= eon) return word >> 144;
            unchecked {
                at -= word >> 24 & 0xff;
            }
            if (at <= eon) return word >> 32 & WORD112;
        }
        return 0;
    }

    /// Adds to and takes from the running total in `eon`, which is not before the newest entry.
    function _movePending(Token storage token, uint256 info, uint256 eon, uint256 added, uint256 taken)
        internal
    {
        uint256 newest = _newestPending(info);
        uint256 word = newest == 0 ? 0 : token.pending[newest % 5];
        uint256 total = word >> 144;
        unchecked {
            if (newest != eon) {
                uint256 back = eon - newest;
                word = eon | (back > 255 ? 255 : back) << 24 | total << 32;
                token.info = info & ~(uint256(0xffffff) << 64) | eon << 64;
            }
            total = total + added - taken;
        }
        check(total <= WORD112, "+");
        token.pending[eon % 5] = word & (1 << 144) - 1 | total << 144;
    }

    // ---- wallets ----

    function _depositsAt(Wallet storage wallet, uint256 eon) internal view returns (uint256) {
        uint256 word = wallet.deposits[eon % 3];
        return word & 0xffffffff == eon ? word >> 32 : 0;
    }

    function _requestsAt(Wallet storage wallet, uint256 eon) internal view returns (uint256) {
        uint256 word = wallet.requests[eon % 3];
        return word & 0xffffff == eon ? word >> 144 : 0;
    }
}
