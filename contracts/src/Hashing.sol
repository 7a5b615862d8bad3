// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// Hashes of the protocol, bit-exact with what wallets and the hub compute.
/// `self` is always the hash of the commit-chain's own address.
library Hashing {
    /// Hash of the 20 bytes of an address.
    function account(address a) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            mstore(0, shl(96, a))
            hash := keccak256(0, 20)
        }
    }

    /// State of a wallet in one eon, signed by its owner and the operator.
    function activeState(
        bytes32 self,
        address token,
        address holder,
        uint256 trail,
        uint256 eon,
        bytes32 txSetRoot,
        uint256 spent,
        uint256 gained
    ) internal pure returns (bytes32 hash) {
        bytes32 tokenHash = account(token);
        bytes32 holderHash = account(holder);
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore(at, self)
            mstore(add(at, 32), tokenHash)
            mstore(add(at, 64), holderHash)
            mstore(add(at, 96), shl(192, trail))
            mstore(add(at, 104), eon)
            mstore(add(at, 136), txSetRoot)
            mstore(add(at, 168), spent)
            mstore(add(at, 200), gained)
            hash := keccak256(at, 232)
        }
    }

    /// Shape shared by withdrawal authorisations (expiry block, amount) and balance markers (eon, amount).
    function numbers(bytes32 self, address token, address holder, uint256 first, uint256 second)
        internal
        pure
        returns (bytes32 hash)
    {
        bytes32 tokenHash = account(token);
        bytes32 holderHash = account(holder);
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore(at, self)
            mstore(add(at, 32), tokenHash)
            mstore(add(at, 64), holderHash)
            mstore(add(at, 96), first)
            mstore(add(at, 128), second)
            hash := keccak256(at, 160)
        }
    }

    /// Transfer as it stands in a wallet's set; `nonceTag` is the hashed position and nonce.
    function transfer(address counterparty, uint256 amount, uint256 recipientTrail, uint256 nonceTag)
        internal
        pure
        returns (bytes32 hash)
    {
        bytes32 counterpartyHash = account(counterparty);
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore(at, counterpartyHash)
            mstore(add(at, 32), amount)
            mstore(add(at, 64), shl(192, recipientTrail))
            mstore(add(at, 72), nonceTag)
            hash := keccak256(at, 104)
        }
    }

    /// Hash of a transfer's position in the recipient's eon and its nonce.
    function tag(uint256 position, uint256 nonce) internal pure returns (uint256 hash) {
        assembly ("memory-safe") {
            mstore(0, position)
            mstore(32, nonce)
            hash := keccak256(0, 64)
        }
    }

    /// Swap order as it stands in one of its two wallets' sets.
    function order(
        address tokenFrom,
        address tokenTo,
        uint256 recipientTrail,
        uint256 sell,
        uint256 buy,
        uint256 start,
        uint256 nonce
    ) internal pure returns (bytes32 hash) {
        bytes32 fromHash = account(tokenFrom);
        bytes32 toHash = account(tokenTo);
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore(at, fromHash)
            mstore(add(at, 32), toHash)
            mstore(add(at, 64), shl(192, recipientTrail))
            mstore(add(at, 72), sell)
            mstore(add(at, 104), buy)
            mstore(add(at, 136), start)
            mstore(add(at, 168), nonce)
            hash := keccak256(at, 200)
        }
    }

    /// Pseudo token under which challenges about swaps from one token to another are kept.
    function conduit(address tokenFrom, address tokenTo) internal pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encodePacked(tokenFrom, tokenTo)))));
    }

    /// Leaf of a balance tree: what one wallet holds of one token, and what its eon's activity was.
    function balanceLeaf(
        bytes32 self,
        address token,
        address holder,
        bytes32 passiveRoot,
        uint256 passiveAmount,
        uint256 passiveMark,
        bytes32 active,
        uint256 left,
        uint256 right
    ) internal pure returns (bytes32 hash) {
        bytes32 tokenHash = account(token);
        bytes32 holderHash = account(holder);
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore(at, passiveRoot)
            mstore(add(at, 32), passiveAmount)
            mstore(add(at, 64), passiveMark)
            let passive := keccak256(at, 96)
            mstore(at, self)
            mstore(add(at, 32), tokenHash)
            mstore(add(at, 64), holderHash)
            mstore(add(at, 96), passive)
            mstore(add(at, 128), active)
            let inner := keccak256(at, 160)
            mstore(at, left)
            mstore(add(at, 32), inner)
            mstore(add(at, 64), right)
            hash := keccak256(at, 96)
        }
    }

    /// Next value of the running hash of parent-chain operations.
    function accumulate(
        bytes32 accumulator,
        uint256 eon,
        address token,
        address participant,
        uint256 operation,
        uint256 value
    ) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore(at, accumulator)
            mstore(add(at, 32), eon)
            mstore(add(at, 64), shl(96, token))
            mstore(add(at, 84), shl(96, participant))
            mstore8(add(at, 104), operation)
            mstore(add(at, 105), value)
            hash := keccak256(at, 137)
        }
    }

    /// Signer of `message` in the protocol's envelope; the zero address if the signature is invalid.
    function signer(bytes32 message, bytes32 r, bytes32 s, uint8 v) internal pure returns (address) {
        bytes32 inner = keccak256(abi.encodePacked("\x19Liquidity.Network Authorization:\n32", message));
        bytes32 digest = keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", inner));
        return ecrecover(digest, v, r, s);
    }

    /// Whether `attester`, which must not be the zero address, signed `message`.
    function signedBy(address attester, bytes32 message, bytes32 r, bytes32 s, uint8 v)
        internal
        pure
        returns (bool)
    {
        return attester != address(0) && signer(message, r, s, v) == attester;
    }
}
