"""What operations cost with the deployed contract that is compared with, and the goals.

Figures: `spec/contract.md` §8.2, bundle 10 under current rules. An operation on a tree has four, for trees of
2^4, 2^10, 2^20 and 2^30 wallets, any other has one.
"""

from __future__ import annotations

from typing import Final, NamedTuple

DEPTHS: Final = (4, 10, 20, 30)
GOAL_DEPTH: Final = 20

REGISTRATION: Final = 100
PROOF: Final = 50
PLAIN: Final = 62
TRANSFER: Final = 75


class Reference(NamedTuple):
    """`goal`: percent of the figure that the operation may cost, on trees at `GOAL_DEPTH`."""

    goal: int
    gas: tuple[int, ...]


REFERENCE: Final[dict[str, Reference]] = {
    "registerERC20": Reference(REGISTRATION, (73_973,)),
    "deposit ETH: 1st ever (all slots new)": Reference(PLAIN, (163_451,)),
    "deposit ETH: new wallet, same eon": Reference(PLAIN, (109_324,)),
    "deposit ETH: same wallet again, same eon": Reference(PLAIN, (72_297,)),
    "deposit ERC20: 1st (token slots new)": Reference(TRANSFER, (187_841,)),
    "deposit ERC20: new wallet, same eon": Reference(TRANSFER, (133_714,)),
    "deposit ERC20: same wallet again": Reference(TRANSFER, (96_687,)),
    "submitCheckpoint: slot new": Reference(PLAIN, (117_498,)),
    "deposit ETH: steady, 1st in eon (slots reused)": Reference(PLAIN, (75_151,)),
    "deposit ETH: steady, new wallet": Reference(PLAIN, (109_324,)),
    "deposit ERC20: steady, 1st in eon": Reference(TRANSFER, (99_541,)),
    "submitCheckpoint: steady (slot reused)": Reference(PLAIN, (66_582,)),
    "requestDelegatedWithdrawal ETH (operator tx), 3rd pending": Reference(PLAIN, (142_233,)),
    "requestAuthorizedWithdrawal ETH, new wallet": Reference(PLAIN, (146_705,)),
    "slashWithdrawal: current-eon requests": Reference(PLAIN, (84_956,)),
    "slashWithdrawal: previous-eon requests": Reference(PLAIN, (122_301,)),
    "confirmWithdrawal ERC20: 1 request": Reference(TRANSFER, (159_420,)),
    "confirmWithdrawal ETH: 3 requests": Reference(TRANSFER, (180_143,)),
    "confirmWithdrawal ETH: nothing pending": Reference(TRANSFER, (64_670,)),
    "confirmWithdrawal ETH: 1 request": Reference(TRANSFER, (147_689,)),
    "challengeStateUpdate(empty / agreement)": Reference(PROOF, (195_199,)),
    "challengeDelivery(active), tx tree 2^4": Reference(PROOF, (247_533,)),
    "recoverOnlyParentChainFunds ETH (1 deposit)": Reference(TRANSFER, (68_717,)),
    "recoverOnlyParentChainFunds ERC20": Reference(TRANSFER, (80_448,)),
    "requestWithdrawal ETH: 1st in eon": Reference(PROOF, (285_837, 307_532, 343_701, 380_419)),
    "requestWithdrawal ETH: 2nd by same wallet": Reference(PROOF, (211_566, 233_261, 269_430, 306_148)),
    "requestWithdrawal ERC20: 1st in eon": Reference(PROOF, (275_932, 297_591, 333_748, 370_454)),
    "challengeStateUpdate(PoEA), signed deltas": Reference(PROOF, (307_477, 328_245, 362_880, 398_013)),
    "answerStateUpdateChallenge, signed deltas": Reference(PROOF, (173_277, 197_897, 238_947, 280_349)),
    "challengeStateUpdate(PoEA), no deltas": Reference(PROOF, (277_990, 298_758, 333_417, 368_526)),
    "answerStateUpdateChallenge, no deltas": Reference(PROOF, (153_356, 177_964, 219_086, 260_668)),
    "answerStateUpdateChallenge (to empty)": Reference(PROOF, (153_424, 178_032, 219_142, 260_520)),
    "answerDelivery(active)": Reference(PROOF, (144_796, 165_504, 200_178, 235_336)),
    "challengeDelivery(passive), tx tree 2^4": Reference(PROOF, (311_124, 331_941, 366_617, 401_430)),
    "answerDelivery(passive)": Reference(PROOF, (151_384, 172_190, 206_878, 241_643)),
    "challengeSwapEnactment, tx tree 2^4": Reference(PROOF, (390_977, 411_712, 446_378, 481_335)),
    "answerSwapChallenge": Reference(PROOF, (164_103, 182_687, 217_255, 252_451)),
    "recoverAllFunds ETH": Reference(PROOF, (208_915, 230_574, 266_754, 303_460)),
    "recoverAllFunds ERC20": Reference(PROOF, (219_989, 241_660, 277_864, 314_570)),
}
