"""The ways to reach the operator: a web hook that understands Slack's messages, and e-mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from contractor.alarm_catalogue import kind_of
from contractor.models import Alarm

TEXTS = 10
"""Cases of one alarm that a message spells out: as many as a hub that stands still has of "queue lag"."""


class DeliveryError(RuntimeError):
    """A message was not taken. Says nothing of the address, which is a secret."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is told at once: alarms of one subject, raised or over."""

    subject: str
    over: bool
    alarms: Sequence[Alarm]

    @property
    def title(self) -> str:
        severity = kind_of(self.subject).severity
        count = f" ({len(self.alarms)} cases)" if len(self.alarms) > 1 else ""
        return (
            f"[{settings.SERVER_NAME}] {'RESOLVED' if self.over else severity.upper()}: {self.subject}{count}"
        )

    @property
    def lines(self) -> list[str]:
        kind = kind_of(self.subject)
        texts = [alarm.text for alarm in self.alarms[:TEXTS]]
        more = len(self.alarms) - len(texts)
        first = f"No longer so: {kind.sentence}" if self.over else kind.sentence
        return [first, *texts, *([f"and {more} more"] if more else []), f"Runbook: {runbook(self.subject)}"]


def runbook(subject: str) -> str:
    """Where the alarm's page is: a link if HUB_RUNBOOK_URL is set, else its path in the source."""
    base = settings.HUB_RUNBOOK_URL or "docs/operations/alarms"
    return f"{base.rstrip('/')}/{kind_of(subject).page}"


class Channel(Protocol):
    """Somewhere that messages go. `name` is what the database calls it."""

    name: str

    def send(self, message: Message) -> None:
        """Raises DeliveryError unless the message was taken."""


class Webhook:
    """POSTs `{"text": ...}`, as Slack and those like it take it."""

    name = "webhook"

    def __init__(self, url: str) -> None:
        self._url = url

    def send(self, message: Message) -> None:
        import requests

        body = {"text": _escape("\n".join([f"*{message.title}*", *message.lines]))}
        seconds = settings.HUB_ALARM_TIMEOUT_SECONDS
        try:
            answer = requests.post(
                self._url, json=body, timeout=(min(3.05, seconds), seconds), allow_redirects=False
            )
        except requests.RequestException as error:
            raise DeliveryError(type(error).__name__) from None
        if not answer.ok:
            raise DeliveryError(f"status {answer.status_code}")


class Mail:
    """Sends e-mail to each of the recipients by the server that EMAIL_HOST names."""

    name = "e-mail"

    def __init__(self, recipients: Sequence[str]) -> None:
        self._recipients = list(recipients)

    def send(self, message: Message) -> None:
        connection = get_connection(timeout=settings.HUB_ALARM_TIMEOUT_SECONDS)
        mail = EmailMessage(
            message.title, "\n\n".join(message.lines), to=self._recipients, connection=connection
        )
        try:
            mail.send()
        except OSError as error:  # smtplib's errors are among them
            raise DeliveryError(type(error).__name__) from None


def channels() -> list[Channel]:
    """Those that the environment names."""
    found: list[Channel] = []
    if settings.NOTIFICATION_HOOK_URL:
        found.append(Webhook(settings.NOTIFICATION_HOOK_URL))
    if settings.NOTIFICATION_EMAIL:
        found.append(Mail(settings.NOTIFICATION_EMAIL))
    return found


def _escape(text: str) -> str:
    """Slack takes three characters for markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
