"""Archived checkpoints: the rows or the file are there at any moment, and come back as they were."""

from __future__ import annotations

import errno
import hashlib
import stat
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from django.db import transaction
from psycopg2 import IntegrityError

from ledger import archive as archives
from ledger.archive import LEAST_KEPT, ArchiveError, archive, archived_at, old_eons, restore
from ledger.models import ExclusiveBalanceAllotment, RootCommitment, TreeChunk
from ledger.tests.checks import check_checkpoint, check_ledger
from ledger.tests.killing import survives
from ledger.tests.racing import race
from ledger.tests.test_store import funded
from operator_api.simulation.play import Play

pytestmark = pytest.mark.django_db
ON_DISK = pytest.mark.django_db(transaction=True)
Rows = list[Any]


@pytest.fixture
def play() -> Play:
    """Five eons of two tokens, with transfers and wallets of each age."""
    play = Play()
    token = play.add_token(b"\x01" * 20, "Token", "TOK")
    for _ in range(4):
        alice, bob = funded(play, 2)
        play.pay(alice, bob, 30)
        play.pay(bob, alice, 5)
        for player in play.register(2, token):
            play.deposit(player, 10**20)
        play.next_eon()
    return play


def rows(eon: int) -> Rows:
    """All that a checkpoint has a row for, but for the rows' ids."""
    allotments = ExclusiveBalanceAllotment.objects.filter(eon_number=eon).order_by("wallet_id")
    chunks = TreeChunk.objects.filter(commitment__root_commitment__eon_number=eon)
    found: Rows = [*allotments.values(), *chunks.order_by("commitment_id", "level", "chunk").values()]
    for row in found:
        del row["id"]
        row.update({name: bytes(value) for name, value in row.items() if isinstance(value, memoryview)})
    return found


def digest(eon: int) -> Any:
    """That of the eon's file; None if its rows are here, or if there is no such checkpoint."""
    return RootCommitment.objects.filter(eon_number=eon).values_list("archive_digest", flat=True).first()


def test_a_checkpoint_comes_back_as_it_was(play: Play, tmp_path: Path) -> None:
    before, others = rows(4), [rows(eon) for eon in (1, 2, 3, 5)]
    found = archive(4, tmp_path)
    assert found.path == archived_at(tmp_path, 4)
    assert found.rows == len(before) > 0
    assert found.size == found.path.stat().st_size
    assert stat.S_IMODE(found.path.stat().st_mode) == 0o600  # it says what everybody has
    assert rows(4) == []
    assert [rows(eon) for eon in (1, 2, 3, 5)] == others
    assert digest(4) == hashlib.sha256(found.path.read_bytes()).digest()
    assert list(tmp_path.iterdir()) == [found.path]
    assert restore(4, tmp_path) == found
    assert rows(4) == before
    assert digest(4) is None
    assert check_checkpoint(4) == 14
    assert archive(4, tmp_path).rows == len(before)  # over the file that is there


def test_the_ledger_goes_on_with_the_newest_checkpoint_alone(play: Play, tmp_path: Path) -> None:
    for eon in range(1, 5):
        archive(eon, tmp_path)
    alice, bob = funded(play, 2)
    play.pay(alice, bob, 7)
    play.next_eon()
    assert check_checkpoint(6) == 20
    check_ledger()
    for eon in range(1, 5):
        restore(eon, tmp_path)
    for eon in range(1, 7):
        check_checkpoint(eon)


def test_the_newest_checkpoints_stay() -> None:
    play = Play()
    funded(play, 1)
    for _ in range(LEAST_KEPT + 2):
        play.next_eon()
    assert old_eons(LEAST_KEPT + 3, LEAST_KEPT) == [1, 2, 3]
    assert old_eons(LEAST_KEPT + 1, LEAST_KEPT) == [1]
    assert old_eons(0, LEAST_KEPT) == []
    assert old_eons(100, LEAST_KEPT) == [1, 2, 3]  # the contract has more than this database
    RootCommitment.objects.filter(eon_number=2).update(archive_digest=bytes(32))
    assert old_eons(LEAST_KEPT + 3, LEAST_KEPT) == [1, 3]
    with pytest.raises(ArchiveError, match=f"at least {LEAST_KEPT}"):
        old_eons(100, LEAST_KEPT - 1)


def refused(reason: str, eon: int, directory: Path, what: Any = archive) -> None:
    """It is refused, and nothing is changed."""
    before, files = rows(eon), {path: path.read_bytes() for path in directory.glob("*")}
    known = digest(eon)
    with pytest.raises(ArchiveError, match=reason):
        what(eon, directory)
    assert rows(eon) == before
    assert {path: path.read_bytes() for path in directory.glob("*")} == files
    assert digest(eon) == known


def test_what_is_not_there_cannot_be_moved(play: Play, tmp_path: Path) -> None:
    refused("no checkpoint of eon 9", 9, tmp_path)
    refused("no checkpoint of eon 9", 9, tmp_path, restore)
    refused("not archived", 3, tmp_path, restore)
    archive(3, tmp_path)
    refused("archived already", 3, tmp_path)
    ExclusiveBalanceAllotment.objects.filter(eon_number=4).first().delete()  # type: ignore[union-attr]
    refused("13 allotments of 14 wallets", 4, tmp_path)


def test_another_file_is_neither_restored_nor_overwritten(play: Play, tmp_path: Path) -> None:
    path = archive(3, tmp_path).path
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
    refused("SHA-256", 3, tmp_path, restore)
    path.write_bytes(b"")
    refused("SHA-256", 3, tmp_path, restore)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        restore(3, tmp_path)
    for content in (b"", b"something", whole):
        archived_at(tmp_path, 4).write_bytes(content)
        refused("choose another directory", 4, tmp_path)
    path.write_bytes(whole)
    restore(3, tmp_path)
    check_checkpoint(3)


def test_a_file_that_cannot_be_written_changes_nothing(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(4)
    with pytest.raises(FileNotFoundError):
        archive(4, tmp_path / "nowhere")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("write", "delete"):
        with monkeypatch.context() as patch:
            patch.setattr(archives._Part, name, full)
            with pytest.raises(OSError, match="No space"):
                archive(4, tmp_path)
        assert rows(4) == before
        assert not list(tmp_path.glob("*.part"))
    with monkeypatch.context() as patch:  # fewer rows in the file than were counted
        patch.setattr(archives._Part, "write", lambda *_: None)
        refused("0 rows of ledger_exclusivebalanceallotment, not 14", 4, tmp_path)
    archive(4, tmp_path)


@ON_DISK
def test_killed_at_each_step(play: Play, tmp_path: Path) -> None:
    """The rows or the file are there, and what is left can be archived and restored."""
    before = rows(4)
    points = ("os.fsync", "pathlib.Path.replace", "zipfile.ZipFile.open")
    for what in (archive, restore):
        step = 1
        done = what is restore
        while not survives(lambda what=what: what(4, tmp_path), step, *points):  # type: ignore[misc]
            found = rows(4)
            assert (found, digest(4) is None) in ((before, True), ([], False)), f"half of it at step {step}"
            if not found:
                with ZipFile(archived_at(tmp_path, 4)) as file:
                    assert file.testzip() is None
            if (found == []) is not done:  # it was killed after its end: once more
                (restore if what is archive else archive)(4, tmp_path)
            step += 1
        assert step > 8
        assert rows(4) == ([] if what is archive else before)
    check_checkpoint(4)


@ON_DISK
def test_one_of_two_at_once_archives(play: Play, tmp_path: Path) -> None:
    outcomes = race([lambda: archive(4, tmp_path), lambda: archive(4, tmp_path)])
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ArchiveError", "Archived"]
    assert digest(4) == hashlib.sha256(archived_at(tmp_path, 4).read_bytes()).digest()


def test_a_file_without_its_wallets_is_refused(play: Play, tmp_path: Path) -> None:
    """As every allotment is: triggers see to it."""
    path = archive(4, tmp_path).path
    with ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    with ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content.replace(b"\t4\t", b"9\t4\t") if "allotment" in name else content)
    known = hashlib.sha256(path.read_bytes()).digest()
    RootCommitment.objects.filter(eon_number=4).update(archive_digest=known)
    with pytest.raises(IntegrityError), transaction.atomic():
        restore(4, tmp_path)
    assert rows(4) == []
