"""The shapes of the figures, for swagger."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class EonCountSerializer(serializers.Serializer[Any]):
    eon_number = serializers.IntegerField()
    count = serializers.IntegerField()

    class Meta:
        ref_name = "EonCount"


class DayCountSerializer(serializers.Serializer[Any]):
    day = serializers.CharField(help_text="midnight UTC, as in 2026-11-21T00:00:00Z")
    count = serializers.IntegerField()

    class Meta:
        ref_name = "DayCount"


class WalletFiguresSerializer(serializers.Serializer[Any]):
    total = serializers.IntegerField()
    eon_number = EonCountSerializer(many=True)

    class Meta:
        ref_name = "WalletFigures"


class FiguresSerializer(WalletFiguresSerializer):
    time = DayCountSerializer(many=True)

    class Meta:
        ref_name = "Figures"


class ChallengeFiguresSerializer(FiguresSerializer):
    rebuted = serializers.IntegerField(help_text="answered by the operator")

    class Meta:
        ref_name = "ChallengeFigures"
