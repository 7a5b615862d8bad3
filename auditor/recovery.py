"""A wallet's recovery bundle: all that its owner needs to get its money out of a halted contract without the hub
(`spec/contract.md` §4)."""

from __future__ import annotations

import time

from django.conf import settings

from auditor import render
from contractor.models import ContractParameters, ContractState
from ledger.models import Token, TokenCommitment, Wallet
from ledger.proofs import Proof, active_state_checksum, proofs
from ledger.store import HubNotReadyError, chain_status
from nocust.addresses import to_checksum
from nocust.encoding import ZERO_HASH
from nocust.recovery import (
    ALL_FUNDS,
    PARENT_CHAIN_FUNDS,
    VERSION,
    AllotmentProof,
    recover_all_funds_call,
    recover_parent_chain_funds_call,
)

INSTRUCTIONS = [
    "Keep this file. It is all you need to get your money if the hub fails; it holds no secret.",
    "The contract pays only once it is halted: when its function hasMissedCheckpointSubmission() or"
    " hasOutstandingChallenges() returns true. Until then withdraw in the ordinary way.",
    "Ask the contract for lastSubmissionEon(). If one of the entries under 'ways' names that number, send its"
    " 'calldata' to the contract's address.",
    "If none does, and the number is 'last_submission_eon' of this file or one more, the final checkpoint does not"
    " know the wallet: send the 'calldata' under 'parent_chain'. It pays deposits and withdrawal requests that no"
    " final checkpoint knows yet. The entries under 'ways' pay these too.",
    "If the number is higher, this file is too old: fetch a newer one. Each checkpoint makes a new one.",
    "Send it as a transaction without value, from any account that can pay for gas. The money always goes to the"
    " address under 'wallet', and once only.",
    "The command 'python -m nocust recover FILE --node URL' does all this: it checks the file, asks the contract,"
    " chooses the call and sends it.",
    "What you paid or received after the checkpoint named by 'merkle_proof' is void after a halt.",
]


def bundle(token: Token, address: bytes, wallet: Wallet | None) -> render.Object:
    """The bundle of an address, which need not have a wallet: its deposits can be recovered all the same.
    Raises HubNotReadyError before the contract was read."""
    parameters = ContractParameters.objects.first()
    if parameters is None:
        raise HubNotReadyError
    status = chain_status()
    last = ContractState.last_submission_eon()
    return {
        "version": VERSION,
        "contract": to_checksum(parameters.contract),
        "chain_id": parameters.chain_id,
        "operator": to_checksum(parameters.operator),
        "token": to_checksum(token.address),
        "token_trail": token.trail,
        "wallet": to_checksum(address),
        "trail_identifier": None if wallet is None else wallet.trail_identifier,
        "halted": status.halted,
        "block": status.head_block,
        "time": int(time.time()),
        "last_submission_eon": last,
        "ways": [] if wallet is None else _ways(wallet, last),
        "parent_chain": {
            "function": PARENT_CHAIN_FUNDS,
            "arguments": {"token": to_checksum(token.address), "holder": to_checksum(address)},
            "calldata": render.hex0x(recover_parent_chain_funds_call(token.address, address)),
        },
        "instructions": INSTRUCTIONS,
    }


def _ways(wallet: Wallet, last: int) -> list[render.Object]:
    """What to call if the contract halts now, and if it halts after the next checkpoint."""
    found = proofs((wallet.pk, eon) for eon in (last - 1, last) if eon > 0)
    return [_way(found[key]) for key in sorted(found, key=lambda key: key[1])]


def _way(proof: Proof) -> render.Object:
    allotment, token = proof.allotment, proof.allotment.wallet.token
    commitment = TokenCommitment.objects.select_related("root_commitment").get(
        root_commitment__eon_number=allotment.eon_number, token=token
    )
    plain = AllotmentProof(
        eon=allotment.eon_number,
        trail=allotment.wallet.trail_identifier,
        left=allotment.left,
        right=allotment.right,
        active_state_checksum=active_state_checksum(settings.HUB_LQD_CONTRACT_ADDRESS, proof),
        passive_checksum=allotment.passive_checksum or ZERO_HASH,
        passive_amount=allotment.passive_amount,
        passive_marker=allotment.passive_marker,
        allotment_chain=proof.path.hashes,
        membership_chain=proof.membership,
        values=proof.path.values,
    )
    rendered = render.proof(proof)
    return {
        "last_submission_eon": allotment.eon_number + 1,
        "merkle_root": render.hex0x(commitment.root_commitment.merkle_root),
        "allotment": str(plain.right - plain.left),
        "merkle_proof": rendered,
        "function": ALL_FUNDS,
        "arguments": {
            "token": to_checksum(token.address),
            "holder": to_checksum(allotment.wallet.address),
            "checksums": [rendered["active_state_checksum"], rendered["passive_checksum"]],
            "trail": rendered["trail"],
            "allotment_chain": rendered["allotment_chain"],
            "membership_chain": rendered["membership_chain"],
            "values": rendered["values"],
            "interval": [rendered["left"], rendered["right"]],
            "dummy_passive_mark": ["0", rendered["passive_amount"], rendered["passive_marker"]],
        },
        "calldata": render.hex0x(recover_all_funds_call(token.address, allotment.wallet.address, plain)),
    }
