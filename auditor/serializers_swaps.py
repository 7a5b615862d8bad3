"""The shapes of what `auditor.render_swaps` and `auditor.market` make, for the generated documentation."""

from __future__ import annotations

from rest_framework import serializers

from auditor.serializers import (
    ActiveStateSerializer,
    AmountText,
    Fields,
    MatchedAmountsSerializer,
    WalletRefSerializer,
)


class SwapReceiptSerializer(Fields):
    """What is told of an order when it is placed, goes on in a new eon, or is matched."""

    id = serializers.IntegerField(help_text="the order's row of the eon")
    wallet = WalletRefSerializer()
    amount = AmountText()
    time = serializers.IntegerField(help_text="UNIX seconds")
    eon_number = serializers.IntegerField()
    complete = serializers.BooleanField()
    sender_active_state = ActiveStateSerializer()
    recipient = WalletRefSerializer()
    recipient_active_state = ActiveStateSerializer()
    recipient_fulfillment_active_state = ActiveStateSerializer(
        help_text="countersigned when the order is filled in its first eon"
    )
    nonce = AmountText(help_text="256-bit integer")
    amount_swapped = AmountText()
    tx_id = serializers.UUIDField(help_text="the same in all its eons")
    matched_amounts = MatchedAmountsSerializer()
    sell_order = serializers.BooleanField()

    class Meta:
        ref_name = "SwapReceipt"


class EndedOrderSerializer(Fields):
    """An order that was frozen, cancelled or finalised."""

    id = serializers.IntegerField(help_text="the order's row of the eon")
    tx_id = serializers.UUIDField()

    class Meta:
        ref_name = "EndedOrder"


class SwapFreezeSerializer(EndedOrderSerializer):
    """A frozen order."""

    matched_amounts = MatchedAmountsSerializer()

    class Meta:
        ref_name = "SwapFreeze"


class SwapCancellationSerializer(EndedOrderSerializer):
    """A cancelled order."""

    sender_cancellation_active_state = ActiveStateSerializer()
    recipient_cancellation_active_state = ActiveStateSerializer()

    class Meta:
        ref_name = "SwapCancellation"


class SwapFinalizationSerializer(EndedOrderSerializer):
    """A finalised order."""

    recipient_finalization_active_state = ActiveStateSerializer()

    class Meta:
        ref_name = "SwapFinalization"


class LevelSerializer(Fields):
    """Open orders at one price. The amounts are those of the first of them and stand for the price only."""

    amount = AmountText(help_text="given, in the token that the orders sell")
    amount_swapped = AmountText(help_text="wanted for it")
    remaining_out = AmountText(help_text="what all of them still give")
    remaining_in = AmountText(help_text="what they want for that")

    class Meta:
        ref_name = "Level"


class OrderBookSerializer(Fields):
    """What is on offer between two tokens; both lists begin with the highest price in right per left."""

    sell_orders = LevelSerializer(many=True, help_text="give the left token for the right one")
    buy_orders = LevelSerializer(many=True, help_text="give the right token for the left one")

    class Meta:
        ref_name = "OrderBook"


class MatchSerializer(Fields):
    """A trade."""

    volume = AmountText(help_text="of the left token")
    price = serializers.CharField(help_text="right per left, cut after four decimals")
    time = serializers.IntegerField(help_text="UNIX seconds")

    class Meta:
        ref_name = "Match"
