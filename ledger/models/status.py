"""How far the hub has read the chain."""

from __future__ import annotations

from django.db import models

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
    updated = models.DateTimeField()

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
