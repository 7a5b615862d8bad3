"""What the hub knows of the chain, and the transactions it sends there."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from contractor.headers import Header
from ledger.fields import AddressField, AmountField, HashField, non_negative


class ContractParameters(models.Model):
    """The one row with what never changes of the contract this database belongs to. Lengths in blocks."""

    chain_id = models.BigIntegerField()
    contract = AddressField()
    operator = AddressField()
    genesis_block = models.BigIntegerField()
    genesis_hash = HashField(
        null=True,
        help_text="Hash of the genesis block: tells chains with equal numbers apart. Null until it is deep enough.",
    )
    blocks_per_eon = models.BigIntegerField()
    blocks_per_epoch = models.BigIntegerField(help_text="Time to answer a challenge.")
    extended_blocks_per_epoch = models.BigIntegerField(help_text="From here on in an eon withdrawals mature.")
    eons_kept = models.IntegerField()
    deposits_kept = models.IntegerField()
    challenge_cost = AmountField(help_text="Least gas price that challenges are reimbursed at, in wei.")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="contract_parameters_single_row"),
        ]

    def eon_of(self, block: int) -> int:
        """The eon that a block belongs to (`spec/contract.md` §1)."""
        return (block - self.genesis_block) // self.blocks_per_eon + 1

    def era_of(self, block: int) -> int:
        """Blocks from the start of a block's eon."""
        return (block - self.genesis_block) % self.blocks_per_eon

    def matured_eon(self, block: int) -> int:
        """Newest eon whose withdrawal requests may be paid at a block: requests of eon q from era
        `extended_blocks_per_epoch` of eon q + 2 on (`spec/contract.md` §1)."""
        early = self.era_of(block) < self.extended_blocks_per_epoch
        return self.eon_of(block) - 2 - early

    def last_answer_block(self, block: int) -> int:
        """The last block in which the contract takes the answer to a challenge opened at `block`: fewer than
        `blocks_per_epoch` blocks later, which never reaches beyond the first epoch of the next eon
        (`spec/contract.md` §1)."""
        return block + self.blocks_per_epoch - 1


class ContractState(models.Model):
    """A block the hub has seen. Unconfirmed ones are replaced when the chain reorganises; old ones are deleted.

    The contract's state is read at heads only, so it is null for blocks that were passed while catching up.
    """

    block = models.BigIntegerField(unique=True)
    block_hash = HashField()
    parent_hash = HashField()
    timestamp = models.BigIntegerField(help_text="UNIX seconds.")
    logs_possible = models.BooleanField(help_text="The block's bloom allows logs of the contract.")
    confirmed = models.BooleanField(default=False, help_text="Its events are applied.")
    last_checkpoint_submission_eon = models.BigIntegerField(null=True)
    last_checkpoint = HashField(null=True)
    is_checkpoint_submitted_for_current_eon = models.BooleanField(null=True)
    has_missed_checkpoint_submission = models.BooleanField(null=True)
    live_challenge_count = models.BigIntegerField(null=True)

    class Meta:
        ordering = ["block"]

    @property
    def header(self) -> Header:
        return Header(self.block, self.block_hash, self.parent_hash, self.timestamp, self.logs_possible)

    @classmethod
    def last_submission_eon(cls) -> int:
        """The eon of the contract's newest checkpoint at the newest head that was read; 0 if it is not known."""
        known = cls.objects.filter(last_checkpoint_submission_eon__isnull=False).order_by("-block")
        return known.values_list("last_checkpoint_submission_eon", flat=True).first() or 0


class Accumulator(models.Model):
    """The hub's own running hash over what the contract hashes: one of the five that eons take turns in, as of a
    block (`spec/contract.md` §2)."""

    slot = models.SmallIntegerField(help_text="The eon modulo 5.")
    block = models.BigIntegerField(help_text="The last block with an event that changed it.")
    value = HashField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["slot", "block"], name="accumulator_of_block")]


class EthereumTransaction(models.Model):
    """Something the operator wants done on chain. The call is built when it is sent, so that it rests on the
    chain's state of that moment.

    `queued` rows have no nonce. `sent` rows have a nonce and at least one signed attempt. The others are final:
    `confirmed` is confirmations deep, `failed` was refused for good, `superseded` is not needed any more,
    `cancelled` was replaced by a payment of nothing at the operator's wish. They keep their nonce until it is given
    again, as after a fork that took their block away.
    """

    class State(models.TextChoices):
        QUEUED = "queued"
        SENT = "sent"
        CONFIRMED = "confirmed"
        FAILED = "failed"
        SUPERSEDED = "superseded"
        CANCELLED = "cancelled"

    class Wish(models.TextChoices):
        """What the operator asked the sender to do with a transaction next."""

        NONE = ""
        BUMP = "bump"
        CANCEL = "cancel"

    tag = models.CharField(
        max_length=512, unique=True, help_text="What it does: the same tag is queued once."
    )
    kind = models.CharField(max_length=64)
    arguments = models.JSONField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.QUEUED)
    created = models.DateTimeField(default=timezone.now)
    nonce = models.BigIntegerField(null=True, unique=True)
    missing_since = models.BigIntegerField(
        null=True,
        help_text="Head block when its nonce was first found used by a transaction that is not ours.",
    )
    refusals = models.IntegerField(default=0, help_text="Times in a row that building or estimating failed.")
    refused_by_node = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Whether it was the node that refused last, which says nothing about the contract.",
    )
    retry_at = models.DateTimeField(default=timezone.now)
    wish = models.CharField(max_length=8, choices=Wish.choices, default=Wish.NONE, blank=True)
    note = models.TextField(default="", help_text="Last problem, or why it ended.")

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(
                fields=["state"],
                name="ethereum_transaction_open",
                condition=models.Q(state__in=["queued", "sent"]),
            )
        ]

    def __str__(self) -> str:
        return f"{self.tag} ({self.state})"


class EthereumTransactionAttempt(models.Model):
    """A signed transaction, stored before it is sent, so that a restart sends the same one again."""

    transaction = models.ForeignKey(EthereumTransaction, on_delete=models.CASCADE, related_name="attempts")
    nonce = models.BigIntegerField(db_index=True)
    data = models.BinaryField(help_text="The call.")
    gas = models.BigIntegerField()
    gas_price = AmountField(
        help_text="Most wei a unit of gas may cost (EIP-1559's maximum, or the legacy price)."
    )
    priority_fee = AmountField(
        null=True, help_text="Wei a unit for the miner; null for a legacy transaction."
    )
    cancels = models.BooleanField(default=False, help_text="A payment of nothing that takes the nonce.")
    signed_attempt = models.BinaryField()
    hash = HashField(unique=True)
    block = models.BigIntegerField(help_text="Head block when it was signed.")
    mined = models.BigIntegerField(null=True, help_text="Block that holds it, as last seen.")
    succeeded = models.BooleanField(null=True, help_text="Whether the contract accepted it, once mined.")

    class Meta:
        ordering = ["id"]
        constraints = [non_negative("nonce", "gas", "gas_price", table="ethereum_transaction_attempt")]


class Alarm(models.Model):
    """Something that the operator must look at, from when it was first raised until it is `cleared`. While it
    stands there is one row for each subject and key, whichever processes raise it, and however often
    (`contractor.alarms`).
    """

    subject = models.CharField(
        max_length=80, help_text="One of the catalogue's (contractor.alarm_catalogue)."
    )
    key = models.CharField(max_length=500, blank=True, help_text="What it is about.")
    severity = models.CharField(max_length=16)
    text = models.TextField(help_text="The newest sentence with numbers.")
    first = models.DateTimeField()
    last = models.DateTimeField()
    count = models.BigIntegerField(help_text="Times it was told, by each process at most twice a minute.")
    cleared = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["subject", "key"],
                condition=models.Q(cleared__isnull=True),
                name="alarm_standing",
            ),
        ]
        indexes = [models.Index(fields=["cleared"], name="alarm_cleared")]

    def __str__(self) -> str:
        return f"{self.severity}: {self.subject} {self.key}"


class Resync(models.Model):
    """Blocks that the operator wants read again, and what was found so far (`contractor/resync.py`)."""

    time = models.DateTimeField(default=timezone.now)
    first = models.BigIntegerField(help_text="The first block.")
    last = models.BigIntegerField(help_text="The last block: the newest that was applied then.")
    next = models.BigIntegerField(help_text="The block that is next.")
    read = models.IntegerField(default=0, help_text="Events read.")
    missing = models.IntegerField(default=0, help_text="Events that were not booked.")
    taken_in = models.IntegerField(default=0, help_text="Those of them that are booked now.")
    invented = models.IntegerField(default=0, help_text="Events booked that are in no block.")
    ended = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return (
            f"blocks {self.first} to {self.last} read again{'' if self.ended else f' up to {self.next - 1}'}:"
            f" {self.read} events, {self.missing} missing, {self.taken_in} taken in, {self.invented} invented"
        )
