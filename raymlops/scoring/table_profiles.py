"""References and profiles of tables that need not fit in memory: parts are counted apart, and their counts add up."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypedDict, TypeVar, Unpack

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raymlops.errors import NotEnoughRows
from raymlops.monitoring.profiles.blocks import Stretches, stretches_of_rows, stretches_of_times
from raymlops.monitoring.profiles.fitting import FrozenBins, PartCounts, freeze_bins, instants_us
from raymlops.monitoring.profiles.profile import Profile
from raymlops.monitoring.profiles.reference import Reference
from raymlops.monitoring.profiles.rows_given import rows_given
from raymlops.records.scoring import Part, Source
from raymlops.scoring.sources import RowSource

__all__ = ["EachPart", "FittingOptions", "TableRows", "fit_reference", "profile_table"]

S = TypeVar("S")
R = TypeVar("R")

Places = NDArray[np.int64]

_SAMPLE_ROWS = 1 << 18


@dataclass(frozen=True)
class TableRows:
    """The rows of a table; it goes to whichever process reads a part of them.

    Attributes:
        source: The table, at one state.
        parts: It, cut into row groups.
        block_rows: Rows that a process holds at a time.
        options: Options of the object store.
    """

    source: Source
    parts: Sequence[Part]
    block_rows: int
    options: Mapping[str, str] | None = None

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(part.rows for part in self.parts)

    def opened(self) -> RowSource:
        """The table, to be read.

        Raises:
            SchemaMismatch: Its files differ in their columns, or have two of one name.
            StorageError: It cannot be read.
        """
        return _opened(self.source, tuple(sorted((self.options or {}).items())))


@functools.lru_cache(1)  # opening reads the footers of all files, and a process reads many parts
def _opened(source: Source, options: tuple[tuple[str, str], ...]) -> RowSource:
    return RowSource(source, dict(options) or None)


class EachPart(Protocol):
    """Calls a function for each part, wherever that is, and yields what it returns, in any order.

    The function can be imported by name; what it is given and what it returns can be pickled. It may be called again
    for a part, and returns the same each time.
    """

    def __call__(self, function: Callable[[S, Part], R], shared: S, parts: Sequence[Part], /) -> Iterator[R]: ...


@dataclass(frozen=True)
class _Sampled:
    """Every so many rows of a part, and the span of its instants."""

    number: int
    rows: pa.Table
    span: tuple[int, int] | None


@dataclass(frozen=True)
class _Sampling:
    table: TableRows
    columns: tuple[str, ...]
    event_time: str | None
    every: int


@dataclass(frozen=True)
class _Counting:
    table: TableRows
    frozen: FrozenBins
    stretches: Stretches
    event_time: str | None
    """Tells the places of rows; ``None``: their numbers do."""


@dataclass(frozen=True)
class _Profiling:
    table: TableRows
    reference: Reference
    columns: tuple[str, ...]
    sketched: bool


class FittingOptions(TypedDict, total=False):
    """How a reference is fitted on a table."""

    columns: Sequence[str] | None
    """Columns to use; by default all but ``event_time``."""
    event_time: str | None
    """Timestamp column."""
    window: timedelta | None
    """Length of the windows to come."""
    importances: Mapping[str, float] | None
    """How much a model rests on each column."""
    sample_rows: int
    """Rows that the bins are frozen from, at most; the process that asks holds them."""


def fit_reference(table: TableRows, each_part: EachPart, **options: Unpack[FittingOptions]) -> Reference:
    """Fit a reference on a table in two passes, as ``Reference.fit`` does on a table in memory.

    The first pass takes every so many rows, from which the bins are frozen; the second one counts all rows on them. So
    the reference of a table of at most ``sample_rows`` rows is the one that ``Reference.fit`` comes to, and that of a
    larger one does not depend on how its rows are cut into parts. Rows without ``window`` should stand in the order of
    time, since neither pass sorts them.

    Args:
        table: Its rows.
        each_part: Reads the parts.
        options: As in ``FittingOptions``.

    Raises:
        NotEnoughRows: The table is empty.
        SchemaMismatch: A named column is not there, or ``event_time`` holds no timestamps.
        DataError: A file is broken, or an instant is missing.
        RaymlopsError: As ``each_part``.
    """
    event_time, window = options.get("event_time"), options.get("window")
    rows = table.rows
    if not rows:
        raise NotEnoughRows(f"a reference must have at least 1 row, got 0 of {table.source.name}")
    schema = table.opened().schema
    wanted = rows_given(schema.empty_table(), options.get("columns"), event_time)[1]
    timed = event_time if window is not None else None
    every = -(-rows // options.get("sample_rows", _SAMPLE_ROWS))
    sampling = _Sampling(table, tuple(wanted), timed, every)
    sampled = sorted(each_part(_sample, sampling, table.parts), key=lambda each: each.number)
    frozen = freeze_bins(pa.concat_tables(each.rows for each in sampled), wanted, whole=every == 1)
    span, stretches = _span(each.span for each in sampled), None
    if span is not None and window is not None:
        stretches = stretches_of_times(*span, window // timedelta(microseconds=1))
    counting = _Counting(table, frozen, stretches or stretches_of_rows(rows), timed if stretches else None)
    counted = functools.reduce(operator.add, each_part(_count, counting, table.parts))
    return Reference.of_counts(frozen, counting.stretches, counted, options.get("importances"))


def profile_table(table: TableRows, reference: Reference, each_part: EachPart, *, sketched: bool = False) -> Profile:
    """Count the rows of a table on the bins of a reference, as ``Reference.profile`` does of a table in memory.

    Raises:
        NotEnoughRows: The table is empty.
        DataError: A file is broken.
        RaymlopsError: As ``each_part``.
    """
    if not table.rows:
        raise NotEnoughRows(f"a profile must have at least 1 row, got 0 of {table.source.name}")
    names = tuple(table.opened().schema.names)
    parts = each_part(_profile, _Profiling(table, reference, names, sketched), table.parts)
    return functools.reduce(operator.add, parts)


def _sample(sampling: _Sampling, part: Part) -> _Sampled:
    read = dict.fromkeys([*sampling.columns, *([sampling.event_time] if sampling.event_time else [])])
    found, spans = [], []
    for first_row, block in _blocks(sampling.table, part, tuple(read)):
        taken = np.arange(-first_row % sampling.every, block.num_rows, sampling.every)
        # a slice would keep the whole block in memory
        found.append(block.select(list(sampling.columns)).take(pa.array(taken)))
        if sampling.event_time is not None and block.num_rows:
            times = instants_us(block, sampling.event_time)
            spans.append((int(times.min()), int(times.max())))
    return _Sampled(part.number, pa.concat_tables(found), _span(spans))


def _span(spans: Iterable[tuple[int, int] | None]) -> tuple[int, int] | None:
    """What all spans lie in; ``None`` where there are none."""
    known = [span for span in spans if span is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def _count(counting: _Counting, part: Part) -> PartCounts:
    columns = tuple(counting.frozen.columns)
    read = tuple(dict.fromkeys([*columns, *([counting.event_time] if counting.event_time else [])]))
    counts = []
    for first_row, block in _blocks(counting.table, part, read):
        if counting.event_time is None:
            places: Places = np.arange(first_row, first_row + block.num_rows)
        else:
            places = instants_us(block, counting.event_time)
        counts.append(counting.frozen.count(block, counting.stretches, places))
    return functools.reduce(operator.add, counts)


def _profile(profiling: _Profiling, part: Part) -> Profile:
    blocks = _blocks(profiling.table, part, profiling.columns)
    profiles = (profiling.reference.profile(block, sketched=profiling.sketched) for _, block in blocks)
    return functools.reduce(operator.add, profiles)


def _blocks(table: TableRows, part: Part, columns: tuple[str, ...]) -> Iterator[tuple[int, Any]]:
    """The rows of a part, at most so many at a time, each with the number of its first row."""
    first_row = part.first_row
    for block in table.opened().blocks(part, columns, table.block_rows):
        yield first_row, block
        first_row += block.num_rows
