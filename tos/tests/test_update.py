"""The daily update, from a real server over TLS."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from django.test import override_settings

from tos import services
from tos.models import TOSConfig

pytestmark = pytest.mark.django_db

CERTIFICATE = Path(__file__).parent / "data" / "localhost.pem"
"""For 127.0.0.1 and for nothing but these tests, with its key beside it."""
TERMS, PRIVACY = b"You may.", b"We see nothing."


class Site:
    """An https server with pages by path."""

    def __init__(self) -> None:
        pages = self.pages = dict[str, bytes]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = pages.get(self.path)
                self.send_response(404 if page is None else 200)
                self.end_headers()
                self.wfile.write(page or b"")

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE, CERTIFICATE.with_suffix(".key"))
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def name(self, **values: object) -> None:
        """Let the update find these keys."""
        self.pages["/terms.json"] = json.dumps(values).encode()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site()
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with override_settings(TOS_URL=f"{made.url}/terms.json"):
        yield made
    made.server.shutdown()
    made.server.server_close()


def digest(text: bytes) -> str:
    return sha256(text).hexdigest()


def test_a_new_edition_is_published_once(site: Site) -> None:
    site.pages |= {"/terms": TERMS, "/privacy": PRIVACY}
    site.name(
        tosHash=digest(TERMS).upper(),
        privacyHash=digest(PRIVACY),
        tosUrl=f"{site.url}/terms",
        privacyUrl=f"{site.url}/privacy",
    )
    assert services.update_from_url() == 1
    assert services.update_from_url() == 0
    newest = services.latest()
    assert newest is not None
    assert newest.terms_of_service_digest.lower() == digest(TERMS)


def test_digests_alone_are_enough(site: Site) -> None:
    site.name(tosHash="aa" * 32, privacyHash="bb" * 32)
    assert services.update_from_url() == 1


@pytest.mark.parametrize("name", ["tosUrl", "privacyUrl"])
def test_a_document_with_another_digest_is_not_published(site: Site, name: str) -> None:
    site.pages["/changed"] = b"You may not."
    site.name(tosHash=digest(TERMS), privacyHash=digest(PRIVACY), **{name: f"{site.url}/changed"})
    with pytest.raises(services.InvalidTermsError, match="SHA-256"):
        services.update_from_url()
    assert TOSConfig.objects.count() == 0


@pytest.mark.parametrize(
    "page", [b"", b"[]", b"{", b"null", b"{}", b'{"tosHash": 1, "privacyHash": "zz"}', b"[" * 70_000]
)
def test_what_is_no_edition_is_refused(site: Site, page: bytes) -> None:
    site.pages["/terms.json"] = page
    with pytest.raises(services.InvalidTermsError):
        services.update_from_url()
    assert TOSConfig.objects.count() == 0


def test_documents_come_over_https_only(site: Site) -> None:
    site.name(tosHash=digest(TERMS), privacyHash=digest(PRIVACY), tosUrl="file:///etc/hostname")
    with pytest.raises(services.InvalidTermsError, match="https"):
        services.update_from_url()


def test_a_site_that_is_away_changes_nothing(site: Site) -> None:
    with pytest.raises(OSError, match="404"):
        services.update_from_url()
    assert TOSConfig.objects.count() == 0


def test_without_a_url_nothing_happens() -> None:
    assert services.update_from_url() == 0
