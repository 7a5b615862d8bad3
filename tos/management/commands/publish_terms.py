"""Publish an edition of the terms of service."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from operator_api.admin_actions import note_command
from tos.services import InvalidTermsError, latest, publish


class Command(BaseCommand):
    """`manage.py publish_terms --privacy DIGEST --terms DIGEST`"""

    help = "Make two keccak-256 digests (64 hexadecimal digits each) the latest terms of service."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--privacy", required=True, help="digest of the privacy policy")
        parser.add_argument("--terms", required=True, help="digest of the terms of service")
        parser.add_argument("--reason", default="", help="kept with who did it and when")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with transaction.atomic():
                before = latest()
                config = publish(options["privacy"], options["terms"])
                if config != before:
                    note_command("publish terms", str(config), options["reason"])
        except InvalidTermsError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"published {config}")
