// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {DeliveryChallenges} from "./DeliveryChallenges.sol";
import {Layout} from "./Layout.sol";
import {Ledger} from "./Ledger.sol";
import {Recovery} from "./Recovery.sol";
import {StateChallenges} from "./StateChallenges.sol";
import {SwapChallenges} from "./SwapChallenges.sol";
import {Views} from "./Views.sol";

/// Parent-chain contract of a NOCUST commit-chain: keeps the funds, takes one checkpoint an eon from the operator,
/// and lets every wallet dispute it, withdraw, and recover its funds if the operator fails.
contract NOCUSTCommitChain is Ledger, StateChallenges, DeliveryChallenges, SwapChallenges, Recovery, Views {
    /// `blocksPerEon`: length of an eon in blocks, at least 12. `operator`: account that runs the commit-chain.
    constructor(uint256 blocksPerEon, address operator) Layout(blocksPerEon, operator) {}

    /// Makes calls of this contract's own functions for the caller, for example answers to several challenges, and
    /// tells which succeeded. One that fails does not undo the others, so nobody can spoil a batch by answering
    /// part of it first.
    function batch(bytes[] calldata calls) external returns (bool[] memory succeeded) {
        succeeded = new bool[](calls.length);
        for (uint256 i = 0; i < calls.length; ++i) {
            (succeeded[i],) = address(this).delegatecall(calls[i]);
        }
    }
}
