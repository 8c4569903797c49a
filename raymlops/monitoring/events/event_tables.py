"""Prediction events and labels in Delta tables, as the monitor sees them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import ConflictError, NotFoundError, StorageError
from raymlops.monitoring.events.event_generations import (
    Generation,
    Seal,
    compact,
    ingest_ids,
    list_generations,
    next_number,
    read_seal,
    remove,
    seal,
    settle,
    sweep,
)
from raymlops.monitoring.events.recorded import join_recorded
from raymlops.monitoring.events.shared_appends import Batch, SharedAppends
from raymlops.records.names import check_path
from raymlops.tables.columns import SEQUENCE
from raymlops.tables.delta import DeltaTables
from raymlops.tables.delta_log import read_batches
from raymlops.tables.digests import check_repeat, rows_digest

__all__ = ["DeltaEventTables"]

_INSTANTS = ("event_time", "served_at")
"""The columns that queries filter by."""
_BATCH_ROWS = 50_000
_COMMITS = 4096
"""A generation takes so many appends: its log, and what it remembers of ingest ids, stay small."""
_SPANS = 8
"""A generation spans this part of the retention at most, so that rows are kept little longer than that."""


class DeltaEventTables:
    """One table per name, as generations of Delta tables: each bounded, each of one schema.

    Appends of one schema that wait for each other share a commit.

    A model whose inputs change writes to a generation beside the old one. A generation that is full is sealed with
    the first and last instants of its columns, so that a query opens only those generations that can hold its rows,
    and the time of a query does not grow with all that was ever appended. An ingest id is remembered for the
    ``2 * _COMMITS`` appends before at least.

    Thread-safe. One process appends and maintains; any process reads, whatever is maintained meanwhile.

    Args:
        root: Directory of the tables.
        commits: Appends per generation.
    """

    def __init__(self, root: Path, *, commits: int = _COMMITS) -> None:
        self._root = root
        self._commits = commits
        self._tables = DeltaTables(root, skip_by=_INSTANTS)
        self._appending = threading.Lock()
        self._line = SharedAppends(self._write)
        self._current: dict[tuple[str, str], Generation] = {}
        self._known: dict[Generation, list[dict[str, int | None]]] = {}
        """Current generation -> ingest ids of the two before it and its own, each with the digest of its rows."""
        self._seals: dict[Generation, Seal] = {}

    def append(self, name: str, table: pa.Table, *, ingest_id: str, told_by: Sequence[str] | None = None) -> object:
        check_path("name of a table", name)
        digest = rows_digest(table, told_by)
        # a log from before it kept extremes of instants alone keeps those of the first columns
        instants = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
        table = table.select([*instants, *(column for column in table.column_names if column not in instants)])
        described = ",".join(f"{field.name}:{field.type}" for field in table.schema)
        shape = hashlib.sha256(described.encode()).hexdigest()[:12]
        self._line.append((name, shape), table, ingest_id, digest)
        return None

    def _write(self, key: tuple[str, str], batches: Mapping[str, Batch[tuple[str, str]]]) -> dict[str, ConflictError]:
        """Append what several callers brought in one commit, but for what is known already; returns what is refused."""
        with self._appending:
            current = self._open_generation(*key)
            refused: dict[str, ConflictError] = {}
            fresh = []
            for each, batch in batches.items():
                known = next((ids for ids in self._known[current] if each in ids), None)
                if known is None:
                    fresh.append(each)
                    continue
                try:
                    check_repeat(key[0], each, known[each], batch.digest)
                except ConflictError as error:
                    refused[each] = error
            if not fresh:
                return refused
            rows = pa.concat_tables([batches[each].table for each in fresh], promote_options="default")
            digests = {each: batches[each].digest for each in fresh}
            try:
                self._tables.append(current.name, rows, ingest_id=fresh[0], others=fresh[1:], digests=digests)
            except BaseException:
                self._forget(key)  # the rows may be there or not: the log tells
                raise
            self._known[current][-1].update(digests)
            return refused

    def batches(self, name: str, start: datetime | None, end: datetime | None, column: str) -> Iterator[pa.Table]:
        """The rows for which ``start <= column < end``, some thousands at a time and in no order."""
        for part in self._overlapping(name, start, end, column):
            columns = [field for field in self._tables.schema(part.name).names if field != SEQUENCE]
            held: list[pa.RecordBatch] = []
            for batch in read_batches(self._tables, part.name, None, columns):
                held.append(_between(batch, start, end, column))
                if sum(each.num_rows for each in held) >= _BATCH_ROWS:
                    yield pa.Table.from_batches(held)
                    held = []
            if sum(each.num_rows for each in held):
                yield pa.Table.from_batches(held)

    def read(
        self,
        name: str,
        start: datetime | None,
        end: datetime | None,
        column: str,
        *,
        columns: Sequence[str] | None = None,
        after: Mapping[str, int] | None = None,
        until: Mapping[str, int] | None = None,
    ) -> pa.Table:
        found = []
        for part in self._overlapping(name, start, end, column):
            first, following = _from(part, after), _to(part, until)
            if following is not None and following <= first:
                continue
            rows = self._read_part(part, start, end, column, columns, first, following)
            if rows is not None:
                found.append(rows)
        return join_recorded(found) if found else pa.table({})

    def marks(self, name: str) -> dict[str, int]:
        known = [(part, self._seal_of(part)) for part in list_generations(self._root, name)]
        floor = min((part.number for part, sealed in known if sealed is None), default=None)
        if floor is None:
            floor = max((part.number for part, _ in known), default=0)
        return {
            Path(part.name).name: self._tables.last_sequence(part.name) + 1 if sealed is None else sealed.following
            for part, sealed in known
            if part.number >= floor
        }

    def maintain(self, name: str, keep_from: datetime | None, span: timedelta) -> None:
        sweep(self._root, name)
        for part in list_generations(self._root, name):
            sealed = self._seal_of(part)
            if sealed is None:
                sealed = self._seal_if_done(name, part, span / _SPANS, keep_from)
            if sealed is None:
                compact(self._tables, part)
            elif keep_from is not None and sealed.newest is not None and sealed.newest < keep_from:
                self._seals.pop(part, None)
                remove(self._root, part)
            else:
                self._seals[part] = settle(self._tables, self._root, part, sealed)

    def _open_generation(self, name: str, shape: str) -> Generation:
        """The generation to append to; a full one is sealed and followed by the next."""
        current = self._current.get((name, shape))
        if current is not None and len(self._known[current][-1]) < self._commits:
            return current
        alike = [part for part in list_generations(self._root, name) if part.shape == shape]
        newest = alike.pop() if alike else None
        if newest is not None and self._seal_of(newest) is None:
            if newest.number >= 0 and len(ingest_ids(self._root, newest)) < self._commits:
                return self._enter(name, newest, alike)
            self._seals[newest] = seal(self._tables, self._root, newest)
        number = next_number(self._root, name)
        before = alike if newest is None else [*alike, newest]
        return self._enter(name, Generation(number, shape, f"{name}/{number:08d}-{shape}"), before)

    def _enter(self, name: str, current: Generation, before: Sequence[Generation]) -> Generation:
        self._forget((name, current.shape))
        self._current[name, current.shape] = current
        self._known[current] = [ingest_ids(self._root, part) for part in (*before[-2:], current)]
        return current

    def _forget(self, key: tuple[str, str]) -> None:
        """Have the current generation looked up again."""
        current = self._current.pop(key, None)
        if current is not None:
            self._known.pop(current)

    def _seal_if_done(self, name: str, part: Generation, span: timedelta, keep_from: datetime | None) -> Seal | None:
        """Seal a generation that spans enough time, or whose rows are all to go."""
        with self._appending:
            with self._tables.opened(part.name) as handle:
                bounds = _extremes(pa.table(handle.get_add_actions(flatten=True)))
            if bounds is None or (bounds[1] - bounds[0] < span and not (keep_from and bounds[1] < keep_from)):
                return None
            self._forget((name, part.shape))
            return self._seals.setdefault(part, seal(self._tables, self._root, part))

    def _seal_of(self, part: Generation) -> Seal | None:
        if part not in self._seals:
            found = read_seal(self._root, part)
            if found is None:
                return None
            self._seals[part] = found
        return self._seals[part]

    def _overlapping(
        self, name: str, start: datetime | None, end: datetime | None, column: str
    ) -> Iterator[Generation]:
        for part in list_generations(self._root, name):
            sealed = self._seal_of(part)
            if sealed is None or not sealed.outside(start, end, column):
                yield part

    def _read_part(
        self,
        part: Generation,
        start: datetime | None,
        end: datetime | None,
        column: str,
        columns: Sequence[str] | None,
        first: int,
        to: int | None,
    ) -> pa.Table | None:
        """The rows of one generation; ``None`` where it was removed meanwhile."""
        try:
            return self._tables.read(
                part.name,
                columns=columns,
                start=start,
                end=end,
                time_column=column,
                after_sequence=first - 1 if first else None,
                until_sequence=None if to is None else to - 1,
            )
        except (NotFoundError, StorageError):
            if (self._root / part.name).exists():
                raise
            return None


def _from(part: Generation, after: Mapping[str, int] | None) -> int:
    """First ``_seq`` that was not there at a mark; a generation older than all it names was there as a whole."""
    if after is None:
        return 0
    return after.get(Path(part.name).name, 1 << 62 if part.number < _floor(after) else 0)


def _to(part: Generation, until: Mapping[str, int] | None) -> int | None:
    """The ``_seq`` after the last one that was there at a mark; ``None``: all of them."""
    if until is None:
        return None
    known = until.get(Path(part.name).name)
    return known if known is not None else None if part.number < _floor(until) else 0


def _floor(marks: Mapping[str, int]) -> int:
    numbers = [name.rpartition("-")[0] for name in marks]
    return min((int(number) if number else -1 for number in numbers), default=-1)


def _extremes(files: pa.Table) -> tuple[datetime, datetime] | None:
    lows = [pc.min(files[name]).as_py() for name in files.column_names if name.startswith("min.")]
    highs = [pc.max(files[name]).as_py() for name in files.column_names if name.startswith("max.")]
    low = min((value for value in lows if isinstance(value, datetime)), default=None)
    high = max((value for value in highs if isinstance(value, datetime)), default=None)
    return None if low is None or high is None else (low, high)


def _between(batch: pa.RecordBatch, start: datetime | None, end: datetime | None, column: str) -> pa.RecordBatch:
    times = batch.column(column)
    if start is not None:
        batch = batch.filter(pc.greater_equal(times, pa.scalar(start, times.type)))
        times = batch.column(column)
    return batch if end is None else batch.filter(pc.less(times, pa.scalar(end, times.type)))
