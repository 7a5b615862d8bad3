"""Vectors of Merkle trees and interval trees (``spec/crypto.md`` §8 to §11)."""

from nocust.balances import (
    PADDING_INNER_HASH,
    balance_inner_hash,
    balance_leaf,
    balance_padding_leaf,
    balance_tree,
    token_leaf,
    token_tree,
    verify_exclusive_balance_allotment,
)
from nocust.encoding import ZERO_HASH
from nocust.interval import IntervalProof, IntervalTree
from nocust.leaves import transfer_leaf
from nocust.merkle import MerkleTree, Peaks, verify_membership, zero_roots
from nocust.passive import (
    EMPTY_PASSIVE_ROOT,
    chain_words,
    passive_tree,
    verify_passive_delivery,
    wrapped_passive_leaf,
    wrapped_passive_padding,
    wrapped_passive_tree,
)
from nocust.vectors.messages import contract_of
from nocust.vectors.view import MismatchError, View


def padded_size(count: int) -> int:
    """Leaves of a tree after padding."""
    return 1 << max(count - 1, 0).bit_length()


def expect_interval_proof(hashes: View, values: View, proof: IntervalProof) -> None:
    """Compare a proof written as hex of all hashes and decimal values with commas."""
    hashes.expect(b"".join(proof.hashes))
    values.expect(",".join(map(str, proof.values)))


def _expect_proofs(entry: View, tree: IntervalTree) -> None:
    entry["proofs"].exact_length(max(tree.count, 1))
    for index, proof in entry["proofs"].items():
        expect_interval_proof(proof["chain"], proof["values"], tree.proof(index))


def check_zero_roots(file: View) -> None:
    """Roots of subtrees of padding."""
    section = file["zero_subtree_roots"]
    section.exact_length(len(zero_roots))
    for entry, root in zip(section, zero_roots, strict=True):
        entry.expect(root)


def check_merkle(file: View) -> None:
    """Transaction sets: plain and growing trees with their proofs."""
    for entry in file["tx_merkle_tree"]:
        leaves = [leaf.hash for leaf in entry["leaves"]]
        tree = MerkleTree(leaves)
        entry["root"].expect(tree.root)
        entry["padded_leaf_count"].expect(padded_size(len(leaves)))
        if isinstance(entry["proofs"].raw, list):
            entry["proofs"].exact_length(max(len(leaves), 1))
        for index, proof in entry["proofs"].items():
            chain = tree.proof(index)
            proof.expect(b"".join(chain))
            leaf = leaves[index] if leaves else ZERO_HASH
            if not verify_membership(index, chain, leaf, tree.root):
                raise MismatchError(proof.path, "a proof that verifies", "one that does not")
        _check_growth(entry, leaves)


def _check_growth(entry: View, leaves: list[bytes]) -> None:
    peaks = Peaks.EMPTY
    if "empty_caches" in entry:
        hashes, heights = entry["empty_caches"]
        _expect_peaks(hashes, heights, peaks)
    steps = list(entry["incremental_steps"]) if "incremental_steps" in entry else []
    if steps:
        entry["incremental_steps"].exact_length(len(leaves))
    for index, leaf in enumerate(leaves):
        proof, root = peaks.proof_of_next(leaf), peaks.root_with(leaf)
        peaks = peaks.append(leaf)
        if steps:
            steps[index]["index"].expect(peaks.size - 1)
            steps[index]["root"].expect(root)
            steps[index]["last_tx_proof"].expect(b"".join(proof))
            _expect_peaks(steps[index]["hash_stack"], steps[index]["height_stack"], peaks)
        if peaks.root() != root:
            raise MismatchError(entry.path, root.hex(), peaks.root().hex())
    entry["root"].expect(peaks.root())


def _expect_peaks(hashes: View, heights: View, peaks: Peaks) -> None:
    hashes.expect(",".join(peak.hex() for peak in peaks.hashes))
    heights.expect(",".join(map(str, peaks.heights)))


def _transfers(entry: View, recipient_trail: int) -> tuple[list[bytes], list[int]]:
    """Leaves and bounds of the incoming transfers of an entry, compared on the way."""
    leaves, bounds = [], [0]
    for transfer in entry["transfers"]:
        amount = transfer["amount"].integer
        left, right = bounds[-1], bounds[-1] + amount
        leaf = transfer_leaf(
            transfer["sender"].address, amount, recipient_trail, transfer["nonce"].integer, left
        )
        transfer["left"].expect(left)
        transfer["right"].expect(right)
        transfer["transfer_checksum"].expect(leaf)
        transfer["leaf_hash"].expect(wrapped_passive_leaf(left, leaf, right))
        leaves.append(leaf)
        bounds.append(right)
    return leaves, bounds


def check_wrapped_passive(file: View) -> None:
    """Passive trees whose leaves bind their bounds."""
    for entry in file["passive_delivery_tree"]:
        leaves, bounds = _transfers(entry, entry["recipient_trail_identifier"].integer)
        tree = wrapped_passive_tree(leaves, bounds)
        entry["upper_bound"].expect(tree.upper_bound)
        entry["root"].expect(tree.root)
        entry["padding_leaf_hash"].expect(wrapped_passive_padding(tree.upper_bound))
        entry["wallet_leaf_passive_checksum_when_empty"].expect(None if leaves else EMPTY_PASSIVE_ROOT)
        _expect_proofs(entry, tree)


def check_passive(file: View) -> None:
    """Passive trees that the contract can verify; the recipient is that of the wrapped trees."""
    recipient_trail = file["passive_delivery_tree"][0]["recipient_trail_identifier"].integer
    for entry in file["passive_delivery_tree_provable_on_chain"]["trees"]:
        leaves, bounds = _transfers(entry, recipient_trail)
        tree = passive_tree(leaves, bounds)
        entry["root"].expect(tree.root)
        entry["upper_bound"].expect(tree.upper_bound)
        _expect_proofs(entry, tree)
        for index, leaf in enumerate(leaves):
            words = chain_words(tree.proof(index))
            total = verify_passive_delivery(index, leaf, bounds[index], bounds[index + 1], words, tree.root)
            entry["upper_bound"].expect(total)


def balance_tree_of(entry: View, contract: bytes, operator: bytes) -> IntervalTree:
    """Balance tree of an entry, its leaves, proofs and root compared on the way."""
    token = entry["token"].address
    inner_hashes, bounds, wallet = [], [0], b""
    for leaf in entry["leaves"]:
        wallet = leaf["wallet"].address
        inner = balance_inner_hash(
            contract,
            token,
            wallet,
            leaf["passive_checksum"].hash,
            leaf["passive_amount"].integer,
            leaf["passive_marker"].integer,
            leaf["active_state_checksum"].hash,
        )
        leaf["inner_hash"].expect(inner)
        leaf["left"].expect(bounds[-1])
        bounds.append(leaf["right"].integer)
        leaf["leaf_hash"].expect(balance_leaf(bounds[-2], inner, bounds[-1]))
        inner_hashes.append(inner)
    tree = balance_tree(inner_hashes, bounds)
    entry["upper_bound"].expect(tree.upper_bound)
    entry["root"].expect(tree.root)
    entry["token_leaf"].expect(token_leaf(tree.root, tree.upper_bound))
    entry["padded_leaf_count"].expect(padded_size(tree.count))
    entry["has_unclaimed_leaf"].expect(tree.count > 1 and wallet == operator)
    _expect_proofs(entry, tree)
    return tree


def check_balance(file: View) -> None:
    """Balance trees; every proof must hold in a checkpoint of that one token."""
    for entry in file["balance_tree"]:
        tree = balance_tree_of(entry, contract_of(file), file["meta"]["operator"].address)
        root = token_leaf(tree.root, tree.upper_bound)
        for index, leaf in enumerate(tree.levels[0]):
            proof = tree.proof(index)
            left, right = tree.bounds[index], tree.bounds[index + 1]
            entry["upper_bound"].expect(
                verify_exclusive_balance_allotment(
                    index, 0, leaf, root, proof.hashes, [], proof.values, left, right
                )
            )


def check_balance_padding(file: View) -> None:
    """Leaves that fill a balance tree."""
    section = file["balance_padding_leaf"]
    section["inner_hash"].expect(PADDING_INNER_HASH)
    for entry in section["examples"]:
        entry["leaf_hash"].expect(balance_padding_leaf(entry["upper_bound"].integer))


def check_token(file: View) -> None:
    """Token trees with membership proofs and, where given, the balance trees below them."""
    for entry in file["token_tree"]:
        tokens = list(entry["tokens"])
        if not entry["balance_trees"].null:
            entry["balance_trees"].exact_length(len(tokens))
            for token, below in zip(tokens, entry["balance_trees"], strict=True):
                tree = balance_tree_of(below, contract_of(file), file["meta"]["operator"].address)
                token["token"].expect(below["token"].address)
                token["balance_root"].expect(tree.root)
                token["upper_bound"].expect(tree.upper_bound)
        leaves = [token_leaf(token["balance_root"].hash, token["upper_bound"].integer) for token in tokens]
        tree_of_tokens = token_tree(leaves)
        for trail, token in enumerate(tokens):
            token["trail"].expect(trail)
            token["leaf"].expect(leaves[trail])
        entry["root"].expect(tree_of_tokens.root)
        entry["padded_leaf_count"].expect(padded_size(len(leaves)))
        entry["membership_proofs"].exact_length(len(leaves))
        for index, proof in entry["membership_proofs"].items():
            proof.expect(b"".join(tree_of_tokens.proof(index)))
