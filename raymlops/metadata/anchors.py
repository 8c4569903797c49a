"""Hashes of the ledger kept outside of its database.

The chain finds what was altered, removed or moved in it. It cannot find a tail that was cut off or rewritten *together*
with the head, nor a whole database put back from a backup. A hash that was written down elsewhere can: whoever wants
to deceive has to alter that place too. Entries that are newer than the last hash written down are not covered by it.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from raymlops.errors import LedgerBroken, StorageError
from raymlops.records.ledger import Ledger
from raymlops.records.record import Record

__all__ = ["Anchor", "verify_against"]


class Anchor(Record):
    """The head of the ledger as one check found it: number of entries and hash."""

    sequence: int
    """Entries it had."""
    hash: str
    """Hash of the last of them, which covers all."""


def verify_against(ledger: Ledger, path: Path) -> int:
    """Check a ledger against itself and against all stored anchors, then store its present head as an anchor.

    Args:
        ledger: The ledger.
        path: File of the anchors, one a line, only ever appended to; made where it is not there. Best on another disk.

    Returns:
        The number of entries.

    Raises:
        LedgerBroken: As ``Ledger.verify_ledger`` does; or an entry that an anchor names is gone or another.
        StorageError: The file cannot be read or written.
    """
    count = ledger.verify_ledger()
    hashes = {entry.sequence: entry.hash for entry in ledger.entries()}
    known = _read(path)
    for anchor in known:
        if hashes.get(anchor.sequence) != anchor.hash:
            lost = anchor.sequence > count
            what = f"is missing: there are {count} entries" if lost else "is another than it was when it was checked"
            raise LedgerBroken(f"ledger entry {anchor.sequence} {what}, by {path}", sequence=anchor.sequence)
    if count and all(anchor.sequence != count for anchor in known):
        _append(path, Anchor(sequence=count, hash=hashes[count]))
    return count


def _read(path: Path) -> list[Anchor]:
    try:
        return [Anchor.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        raise StorageError(f"ledger anchors {path}: {error}", path=str(path)) from error


def _append(path: Path, anchor: Anchor) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{anchor.model_dump_json()}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"ledger anchors {path}: {error}", path=str(path)) from error
