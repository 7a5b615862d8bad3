"""Checkpoints in files: the allotments and trees of eons that no rule of the contract looks at any more.

A checkpoint has a row for every wallet, whether it did anything or not; transfers and signed states, of which there
are as many as were made, stay in the database. A file is a zip archive of PostgreSQL's text format, with one entry
for each table. It is written, read again and flushed to disk before its rows are deleted, in one transaction that
keeps the file's SHA-256: at any moment the rows or the file are there, and only that file can be brought back.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max

from ledger.allotments import ALLOTMENT_COLUMNS
from ledger.models import RootCommitment
from ledger.sql import execute
from nocust.swaps import MAX_ORDER_EONS

LEAST_KEPT: Final = MAX_ORDER_EONS
"""Newest checkpoints that always stay: the contract asks for those of five eons, and orders last so long."""

HEAD: Final = "checkpoint"
"""The entry that says which checkpoint a file is of."""

_LEVEL: Final = 1
"""Of compression: most bytes are hashes, of which a higher one makes no less."""
_PIECE: Final = 2**20


class ArchiveError(Exception):
    """It cannot be archived or restored, for the reason given; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Archived:
    """A checkpoint in a file, the rows that it holds, and its bytes."""

    eon: int
    path: Path
    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of a checkpoint in one table."""

    table: str
    columns: str
    rows: str

    def count(self, eon: int) -> int:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {self.table} WHERE {self.rows}", [eon])  # noqa: S608  (constants)
            return int(cursor.fetchone()[0])

    def write(self, eon: int, file: Any) -> None:
        query = f"SELECT {self.columns} FROM {self.table} WHERE {self.rows}" % eon  # noqa: S608
        with connection.cursor() as cursor:
            cursor.cursor.copy_expert(f"COPY ({query}) TO STDOUT", file)

    def read(self, file: Any) -> int:
        with connection.cursor() as cursor:
            cursor.cursor.copy_expert(f"COPY {self.table} ({self.columns}) FROM STDIN", file)
            return int(cursor.cursor.rowcount)

    def delete(self, eon: int) -> int:
        return execute(f"DELETE FROM {self.table} WHERE {self.rows}", [eon])  # noqa: S608  (constants)


_PARTS: Final = (
    _Part("ledger_exclusivebalanceallotment", ALLOTMENT_COLUMNS, "eon_number = %s"),
    _Part(
        "ledger_treechunk",
        "commitment_id, level, chunk, hashes",
        "commitment_id IN (SELECT c.id FROM ledger_tokencommitment c"
        " JOIN ledger_rootcommitment r ON r.id = c.root_commitment_id WHERE r.eon_number = %s)",
    ),
)


def old_eons(newest: int, kept: int) -> list[int]:
    """The eons whose checkpoints are in the database and are not among the `kept` newest ones, up to that of eon
    `newest`. Raises ArchiveError if those are too few to live with."""
    if kept < LEAST_KEPT:
        raise ArchiveError(f"at least {LEAST_KEPT} checkpoints are kept")
    # A restored database may have less than the contract, and makes its next checkpoint of its last one.
    made = RootCommitment.objects.aggregate(last=Max("eon_number"))["last"] or 0
    old = RootCommitment.objects.filter(archive_digest=None, eon_number__lte=min(newest, made) - kept)
    return list(old.order_by("eon_number").values_list("eon_number", flat=True))


def is_archived(eon: int) -> bool:
    """Whether the checkpoint of an eon is in a file."""
    return RootCommitment.objects.filter(eon_number=eon, archive_digest__isnull=False).exists()


def archived_at(directory: Path, eon: int) -> Path:
    """The file of an eon's checkpoint."""
    return directory / f"checkpoint-{eon:09}.zip"


@transaction.atomic
def archive(eon: int, directory: Path) -> Archived:
    """Move an eon's checkpoint into a file of the directory. A file that a killed process left is written anew.

    Raises ArchiveError if it is there already, is not whole, or if the directory has the file of another hub's
    checkpoint; OSError if the file cannot be written.
    """
    row = _locked(eon)
    if row.archive_digest is not None:
        raise ArchiveError(f"the checkpoint of eon {eon} is archived already")
    path = archived_at(directory, eon)
    if path.exists() and _head(path) != _head_of(row):
        raise ArchiveError(f"{path} is not of this hub's checkpoint of eon {eon}: choose another directory")
    counts = [part.count(eon) for part in _PARTS]
    wallets = sum(row.tokens.values_list("wallet_count", flat=True))
    if counts[0] != wallets:
        raise ArchiveError(f"the checkpoint of eon {eon} has {counts[0]} allotments of {wallets} wallets")
    written = path.with_suffix(".part")
    written.touch(0o600)
    try:
        with ZipFile(written, "w", ZIP_DEFLATED, compresslevel=_LEVEL) as file:
            file.writestr(HEAD, _head_of(row))
            for part in _PARTS:
                with file.open(part.table, "w", force_zip64=True) as entry:
                    part.write(eon, entry)
        row.archive_digest = _checked(written, counts)
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
    _flush(directory)
    if [part.delete(eon) for part in _PARTS] != counts:
        raise ArchiveError(f"the checkpoint of eon {eon} was changed meanwhile")
    row.save(update_fields=["archive_digest"])
    return Archived(eon, path, sum(counts), path.stat().st_size)


@transaction.atomic
def restore(eon: int, directory: Path) -> Archived:
    """Bring an eon's checkpoint back from its file, which stays.

    Raises ArchiveError if the checkpoint is not archived, or the file is not the one that was written; OSError if
    it cannot be read.
    """
    row = _locked(eon)
    if row.archive_digest is None:
        raise ArchiveError(f"the checkpoint of eon {eon} is not archived")
    path = archived_at(directory, eon)
    if _digest(path) != row.archive_digest:
        raise ArchiveError(f"{path} is not the file that was written of eon {eon}: its SHA-256 is another")
    rows = 0
    with ZipFile(path) as file:
        for part in _PARTS:
            with file.open(part.table) as entry:
                rows += part.read(entry)
    row.archive_digest = None
    row.save(update_fields=["archive_digest"])
    return Archived(eon, path, rows, path.stat().st_size)


def _locked(eon: int) -> RootCommitment:
    """The checkpoint, which nobody else archives or restores during this transaction. What is done with it may take
    longer than other statements may."""
    execute("SET LOCAL statement_timeout = 0")
    execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    row = RootCommitment.objects.select_for_update().filter(eon_number=eon).first()
    if row is None:
        raise ArchiveError(f"there is no checkpoint of eon {eon}")
    return row


def _head_of(row: RootCommitment) -> bytes:
    contract = settings.HUB_LQD_CONTRACT_ADDRESS.hex()
    return f"contract 0x{contract}\neon {row.eon_number}\nroot 0x{row.merkle_root.hex()}\n".encode()


def _head(path: Path) -> bytes:
    """Which checkpoint a file is of; nothing if it does not say."""
    try:
        with ZipFile(path) as file:
            return file.read(HEAD)
    except (BadZipFile, KeyError):
        return b""


def _checked(path: Path, counts: list[int]) -> bytes:
    """The SHA-256 of a file with so many rows of each part, which is on disk now."""
    with path.open("rb") as flushed:
        os.fsync(flushed.fileno())
    with ZipFile(path) as file:
        for part, count in zip(_PARTS, counts, strict=True):
            with file.open(part.table) as entry:
                found = sum(piece.count(b"\n") for piece in iter(lambda: entry.read(_PIECE), b""))
            if found != count:
                raise ArchiveError(f"{path} has {found} rows of {part.table}, not {count}")
    return _digest(path)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _flush(directory: Path) -> None:
    """Have the names in a directory on disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
