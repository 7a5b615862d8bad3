"""Requests to register, as wallets sign them."""

from __future__ import annotations

from admission.services import Admission
from ledger.models import Token
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet
from tos import services as tos


def application(play: Play, player: SimulatedWallet, token: Token, eon: int) -> Admission:
    """The request of a wallet of the token, signed for the eon and the latest terms."""
    body = player.registration(eon, tos.digest(play.config))
    return Admission(
        token.pk,
        token.address,
        player.address,
        bytes.fromhex(body["authorization"]["value"]),
        bytes.fromhex(body["tos_signature"]["value"]),
    )
