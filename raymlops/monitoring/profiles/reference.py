"""References: what a model's inputs and scores looked like when it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from raymlops.errors import ConflictError, DataError, NotEnoughRows, SchemaMismatch, StorageError
from raymlops.monitoring.profiles.blocks import Stretches, stretches_of_rows, stretches_of_times
from raymlops.monitoring.profiles.columns import ColumnBins, bins_from_dict, left_out
from raymlops.monitoring.profiles.dispersion import BlockNull, fit_block_nulls, gather_evidence
from raymlops.monitoring.profiles.drift import CountedColumn, DriftReport, DriftRule, judge
from raymlops.monitoring.profiles.fitting import FrozenBins, PartCounts, freeze_bins, instants_us
from raymlops.monitoring.profiles.profile import FORMAT, Profile, parse_document
from raymlops.monitoring.profiles.rows_given import rows_given
from raymlops.monitoring.profiles.sketched_columns import sketch_columns
from raymlops.records.record import sha256_of
from raymlops.records.shown import shown
from raymlops.scratch import write_whole
from raymlops.tables.columns import as_table

__all__ = ["Reference"]

Counts = NDArray[np.int64]

SHORTEST_STRETCH = 64
"""A column's variety is that of stretches of at least this part of the reference."""


@dataclass(frozen=True)
class ReferenceColumn:
    """The reference of one column."""

    bins: ColumnBins
    counts: Counts
    nulls: tuple[BlockNull, ...] = ()
    problem: str = ""
    variety: int = 0
    importance: float | None = None


@shown("rows", "columns", "skipped", "digest")
class Reference:
    """The reference window of a model: counts of its inputs and scores when it was made. Immutable, for all threads.

    Example:
        >>> import numpy, pyarrow
        >>> rng = numpy.random.default_rng(0)
        >>> reference = Reference.fit(pyarrow.table({"x": rng.normal(size=5000)}))
        >>> report = reference.compare(reference.profile(pyarrow.table({"x": rng.normal(0.5, size=500)})))
        >>> report.drifted, report.columns["x"].drifted
        (True, True)
    """

    def __init__(self, rows: int, columns: Mapping[str, ReferenceColumn], skipped: Mapping[str, str]) -> None:
        self._rows = rows
        self._columns = dict(columns)
        self._skipped = dict(skipped)
        self._digest = sha256_of(self._values())

    @classmethod
    def fit(
        cls,
        table: Any,
        columns: Sequence[str] | None = None,
        *,
        event_time: str | None = None,
        window: timedelta | None = None,
        importances: Mapping[str, float] | None = None,
    ) -> Self:
        """Freeze bins and calibrate what windows without drift look like.

        Rows should stand in the order of time where they have one: neighbours that are alike are then found out and
        allowed for. With ``event_time`` and ``window`` the blocks compared span as much time as a window will, which
        is right also where windows hold fewer rows per day than the reference.

        Args:
            table: The reference's rows, a table or a frame; a column that cannot be used is left out with the reason in
                ``skipped``.
            columns: Columns to use; by default all but ``event_time``.
            event_time: Timestamp column that orders the rows.
            window: Length of the windows to come.
            importances: How much the model rests on each column, on any scale; kept as shares of their sum.

        Raises:
            NotEnoughRows: ``table`` is empty.
            SchemaMismatch: It is no table, a named column is not there or there twice, or ``event_time`` holds no
                timestamps.
        """
        table, wanted = rows_given(table, columns, event_time)
        if not table.num_rows:
            raise NotEnoughRows("a reference must have at least 1 row, got 0")
        stretches, places = _cut(table, event_time, window)
        frozen = freeze_bins(table, wanted)
        return cls.of_counts(frozen, stretches, frozen.count(table, stretches, places), importances)

    @classmethod
    def of_counts(
        cls,
        frozen: FrozenBins,
        stretches: Stretches,
        counted: PartCounts,
        importances: Mapping[str, float] | None = None,
    ) -> Self:
        """The reference of rows that were counted part by part.

        Args:
            frozen: The bins that they were counted on.
            stretches: How all rows were cut.
            counted: The sum over all parts.
            importances: As for ``fit``.
        """
        total = sum((importances or {}).values())
        kept = {}
        for name, bins in frozen.columns.items():
            if name in counted.problems:
                continue
            share = importances[name] / total if importances and name in importances and total > 0 else None
            cells = counted.cells[name].spread(stretches.segments)
            kept[name] = _fitted_column(bins, stretches, cells, frozen.once.get(name, (0, 0)), share)
        return cls(counted.rows, kept, {**frozen.skipped, **counted.problems})

    def joined(self, other: Reference) -> Reference:
        """This reference with the columns of another, each keeping the rows it was fitted on.

        For columns known for fewer rows, such as a model's own scores, which only its holdout has.

        Raises:
            ConflictError: Both know a column of the same name.
        """
        shared = sorted(self._columns.keys() & other._columns.keys())
        if shared:
            raise ConflictError(f"joined references must not share columns, got {shared}")
        return Reference(self._rows, self._columns | other._columns, self._skipped | other._skipped)

    def only(self, *columns: str) -> Reference:
        """This reference with these of its columns alone.

        Raises:
            SchemaMismatch: It does not know one of them.
        """
        return Reference(self._rows, {name: self._column(name) for name in columns}, {})

    @property
    def rows(self) -> int:
        """Rows it was fitted on."""
        return self._rows

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns it knows."""
        return tuple(self._columns)

    @property
    def skipped(self) -> dict[str, str]:
        """Columns left out of it, with the reason."""
        return dict(self._skipped)

    @property
    def digest(self) -> str:
        """Hex SHA-256 over everything in it."""
        return self._digest

    def bins(self, column: str) -> ColumnBins:
        """The frozen bins of a column.

        Raises:
            SchemaMismatch: The reference does not know the column.
        """
        return self._column(column).bins

    def counts(self, column: str) -> Counts:
        """The reference's own counts of a column: its bins, then infinite, then missing.

        Raises:
            SchemaMismatch: The reference does not know the column.
        """
        return self._column(column).counts.copy()

    def variety(self, column: str) -> int:
        """Number of bins that every stretch of the reference filled at least; 0 where it was too short to tell.

        Raises:
            SchemaMismatch: The reference does not know the column.
        """
        return self._column(column).variety

    def profile(self, table: Any, *, sketched: bool = False) -> Profile:
        """Count a window's rows. A column that is dropped or of another type is reported, and counts as missing.

        Args:
            table: The rows, a table or a frame.
            sketched: Whether quantiles and distinct counts are sketched too, which no test needs.

        Raises:
            SchemaMismatch: It is no table, or has a column twice.
        """
        table = as_table("window", table)
        counts, ranges, problems = {}, {}, {}
        for name, column in self._columns.items():
            if name not in table.column_names:
                problem = "dropped: the window does not have the column"
            else:
                try:
                    counts[name] = column.bins.count(table.column(name))
                    if (spread := column.bins.spread(table.column(name))) is not None:
                        ranges[name] = spread
                    continue
                except (DataError, pa.ArrowException) as error:
                    problem = str(error)
            problems[name] = problem
            counts[name] = np.zeros(column.bins.size, dtype=np.int64)
            counts[name][-1] = table.num_rows
        known = {*self._columns, *self._skipped}
        new = sorted(name for name in table.column_names if name not in known)
        profile = Profile(self._digest, table.num_rows, counts, ranges, problems, tuple(new))
        bins = {name: column.bins for name, column in self._columns.items() if name not in problems}
        return sketch_columns(profile, table, bins) if sketched else profile

    def compare(self, profile: Profile, *, rule: DriftRule | None = None) -> DriftReport:
        """Judge a window. The cost does not depend on its rows.

        Raises:
            DataError: ``profile`` is none: rows are counted by ``profile`` first.
            ConflictError: ``profile`` was counted on the bins of another reference.
        """
        if not isinstance(profile, Profile):
            raise DataError(f"a window must be a Profile, as profile(table) gives it, got {type(profile).__name__}")
        if profile.reference != self._digest:
            raise ConflictError(
                f"profile must be of reference {self._digest[:12]}, got one of {profile.reference[:12]}"
            )
        evidence = {
            name: gather_evidence(column.counts, profile.counts[name], ordered=column.bins.ordered)
            for name, column in self._columns.items()
        }
        nulls = {name: column.nulls for name, column in self._columns.items()}
        problems = {name: column.problem for name, column in self._columns.items() if column.problem}
        problems |= {name: _window_problem(profile.counts[name]) for name in self._columns if name not in problems}
        problems |= profile.problems
        problems = {name: problem for name, problem in problems.items() if problem}
        counted = {name: CountedColumn(c.counts, profile.counts[name], c.bins) for name, c in self._columns.items()}
        judged = judge(evidence, nulls, profile.rows, rule or DriftRule(), counted)
        columns = {
            name: drift.model_copy(
                update={
                    "missing_share": float(profile.counts[name][-1]) / max(1, int(profile.counts[name].sum())),
                    "problem": problems.get(name, ""),
                    "importance": self._columns[name].importance,
                }
            )
            for name, drift in judged.items()
        }
        return DriftReport(profile.rows, self._rows, columns, problems, profile.new_columns)

    def dumps(self) -> bytes:
        """Bytes to store; equal references give equal bytes."""
        return orjson.dumps(self._values(), option=orjson.OPT_SORT_KEYS)

    @classmethod
    def loads(cls, content: bytes) -> Self:
        """The opposite of ``dumps``.

        Raises:
            DataError: ``content`` is not a reference.
        """
        values = parse_document(content, "reference")
        try:
            columns = {
                name: ReferenceColumn(
                    bins=bins_from_dict(column["bins"]),
                    counts=np.asarray(column["counts"], dtype=np.int64),
                    nulls=tuple(BlockNull(*null) for null in column["nulls"]),
                    problem=str(column["problem"]),
                    variety=int(column["variety"]),
                    importance=column["importance"],
                )
                for name, column in ((name, values["columns"][name]) for name in values["order"])
            }
            return cls(int(values["rows"]), columns, dict(values["skipped"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"reference must have the fields of format {FORMAT}, got {error!r}") from error

    def save(self, path: Path) -> None:
        """Write it to a file; the file appears whole or not at all.

        Raises:
            StorageError: The file could not be written; the message names it.
        """
        try:
            write_whole(path, self.dumps(), durable=True)
        except OSError as error:
            raise StorageError(f"{path} could not be written: {error}", path=str(path)) from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a stored reference.

        Raises:
            DataError: The file is not a reference; the message names it.
            FileNotFoundError: There is no such file.
        """
        content = path.read_bytes()
        try:
            return cls.loads(content)
        except DataError as error:
            raise DataError(f"{path}: {error}", path=str(path)) from error

    def _column(self, name: str) -> ReferenceColumn:
        if name not in self._columns:
            raise SchemaMismatch(f"column {name!r} is not in the reference", columns=[name])
        return self._columns[name]

    def _values(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "rows": self._rows,
            "skipped": self._skipped,
            "order": list(self._columns),
            "columns": {
                name: {
                    "bins": column.bins.to_dict(),
                    "counts": column.counts.tolist(),
                    "nulls": [null.to_list() for null in column.nulls],
                    "problem": column.problem,
                    "variety": column.variety,
                    "importance": column.importance,
                }
                for name, column in self._columns.items()
            },
        }


def _cut(table: pa.Table, event_time: str | None, window: timedelta | None) -> tuple[Stretches, Counts]:
    """Stretches of rows that dispersion is measured on, and each row's place.

    A stretch is as long as a window if the table holds enough of them; otherwise stretches are cut by rows.
    """
    if event_time is not None and window is not None:
        times = instants_us(table, event_time)
        by_time = stretches_of_times(int(times.min()), int(times.max()), window // timedelta(microseconds=1))
        if by_time is not None:
            return by_time, times
    return stretches_of_rows(table.num_rows), np.arange(table.num_rows)


def _fitted_column(
    bins: ColumnBins, stretches: Stretches, cells: Counts, once: tuple[int, int], importance: float | None
) -> ReferenceColumn:
    tables, whole = stretches.tables(cells), cells.sum(axis=0)
    nulls = fit_block_nulls(tables, whole, ordered=bins.ordered, by_time=stretches.by_time)
    rows = int(whole.sum())
    long = [table for table in tables if len(table) and table.sum(axis=1).mean() * SHORTEST_STRETCH >= rows]
    variety = min((int((table[:, :-2] > 0).sum(axis=1).min(initial=bins.size)) for table in long), default=0)
    counts = left_out(bins, whole, once)
    return ReferenceColumn(bins, counts, tuple(nulls), _window_problem(counts, of="reference"), variety, importance)


def _window_problem(counts: Counts, of: str = "window") -> str:
    """The fault of a column whose values are all missing or infinite, in words."""
    total = int(counts.sum())
    if total and counts[-1] == total:
        return f"every value of the {of} is missing"
    if total and counts[-1] + counts[-2] == total:
        return f"no value of the {of} is finite"
    return ""
