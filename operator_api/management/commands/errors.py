"""Write the page of error codes, or check that it is up to date."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from operator_api.error_pages import page


class Command(BaseCommand):
    """`manage.py errors`"""

    help = "Write docs/errors.md from the catalogue of error codes and the API's documentation."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="fail if the page is not up to date")

    def handle(self, *args: Any, **options: Any) -> None:
        path = settings.BASE_DIR / "docs" / "errors.md"
        text = page()
        if not options["check"]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            raise CommandError("docs/errors.md is not up to date: run `manage.py errors`")
