"""Checkpoints: the root of an eon, the trees of its tokens and the wallets' intervals in them."""

from __future__ import annotations

from django.db import models
from django.db.models import F

from ledger.fields import AmountField, HashField, HashListField, non_negative
from ledger.models.accounts import ActiveState
from ledger.models.wallets import Token, Wallet

CHUNK_HASHES = 2048
"""Hashes of a tree level kept in one row: 64 KiB, read in slices."""


class RootCommitment(models.Model):
    """The checkpoint of an eon, which covers what happened in the eon before it."""

    eon_number = models.BigIntegerField(unique=True)
    merkle_root = HashField()
    block = models.BigIntegerField(help_text="Head block when it was made.")
    time = models.DateTimeField()
    archive_digest = HashField(
        null=True,
        help_text="SHA-256 of the file with its allotments and trees, if they are not here any more.",
    )

    class Meta:
        ordering = ["eon_number"]


class TokenCommitment(models.Model):
    """One token's balance tree in a checkpoint (`spec/crypto.md` §10, §11).

    `wallet_count` leaves belong to wallets; when `leaf_count` is one more, the last holds funds nobody claimed,
    up to `upper_bound`. Wallets that were below zero are allotted nothing; the `shortfall` is what they owed, by
    which the bounds exceed what the contract holds. `membership_hashes` is the token's path in the tree of tokens.
    """

    root_commitment = models.ForeignKey(RootCommitment, on_delete=models.CASCADE, related_name="tokens")
    token = models.ForeignKey(Token, on_delete=models.PROTECT, db_index=False)
    merkle_root = HashField()
    upper_bound = AmountField()
    wallet_upper_bound = AmountField(help_text="Right edge of the last wallet's interval.")
    wallet_count = models.BigIntegerField()
    leaf_count = models.BigIntegerField()
    shortfall = AmountField(default=0, help_text="What was written off of wallets that were below zero.")
    membership_hashes = HashListField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["root_commitment", "token"], name="token_commitment_root_token"),
            models.CheckConstraint(
                condition=models.Q(upper_bound__gte=F("wallet_upper_bound"), wallet_upper_bound__gte=0),
                name="token_commitment_bounds",
            ),
        ]


class TreeChunk(models.Model):
    """Consecutive node hashes of one level (0 = leaves) of a token's balance tree, from which proofs are
    derived; padding nodes are not stored."""

    commitment = models.ForeignKey(TokenCommitment, on_delete=models.CASCADE, db_index=False)
    level = models.SmallIntegerField()
    chunk = models.IntegerField(help_text=f"Holds nodes from chunk * {CHUNK_HASHES}.")
    hashes = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["commitment", "level", "chunk"], name="tree_chunk_place"),
        ]


class ExclusiveBalanceAllotment(models.Model):
    """A wallet's interval [left, right) in the checkpoint of an eon: what it owns as that eon starts, with the
    values of the eon before that its leaf commits to. The proof is derived from the tree's chunks.

    Every wallet has one in every eon, so triggers that look at many rows at a time stand in for foreign keys, which
    would lock the row of each wallet: rows are written for wallets and states that exist, and neither of those is
    deleted afterwards.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, db_index=False, db_constraint=False)
    eon_number = models.BigIntegerField()
    left = AmountField()
    right = AmountField()
    passive_checksum = HashField(null=True, help_text="Null when nothing was received: 32 zero bytes.")
    passive_amount = AmountField()
    passive_marker = AmountField()
    active_state = models.ForeignKey(
        ActiveState, null=True, on_delete=models.PROTECT, db_index=False, db_constraint=False
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["eon_number", "wallet"], name="allotment_eon_wallet"),
            models.CheckConstraint(
                condition=models.Q(left__gte=0, right__gte=F("left")), name="allotment_interval"
            ),
            non_negative("passive_amount", "passive_marker", table="allotment"),
        ]
