"""What orders are matched in, and with whom."""

from __future__ import annotations

from django.db import models

from ledger.fields import AddressField, AmountField, non_negative
from ledger.models.transfers import Transfer
from ledger.models.wallets import Token
from nocust.messages import conduit


class TokenPair(models.Model):
    """A direction in which orders are accepted: of `token_from` for `token_to`. Both directions of a market are
    rows.

    The `conduit` is the pseudo token that the contract books swap challenges under (`spec/crypto.md` §7.5). While
    the pair is `paused` no order of it is accepted or matched; orders can still be cancelled. `passes` counts the
    committed passes of the matching over the market: who knows an older number has an outdated book.
    """

    token_from = models.ForeignKey(Token, on_delete=models.PROTECT, related_name="+", db_index=False)
    token_to = models.ForeignKey(Token, on_delete=models.PROTECT, related_name="+", db_index=False)
    conduit = AddressField(unique=True)
    paused = models.BooleanField(default=False)
    passes = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["token_from", "token_to"], name="token_pair_tokens"),
            models.CheckConstraint(
                condition=~models.Q(token_from=models.F("token_to")), name="token_pair_two_tokens"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.token_from} to {self.token_to}"

    @classmethod
    def between(cls, token_from: Token, token_to: Token) -> TokenPair:
        """The pair of two tokens, not saved."""
        return cls(
            token_from=token_from,
            token_to=token_to,
            conduit=conduit(token_from.address, token_to.address),
        )


class Matching(models.Model):
    """A fill: what an arriving order (taker) and a resting one (maker) gave each other in an eon."""

    taker = models.ForeignKey(Transfer, on_delete=models.PROTECT, related_name="+", db_index=False)
    maker = models.ForeignKey(Transfer, on_delete=models.PROTECT, related_name="+", db_index=False)
    taker_token = models.ForeignKey(Token, on_delete=models.PROTECT, related_name="+", db_index=False)
    maker_token = models.ForeignKey(Token, on_delete=models.PROTECT, related_name="+", db_index=False)
    taker_gave = AmountField()
    maker_gave = AmountField()
    eon_number = models.BigIntegerField()
    time = models.DateTimeField()

    class Meta:
        ordering = ["id"]
        constraints = [non_negative("taker_gave", "maker_gave", table="matching")]
        indexes = [models.Index(fields=["taker_token", "maker_token", "time"], name="matching_pair_time")]
