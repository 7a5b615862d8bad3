"""Publish an edition of the terms of service."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tos.services import InvalidTermsError, publish


class Command(BaseCommand):
    """`manage.py publish_terms --privacy DIGEST --terms DIGEST`"""

    help = "Make two keccak-256 digests (64 hexadecimal digits each) the latest terms of service."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--privacy", required=True, help="digest of the privacy policy")
        parser.add_argument("--terms", required=True, help="digest of the terms of service")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            config = publish(options["privacy"], options["terms"])
        except InvalidTermsError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"published {config}")
