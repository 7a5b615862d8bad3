"""How far the hub has read the chain."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from ledger.fields import HashField


class ChainStatus(models.Model):
    """The one row that says where the chain stands. An eon is `blocks_per_eon` blocks from `genesis_block` on,
    counted from 1 (`spec/ledger.md` §3)."""

    genesis_block = models.BigIntegerField()
    blocks_per_eon = models.BigIntegerField()
    confirmations = models.IntegerField()
    head_block = models.BigIntegerField(help_text="Newest block seen.")
    head_hash = HashField()
    confirmed_block = models.BigIntegerField(help_text="Newest block whose events are applied.")
    halted = models.BooleanField(default=False, help_text="The contract refuses to go on.")
    forked = models.BooleanField(
        default=False, help_text="The chain forked below an applied block; `manage.py resolve_fork` goes on."
    )
    maintenance = models.BooleanField(
        default=False, db_default=False, help_text="The operator takes nothing new for now."
    )
    node_block = models.BigIntegerField(
        null=True, help_text="Newest block of the node, which may not be read yet."
    )
    progressed = models.DateTimeField(default=timezone.now, help_text="When the newest block was seen.")
    updated = models.DateTimeField(help_text="When the node last answered.")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="chain_status_single_row"),
            models.CheckConstraint(
                condition=models.Q(blocks_per_eon__gt=0), name="chain_status_blocks_per_eon"
            ),
        ]

    def eon_of(self, block: int) -> int:
        """The eon that a block belongs to."""
        return (block - self.genesis_block) // self.blocks_per_eon + 1

    def first_block_of(self, eon: int) -> int:
        """The number of an eon's first block."""
        return self.genesis_block + (eon - 1) * self.blocks_per_eon

    @property
    def eon(self) -> int:
        """The latest eon: that of the head."""
        return self.eon_of(self.head_block)

    @property
    def confirmed_eon(self) -> int:
        """The eon of the newest applied block."""
        return self.eon_of(self.confirmed_block)

    @property
    def blocks_behind(self) -> int:
        """Blocks that the node has and the hub has not read."""
        return 0 if self.node_block is None else max(self.node_block - self.head_block, 0)


class Reorganisation(models.Model):
    """Blocks that the hub had seen and the chain then replaced. `deep`: below the confirmations, with effects that
    had been applied (`manage.py resolve_fork`)."""

    time = models.DateTimeField(default=timezone.now)
    first_block = models.BigIntegerField(help_text="The lowest block that was replaced.")
    blocks = models.IntegerField(help_text="How many known blocks were replaced.")
    abandoned_hash = HashField(help_text="The newest block before.")
    head_hash = HashField(help_text="The newest block after.")
    deep = models.BooleanField(default=False)

    class Meta:
        ordering = ["id"]
