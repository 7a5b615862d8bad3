"""`python -m nocust vectors FILE`: recompute a file of vectors and report what was and was not compared."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, TextIO

from nocust.errors import NocustError
from nocust.vectors import matching, messages, runs, trees
from nocust.vectors.view import Json, Log, MismatchError, View, kind_of, leaves, section_of

MATCH: Final = 0
MISMATCH: Final = 1
UNREADABLE: Final = 2

SECTIONS: Final[dict[str, Callable[[View], None]]] = {
    "meta": messages.check_meta,
    "encoders": messages.check_encoders,
    "signing": messages.check_signing,
    "signing_invalid": messages.check_signing_invalid,
    "admission": messages.check_admission,
    "active_state": messages.check_active_state,
    "minimum_available_balance_marker": messages.check_balance_marker,
    "transfer": messages.check_transfer,
    "swap": messages.check_swap,
    "tos": messages.check_tos,
    "withdrawal_authorization": messages.check_withdrawal_authorization,
    "conduit": messages.check_conduit,
    "tx_merkle_tree": trees.check_merkle,
    "zero_subtree_roots": trees.check_zero_roots,
    "passive_delivery_tree": trees.check_wrapped_passive,
    "balance_tree": trees.check_balance,
    "balance_padding_leaf": trees.check_balance_padding,
    "token_tree": trees.check_token,
    "passive_delivery_tree_provable_on_chain": trees.check_passive,
    "parent_chain_accumulator": messages.check_accumulator,
    "swap_order_signature_sets": runs.check_swap_sets,
    "e2e_checkpoints": runs.check_checkpoints,
    "matching": matching.check_matching,
}
"""What recomputes each section."""

RECORDS: Final = {
    "experiments": "records of runs, not vectors",
    "known_differences": "records of runs, not vectors",
    "passive_delivery_tree_note": "text",
}
"""Sections that hold nothing to recompute."""


DEEPEST = 50
"""Nesting of a file of vectors, at most."""


def check_file(path: Path, out: TextIO) -> int:
    """Recompute the vectors of `path`, write a report to `out`, return the exit code.

    0 if all values agree, 1 at the first that does not, 2 if the file cannot be used.
    """
    try:
        data = path.read_bytes()
        raw: Json = json.loads(_shallow(data))
    except OSError as error:
        out.write(f"The file {path} cannot be read: {error.strerror}.\n")
        return UNREADABLE
    except (ValueError, RecursionError):
        out.write(f"The file {path} is not a JSON document.\n")
        return UNREADABLE
    missing = sorted(SECTIONS.keys() - raw.keys()) if isinstance(raw, dict) else []
    if not isinstance(raw, dict) or missing:
        reason = f"it lacks {', '.join(missing)}" if missing else "it is not a JSON object"
        out.write(f"The file {path} is not a file of vectors: {reason}.\n")
        return UNREADABLE
    return check_vectors(raw, out)


def _shallow(data: bytes) -> bytes:
    """The document itself. Raises ValueError where brackets nest deeper than in any file of vectors, since the
    parser would exhaust the stack on them."""
    depth = 0
    for token in re.finditer(rb'"(?:[^"\\]|\\.)*"|[][{}]', data):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token.group(), 0)
        if depth > DEEPEST:
            raise ValueError(f"brackets nest deeper than {DEEPEST}")
    return data


def check_vectors(raw: dict[str, Json], out: TextIO) -> int:
    """As :func:`check_file` for a parsed file that has all sections."""
    log = Log()
    failure = _compare(View(raw, "", log), log, out)
    if failure is not None:
        out.write(f"MISMATCH in {failure}\n")
        return MISMATCH
    _report_skipped(raw, log, out)
    return MATCH


def _compare(file: View, log: Log, out: TextIO) -> str | None:
    """Recompute all sections; description of the first mismatch, or None."""
    for name, check in SECTIONS.items():
        log.current = name
        try:
            check(file)
        except MismatchError as error:
            return str(error)
        except NocustError as error:
            return f"{log.current}\n  expected: a value to compute with\n  got:      {error}"
        compared = sum(section_of(path) == name for path in log.compared)
        if not compared:
            return f"{name}\n  expected: values to compare\n  got:      none"
        out.write(f"{name}: {compared} compared\n")
    return None


def _report_skipped(raw: dict[str, Json], log: Log, out: TextIO) -> None:
    skipped: Counter[str] = Counter()
    for name, value in raw.items():
        if name in SECTIONS:
            continue
        skipped[name] = count = len(list(leaves(value, name)))
        reason = RECORDS.get(name, "section not known")
        out.write(f"{name}: skipped {count}: {reason}\n")
    for path in leaves(raw, ""):
        if section_of(path) in SECTIONS and path not in log.touched:
            skipped[kind_of(path)] += 1
    for name, count in skipped.items():
        if name not in raw:
            out.write(f"{name}: skipped {count}: nothing depends on the field\n")
    out.write(f"All {len(log.compared)} values compared agree; {skipped.total()} skipped.\n")
