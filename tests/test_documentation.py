"""What the documents say is so."""

from __future__ import annotations

import re
from pathlib import Path

from contractor.alarm_catalogue import CATALOGUE, End

ROOT = Path(__file__).resolve().parent.parent


def test_links_between_documents_lead_somewhere() -> None:
    documents = [
        path for path in ROOT.rglob("*.md") if ".hub" not in path.parts and "node_modules" not in path.parts
    ]
    assert len(documents) > 5
    for document in documents:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_commands_of_the_runbooks_need_nothing_that_is_not_installed_with_the_hub() -> None:
    """`./manage.py` finds no Python on Debian, and elsewhere one without Django and without the settings of `.env`;
    `./run.sh manage` finds no production hub."""
    bare = re.compile(r"\./manage\.py|(?<![\w/])python3? -[mc]")
    operations = ROOT / "docs" / "operations"
    for page in operations.rglob("*.md"):
        wanted = [found for found in bare.findall(page.read_text()) if page.name != "halted.md"]
        assert not wanted, f"{page.name}: {wanted}"
    assert "./run.sh manage " not in (operations / "admin.md").read_text()


def test_every_alarm_has_a_drill() -> None:
    drill = re.compile(r'pytest\.mark\.alarm\("([a-z ]+)"\)')
    tests = [path for path in ROOT.rglob("test_*.py") if ".hub" not in path.relative_to(ROOT).parts]
    assert {subject for path in tests for subject in drill.findall(path.read_text())} == set(CATALOGUE)


def test_every_alarm_has_a_page() -> None:
    raised = re.compile(r'raise_alarm\(\s*"([a-z ]+)"')
    sources = [
        path for path in ROOT.rglob("*.py") if not {".hub", "tests"} & set(path.relative_to(ROOT).parts)
    ]
    subjects = {subject for path in sources for subject in raised.findall(path.read_text())}
    pages = ROOT / "docs" / "operations" / "alarms"
    assert len(subjects) > 20
    assert subjects <= set(CATALOGUE), "raised, but not in the catalogue"
    silent = {name for name in CATALOGUE if CATALOGUE[name].end is not End.CHECKED} - subjects
    assert not silent, "in the catalogue, but raised by nobody"
    assert sorted(CATALOGUE) == sorted(page.stem.replace("-", " ") for page in pages.glob("*.md"))
    index = (pages.parent / "README.md").read_text()
    assert all(f"(alarms/{page.name})" in index for page in pages.glob("*.md"))
