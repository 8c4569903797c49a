"""Drift that no single column shows: can a classifier tell a window's rows from the reference's?

The classifier is a ridge discriminant on normal scores, indicators, squares and products, so that it sees changed
correlations beside changed columns, and it is judged on rows it has not been fitted on. Rabanser et al. (2019) find
such classifiers the best at explaining a shift.

Where the reference's rows are nearly independent, the area under the curve follows Mann and Whitney's law, made wider
by the dispersion of its columns. Where rows resemble their neighbours, what that makes of the area is measured: every
stretch of the reference, as long as a window, is told from the others in the same way, and a window must stand out
from the stretches. That is safe and less sharp.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from numpy.typing import NDArray
from scipy import special

from raymlops.errors import DataError, NotEnoughRows
from raymlops.monitoring.profiles.blocks import cut_rows
from raymlops.monitoring.profiles.classifier.discriminant import Sides
from raymlops.monitoring.profiles.classifier.encoding import Encoding
from raymlops.monitoring.profiles.columns import column_kind, fit_bins
from raymlops.monitoring.profiles.dispersion import NEAR, fit_block_nulls
from raymlops.monitoring.profiles.rows_given import rows_given
from raymlops.records.shown import shown
from raymlops.tables.columns import as_table

__all__ = ["DOMAIN_FILE", "DomainClassifier", "DomainDrift"]

DOMAIN_FILE = "domain.arrow"
"""Name of a model version's sample of reference rows, beside its packaged files."""
MAX_ROWS = 2000
MAX_COLUMNS = 2000
"""Columns that are looked at together, the most important ones; they bound what a window costs, whatever the table."""
STRETCHES = 16
MIN_STRETCHES = 8
MIN_SAMPLE_ROWS = 30
CROSS_FITTED = 1.5
"""Standard deviation of the cross-fitted area over Mann and Whitney's: 1.2 to 1.5, measured for 2 to 20 columns and 50
to 2,000 rows. Discriminants that share rows err together."""
NEARLY_INDEPENDENT = 2.0
"""Largest dispersion of a column up to which rows pass for independent."""
_STRETCH = "__stretch__"
_DISPERSION = b"dispersion"

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@shown()
@dataclass(frozen=True)
class DomainDrift:
    """How well a window's rows can be told from the reference's.

    Attributes:
        auc: Area under the curve on rows not fitted on; 0.5 where they cannot be told apart.
        threshold: What it must exceed; ``drifted`` is ``auc > threshold``.
        p_value: Chance of such an area where nothing has changed.
        drifted: Whether the rows come from elsewhere.
        rows: Rows of the window that were looked at.
        importances: Column -> its share in telling them apart, the largest first; they sum to 1.
        problem: Why there is no verdict; empty where there is one.
    """

    auc: float = 0.5
    threshold: float = 1.0
    p_value: float = 1.0
    drifted: bool = False
    rows: int = 0
    importances: dict[str, float] = field(default_factory=dict)
    problem: str = ""


class DomainClassifier:
    """Tells windows from a sample of at most 2,000 reference rows. Immutable, so threads may share it.

    Args:
        sample: The rows, stretch by stretch; their column ``__stretch__`` numbers the stretches from 0.
        columns: Columns to look at, the most important first.
        dispersion: Largest dispersion of a column in stretches about as long as a window.

    Example:
        >>> import numpy, pyarrow
        >>> rng = numpy.random.default_rng(0)
        >>> x, y = rng.normal(size=(2, 8000))
        >>> classifier = DomainClassifier.fit(pyarrow.table({"x": x, "y": y}))
        >>> window = pyarrow.table({"x": x[:1000], "y": 0.7 * x[:1000] + 0.7 * y[:1000]})
        >>> classifier.compare(window).drifted
        True
    """

    def __init__(self, sample: pa.Table, columns: Sequence[str], dispersion: float = math.inf) -> None:
        self._sample = sample
        self._dispersion = dispersion
        self._columns = tuple(columns)
        self._stretch = sample.column(_STRETCH).to_numpy().astype(np.intp)
        self._encoding = Encoding(sample, self._columns)
        self._sides = Sides(self._encoding.encode(sample), self._stretch)
        self._null: dict[int, tuple[float, float, float]] = {}

    @classmethod
    def fit(
        cls,
        table: Any,
        columns: Sequence[str] | None = None,
        *,
        event_time: str | None = None,
        window: timedelta | None = None,
        window_rows: int | None = None,
        importances: Mapping[str, float] | None = None,
    ) -> Self:
        """Draw the sample, in stretches as long as a window will be.

        Args:
            table: The reference's rows, a table or a frame, in the order of time where they have one; columns that hold
                neither numbers nor text are left out.
            columns: Columns to look at; by default all but ``event_time``. Of more than 2,000, the most important ones,
                and among equals the first.
            event_time: Timestamp column that orders the rows.
            window: Length of the windows to come; asks for ``event_time``.
            window_rows: Rows of the windows to come, where they are not cut by time; by default a sixteenth, and at
                most an eighth, of the reference's. Where rows resemble their neighbours, windows much shorter than
                that are held for drifted too often.
            importances: Column -> how much the model rests on it: products of the first columns alone are looked at.

        Raises:
            NotEnoughRows: The table has too few rows to draw from.
            SchemaMismatch: It is no table, or a column is not there.
        """
        table, names = rows_given(table, columns, event_time)
        usable = [name for name in names if column_kind(table.column(name).type) is not None]
        known = importances or {}
        ranked = sorted(usable, key=lambda name: -known.get(name, 0.0))[:MAX_COLUMNS]
        starts, stops = _stretches(table, event_time, window, window_rows)
        each = MAX_ROWS // len(starts)
        taken = [_spaced(int(start), int(stop), each) for start, stop in zip(starts, stops, strict=True)]
        sample = table.select(ranked).take(pa.array(np.concatenate(taken)))
        numbers = np.repeat(np.arange(len(taken), dtype=np.int32), [rows.size for rows in taken])
        dispersion = _dispersion(table.select(ranked), int(np.median(stops - starts)))
        return cls(sample.append_column(_STRETCH, pa.array(numbers)), ranked, dispersion)

    @property
    def rows(self) -> int:
        """Rows of the sample."""
        return int(self._sample.num_rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns it looks at."""
        return self._columns

    def compare(self, table: Any, *, alpha: float = 0.005, effect: float = 0.05) -> DomainDrift:
        """Judge a window, whose rows stand in the order of time.

        Args:
            table: The window's rows, a table or a frame; a column that is dropped or of another type counts as missing.
            alpha: Share of windows without drift in which it is found all the same.
            effect: The area must lie above 0.5 by more than this.
        """
        table = as_table("window", table)
        independent = self._dispersion <= NEARLY_INDEPENDENT
        taken = _spaced(0, table.num_rows, MAX_ROWS if independent else int(np.bincount(self._stretch).min()))
        if taken.size < MIN_SAMPLE_ROWS:
            return DomainDrift(
                rows=taken.size, problem=f"{taken.size} rows, fewer than {MIN_SAMPLE_ROWS}, cannot be told from others"
            )
        # the others may be of types of which Arrow takes no rows
        known = [field.name for field in table.schema if field.name in self._columns and column_kind(field.type)]
        auc, shares = self._sides.tell(self._encoding.encode(table.select(known).take(pa.array(taken))))
        mean, spread, doubt = self._independent(taken.size) if independent else self._chance(taken.size)
        threshold = max(0.5 + effect, mean + float(-special.stdtrit(doubt, alpha)) * spread)
        return DomainDrift(
            auc=auc,
            threshold=threshold,
            p_value=float(special.stdtr(doubt, (mean - auc) / spread)),
            drifted=auc > threshold,
            rows=taken.size,
            importances=self._importances(shares),
        )

    def dumps(self) -> bytes:
        """Bytes to store: an Arrow file of the sample."""
        sink = pa.BufferOutputStream()
        sample = self._sample.replace_schema_metadata({_DISPERSION: repr(self._dispersion)})
        with pa.ipc.new_file(sink, sample.schema) as writer:
            writer.write_table(sample)
        return bytes(sink.getvalue())

    @classmethod
    def loads(cls, content: bytes) -> Self:
        """The opposite of ``dumps``.

        Raises:
            DataError: ``content`` is not a sample.
        """
        try:
            sample = pa.ipc.open_file(pa.BufferReader(content)).read_all()
        except pa.ArrowException as error:
            raise DataError(f"sample must be an Arrow file, got {len(content)} other bytes: {error}") from error
        dispersion = (sample.schema.metadata or {}).get(_DISPERSION)
        if _STRETCH not in sample.column_names or not sample.num_rows or dispersion is None:
            raise DataError(f"sample must have rows, a column {_STRETCH} and a dispersion, got {sample.column_names}")
        return cls(sample, [name for name in sample.column_names if name != _STRETCH], float(dispersion))

    def _independent(self, rows: int) -> tuple[float, float, float]:
        """Mean, standard deviation and degrees of freedom of the area where rows are nearly independent."""
        spread = CROSS_FITTED * math.sqrt(max(1.0, self._dispersion) * (1 / rows + 1 / self.rows) / 12)
        return 0.5, spread, math.inf

    def _chance(self, rows: int) -> tuple[float, float, float]:
        """The same from stretches against the others, whatever the rows are like."""
        if rows not in self._null:
            stretches = [np.flatnonzero(self._stretch == number) for number in range(int(self._stretch[-1]) + 1)]
            found = self._sides.tell_stretches([own[_spaced(0, own.size, rows)] for own in stretches])
            least = math.sqrt((1 / rows + 1 / self.rows) / 12)
            spread = max(least, float(np.std(found, ddof=1))) * math.sqrt(1 + 1 / len(found))
            self._null[rows] = max(0.5, float(np.mean(found))), spread, len(found) - 1.0
        return self._null[rows]

    def _importances(self, shares: Floats) -> dict[str, float]:
        owners, found = self._encoding.owners, np.zeros(len(self._columns))
        np.add.at(found, owners[:, 0], shares / 2)
        np.add.at(found, owners[:, 1], shares / 2)
        found = np.maximum(found, 0.0)
        total = float(found.sum())
        named = {name: float(each) / total for name, each in zip(self._columns, found, strict=True)} if total else {}
        return dict(sorted(named.items(), key=lambda item: (-item[1], item[0])))


def _stretches(
    table: pa.Table, event_time: str | None, window: timedelta | None, window_rows: int | None
) -> tuple[Indices, Indices]:
    """First row of each stretch, and the row after its last one."""
    rows = table.num_rows
    if rows < MIN_STRETCHES * MIN_SAMPLE_ROWS:
        raise NotEnoughRows(f"a sample must be drawn from at least {MIN_STRETCHES * MIN_SAMPLE_ROWS} rows, got {rows}")
    if event_time is not None and window is not None:
        times = table.column(event_time).cast(pa.timestamp("us", tz=table.column(event_time).type.tz))
        at = times.cast(pa.int64()).to_numpy()
        length = max(1, min(window // timedelta(microseconds=1), int(at[-1] - at[0]) // MIN_STRETCHES))
        stretches = min(STRETCHES, int(at[-1] - at[0]) // length)
        begins = np.linspace(at[0], at[-1] - length + 1, stretches).astype(np.int64)
        starts, stops = np.searchsorted(at, begins), np.searchsorted(at, begins + length)
        held = stops - starts >= MIN_SAMPLE_ROWS
        if held.sum() >= MIN_STRETCHES:
            return starts[held], stops[held]
    length = max(MIN_SAMPLE_ROWS, min(window_rows or rows // STRETCHES, rows // MIN_STRETCHES))
    starts = np.linspace(0, rows - length, min(STRETCHES, rows // length)).astype(np.intp)
    return starts, starts + length


def _dispersion(table: pa.Table, rows: int) -> float:
    """Largest dispersion that a column shows in stretches of about so many rows."""
    cuts, most = cut_rows(table.num_rows), 1.0
    for name in table.column_names:
        bins = fit_bins(table.column(name))
        slots = bins.slots(table.column(name))
        nulls = fit_block_nulls(
            cuts.tables(slots, bins.size), np.bincount(slots, minlength=bins.size), ordered=bins.ordered
        )
        most = max([most, *(null.dispersion for null in nulls if null.rows <= NEAR * rows)])
    return most


def _spaced(start: int, stop: int, most: int) -> Indices:
    """At most so many of the rows from ``start`` up to ``stop``, evenly spaced."""
    return (
        np.unique(np.linspace(start, stop - 1, min(most, stop - start)).astype(np.intp))
        if stop > start
        else np.empty(0, np.intp)
    )
