"""Generations of one event table: bounded Delta tables, one after the other, of which the old ones can go."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from raymlops.errors import StorageError
from raymlops.scratch import write_whole
from raymlops.tables.delta import KEEP_LOG, NUMBERING, DeltaTables
from raymlops.tables.digests import DIGEST

__all__ = [
    "Generation",
    "Seal",
    "compact",
    "ingest_ids",
    "list_generations",
    "next_number",
    "read_seal",
    "remove",
    "seal",
    "settle",
    "sweep",
]

_SEAL = "_sealed.json"
_NEXT = "_next_number"
_REMOVED = ".removed-"
_FILE_BYTES = 32 << 20
_FEWEST_SMALL_FILES = 16
_KEEP_FILES = timedelta(hours=1)
"""Files that a compaction replaced stay for readers that have begun."""
_SERVED = "served_at"
_LEAD = timedelta(days=7)
_LAST = datetime(9999, 1, 1, tzinfo=UTC)
_ROUNDED = timedelta(milliseconds=1)
"""The log keeps extremes of instants to the millisecond."""


@dataclass(frozen=True, order=True)
class Generation:
    """One Delta table of an event table.

    Attributes:
        number: Place in the order of all generations; those from before there were numbers come first.
        shape: Digest of the columns and types.
        name: Name of the Delta table.
    """

    number: int
    shape: str
    name: str


@dataclass(frozen=True)
class Seal:
    """The seal of a generation that takes no more rows: its facts.

    Attributes:
        following: ``_seq`` that would have come next.
        bounds: Column of instants -> instants that all its values lie between, ends included.
        settled: Whether nothing is left to do about its files.
    """

    following: int
    bounds: Mapping[str, tuple[datetime, datetime]]
    settled: bool = False

    def outside(self, start: datetime | None, end: datetime | None, column: str) -> bool:
        """Whether no row at all has ``start <= column < end``."""
        if column not in self.bounds:
            return False
        low, high = self.bounds[column]
        return (start is not None and high < start) or (end is not None and low >= end)

    @property
    def newest(self) -> datetime | None:
        """No instant of any row that counts is later; ``None`` where that is not known.

        An event is about an instant near to that at which it was served: one that says the year 9999 keeps nothing.
        """
        served = self.bounds.get(_SERVED)
        latest = None if served is None else served[1] + _LEAD
        highs = [high if latest is None else min(high, latest) for _, high in self.bounds.values()]
        return max(highs, default=None)

    def dumps(self) -> bytes:
        """Bytes to store."""
        bounds = {name: [low.isoformat(), high.isoformat()] for name, (low, high) in self.bounds.items()}
        return orjson.dumps({"following": self.following, "bounds": bounds, "settled": self.settled})


def list_generations(root: Path, name: str) -> list[Generation]:
    """The generations of an event table, oldest first."""
    found = []
    for log in (root / name).glob("*/_delta_log"):
        directory = log.parent.name
        if directory.startswith(_REMOVED):
            continue
        number, _, shape = directory.rpartition("-")
        found.append(Generation(int(number) if number else -1, shape, f"{name}/{directory}"))
    return sorted(found)


def ingest_ids(root: Path, generation: Generation) -> dict[str, int | None]:
    """The ids that were appended to a generation, from its log, which is never cut: id -> digest, where it was kept.

    Raises:
        StorageError: The log cannot be read.
    """
    found: dict[str, int | None] = {}
    digests: dict[str, int] = {}
    try:
        for path in (root / generation.name / "_delta_log").glob("*.json"):
            actions = (orjson.loads(line) for line in path.read_bytes().splitlines() if b'"txn"' in line)
            for action in actions:
                if "txn" in action:
                    name = action["txn"]["appId"]
                    if name.startswith(DIGEST):
                        digests[name.removeprefix(DIGEST)] = int(action["txn"]["version"])
                    elif name != NUMBERING:
                        found[name] = None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"the log of {root / generation.name} cannot be read: {error!r}", path=str(root)) from error
    return found | digests


def next_number(root: Path, name: str) -> int:
    """The number of the next generation, above all that ever were.

    Raises:
        StorageError: It cannot be read.
    """
    path = root / name / _NEXT
    try:
        removed = int(path.read_bytes())
    except FileNotFoundError:
        removed = 0
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read: {error}", path=str(path)) from error
    return max([removed, *(part.number + 1 for part in list_generations(root, name))])


def read_seal(root: Path, generation: Generation) -> Seal | None:
    """The seal of a generation; ``None`` while it may still grow.

    Raises:
        StorageError: The seal is there and cannot be read.
    """
    path = root / generation.name / _SEAL
    try:
        values = orjson.loads(path.read_bytes())
        bounds = {
            name: (datetime.fromisoformat(low), datetime.fromisoformat(high))
            for name, (low, high) in values["bounds"].items()
        }
        return Seal(int(values["following"]), bounds, bool(values["settled"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} cannot be read: {error}", path=str(path)) from error


def seal(tables: DeltaTables, root: Path, generation: Generation) -> Seal:
    """Let a generation take no more rows; no append may run meanwhile.

    Raises:
        StorageError: It cannot be read, or the seal cannot be written.
    """
    with tables.opened(generation.name) as handle:
        files = pa.table(handle.get_add_actions(flatten=True))
    made = Seal(tables.last_sequence(generation.name) + 1, _bounds(files))
    _write(root / generation.name / _SEAL, made.dumps())
    return made


def _bounds(files: Any) -> dict[str, tuple[datetime, datetime]]:
    bounds = {}
    for column in files.column_names:
        name = column.removeprefix("max.")
        if name == column or not pa.types.is_timestamp(files[column].type):
            continue
        known = pc.and_(files[column].is_valid(), files[f"min.{name}"].is_valid())
        empty = pc.equal(pc.fill_null(files[f"null_count.{name}"], 0), files["num_records"])
        if files.num_rows and pc.any(known).as_py() and pc.all(pc.or_(known, empty)).as_py():
            high = min(pc.max(files[column]).as_py(), _LAST) + _ROUNDED
            bounds[name] = (pc.min(files[f"min.{name}"]).as_py(), high)
    return bounds


def compact(tables: DeltaTables, generation: Generation) -> None:
    """Pack small files into larger ones where there are many, and remove files that were packed an hour ago.

    Rows, their order by ``_seq`` and what appends and readers do meanwhile are untouched. Killed at any instant, it
    leaves the table as it was or packed.

    Raises:
        StorageError: It cannot be read or written.
    """
    with tables.opened(generation.name) as handle:
        if _small_files(handle) < _FEWEST_SMALL_FILES:
            return
        try:
            handle.optimize.compact(target_size=_FILE_BYTES, post_commithook_properties=KEEP_LOG)
        except CommitFailedError:
            return  # an append was faster; the next turn packs more
        _vacuum(handle, full=False)


def settle(tables: DeltaTables, root: Path, generation: Generation, sealed: Seal) -> Seal:
    """Bring a generation that takes no more rows into the form that it keeps.

    Its files are packed, its log is folded, and files without a reference are removed once no reader can need them:
    it is settled then, and need not be looked at again.

    Raises:
        StorageError: It cannot be read or written.
    """
    if sealed.settled:
        return sealed
    path = root / generation.name / _SEAL
    with tables.opened(generation.name) as handle:
        if _small_files(handle) > 1:
            handle.optimize.compact(target_size=_FILE_BYTES, post_commithook_properties=KEEP_LOG)
            handle.create_checkpoint()
            os.utime(path)
        if time.time() - path.stat().st_mtime < 2 * _KEEP_FILES.total_seconds():
            return sealed
        _vacuum(handle, full=True)
        handle.create_checkpoint()
    made = replace(sealed, settled=True)
    _write(path, made.dumps())
    return made


def _small_files(handle: DeltaTable) -> int:
    sizes = pa.table(handle.get_add_actions(flatten=True))["size_bytes"].to_pylist()
    return sum(size < _FILE_BYTES // 2 for size in sizes)


def _vacuum(handle: DeltaTable, *, full: bool) -> None:
    handle.vacuum(
        retention_hours=int(_KEEP_FILES / timedelta(hours=1)),
        dry_run=False,
        enforce_retention_duration=False,
        full=full,
        post_commithook_properties=KEEP_LOG,
    )


def remove(root: Path, generation: Generation) -> None:
    """Remove a generation: from listings at once, then its files. Its number is never given again.

    Raises:
        StorageError: It cannot be removed.
    """
    path = root / generation.name
    following = max(next_number(root, str(Path(generation.name).parent)), generation.number + 1)
    _write(path.parent / _NEXT, str(following).encode())
    try:
        path.rename(path.with_name(f"{_REMOVED}{path.name}"))
    except OSError as error:
        raise StorageError(f"{path} cannot be removed: {error}", path=str(path)) from error
    sweep(root, str(Path(generation.name).parent))


def sweep(root: Path, name: str) -> None:
    """Remove what removals that were cut off have left.

    Raises:
        StorageError: Something cannot be removed.
    """
    for path in (root / name).glob(f"{_REMOVED}*"):
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise StorageError(f"{path} cannot be removed: {error}", path=str(path)) from error


def _write(path: Path, content: bytes) -> None:
    """The file appears whole or not at all."""
    try:
        write_whole(path, content, durable=True)
    except OSError as error:
        raise StorageError(f"{path} could not be written: {error}", path=str(path)) from error
