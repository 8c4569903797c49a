"""The matrix of per-row losses: every model on every later window. The loss of any policy follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from raymlops.errors import DataError, NotEnoughRows
from raymlops.laboratory.staleness import FloatArray, Staleness
from raymlops.records.shown import shown

if TYPE_CHECKING:
    import pandas as pd

    from raymlops.laboratory.recipe import Recipe

__all__ = ["LossMatrix", "Losses", "MatrixFacts", "Paired"]

Losses = npt.NDArray[np.floating[Any]]


@shown()
class Paired(NamedTuple):
    """Two models on the same rows."""

    rows: int
    mean: float
    """Mean of (loss of the first - loss of the second); 0 without rows."""
    standard_error: float


@dataclass(frozen=True)
class MatrixFacts:
    """Facts about a matrix beside its losses; all of them are optional.

    Attributes:
        metric: Name of the loss.
        starts: Start of each window from 0 on, and the end of the last.
        label_delay: How long after a row its label came.
        fit_s: Model -> seconds that its fit took.
        training_rows: Model -> rows it was fitted on.
        drifted: ``(model, window)`` where the window's inputs had drifted from its training rows; ``None`` where
            nobody looked.
        notes: Changes of the table, in words.
    """

    metric: str = "loss"
    starts: tuple[datetime, ...] = ()
    label_delay: timedelta = timedelta(0)
    fit_s: Mapping[int, float] = field(default_factory=dict)
    training_rows: Mapping[int, int] = field(default_factory=dict)
    drifted: frozenset[tuple[int, int]] | None = None
    notes: tuple[str, ...] = ()


@shown("windows", "first")
class LossMatrix:
    """Losses per row of models fitted at the start of each window, on that window and all later ones. Immutable.

    Model ``i`` is the one that is fitted at the start of window ``i``, from the rows whose labels had come by then. It
    can serve window ``i`` and every later one.

    Args:
        losses: ``(i, j)`` -> one loss per row of window ``j``, for all ``i <= j`` from some window on. Rows of a window
            stand in the order in which their labels came, the same for every model.
        first: The first window that a model serves. What models of earlier windows lost is known to policies; they
            serve nobody.
        known: ``[j, t]``: how many rows of window ``j`` had labels at the start of window ``t``, both counted from the
            oldest model's on. Left out, a window's labels are there when it ends.
        facts: What else is known.

    Raises:
        DataError: A pair is missing, or a loss is not finite, or models have different numbers of rows in a window.
        NotEnoughRows: There are fewer than two windows from ``first`` on, or no row.
    """

    def __init__(
        self,
        losses: Mapping[tuple[int, int], Losses],
        *,
        first: int,
        known: npt.NDArray[np.int64] | None = None,
        facts: MatrixFacts | None = None,
    ) -> None:
        kept = {(i, j): np.asarray(values) for (i, j), values in losses.items() if i <= j}
        if len({j for _, j in kept if j >= first}) < 2:
            raise NotEnoughRows(f"a matrix needs at least two windows from window {first} on, got {len(kept)} pairs")
        self.first = first
        self.end = max(j for _, j in kept) + 1
        self.oldest = _oldest(kept, first, self.end)
        kept = {pair: values for pair, values in kept.items() if min(pair) >= self.oldest}
        self.facts = facts or MatrixFacts()
        self._losses = kept
        self._check()
        size = self.end - self.oldest
        self._rows = np.array([len(kept[j, j]) for j in range(self.oldest, self.end)], dtype=np.int64)
        if not self._rows[first - self.oldest :].sum():
            raise NotEnoughRows("a matrix needs at least one row, got 0")
        self._known = _at_the_end(self._rows) if known is None else known
        self._sums = np.full((size, size), np.nan)
        for (i, j), values in kept.items():
            self._sums[i - self.oldest, j - self.oldest] = values.sum(dtype=np.float64)
        self._means_known: dict[int, FloatArray] = {}
        self._pairs: dict[tuple[int, int, int, int], Paired] = {}

    @classmethod
    def from_losses(cls, losses: Mapping[tuple[int, int], Any], *, first: int = 8) -> Self:
        """A matrix of losses that were computed elsewhere; a window's labels are there when it ends.

        Args:
            losses: ``(i, j)`` -> one loss per row of window ``j`` of the model fitted at the start of window ``i``.
            first: The first window that a model serves; earlier ones are history, where they are there.
        """
        return cls({pair: np.asarray(values, dtype=np.float64) for pair, values in losses.items()}, first=first)

    @classmethod
    def fit(
        cls,
        table: Any,
        *,
        label: str,
        event_time: str,
        window: str | timedelta | None = "7d",
        label_delay: str | timedelta | None = "1d",
        first: int = 8,
        entity: str | Sequence[str] | None = None,
        recipe: Recipe | None = None,
    ) -> LossMatrix:
        """Fit a model at the start of each window, and score each on all later windows.

        Args:
            table: A pyarrow table, a pandas or polars frame, or the path of a Parquet or CSV file.
            label: The column to predict: numbers, or texts and bools as classes.
            event_time: The column of instants.
            window: Length of a window; ``None`` takes a round one that makes about fifty.
            label_delay: How long after its row a label comes; ``None`` is a day, at most a seventh of a window.
            first: How many windows the first model is fitted on; models of their second half are history.
            entity: Columns that say whom a row is about; they are no inputs.
            recipe: How a model is fitted; by default one that needs no tuning.

        Raises:
            DataError: A column is not there or has the wrong type, or there are too few rows.
        """
        from raymlops.laboratory.building import build_matrix
        from raymlops.laboratory.intake.table import prepare

        prepared = prepare(
            table, label=label, event_time=event_time, entity=entity, window=window, label_delay=label_delay
        )
        return build_matrix(prepared, first=first, recipe=recipe)

    @property
    def windows(self) -> range:
        """The windows that models serve, by number."""
        return range(self.first, self.end)

    def losses(self, model: int, window: int) -> Losses:
        """One loss per row of ``window``, in the order in which their labels came."""
        return self._losses[model, window]

    def rows(self, window: int) -> int:
        """Rows of ``window``."""
        return int(self._rows[window - self.oldest])

    def total(self, model: int, window: int) -> float:
        """Sum of the losses of ``model`` on ``window``."""
        return float(self._sums[model - self.oldest, window - self.oldest])

    def known_rows(self, window: int, at: int) -> int:
        """Rows of ``window`` whose labels had come at the start of window ``at``."""
        return int(self._known[window - self.oldest, at - self.oldest])

    def means_known(self, at: int) -> FloatArray:
        """Mean losses ``[model, window]`` of the windows before ``at``, over the rows known at its start.

        Both count from ``oldest``; NaN where a model is younger than the window, or no label had come. Not to be
        written to.
        """
        found = self._means_known.get(at)
        if found is None:
            size = at - self.oldest
            known = self._known[:size, size]
            sums = self._sums[:size, :size].copy()
            for column in np.flatnonzero(known < self._rows[:size]):
                for row in range(column + 1):
                    part = self._losses[row + self.oldest, int(column) + self.oldest][: known[column]]
                    sums[row, column] = part.sum(dtype=np.float64)
            with np.errstate(invalid="ignore"):
                found = sums / np.where(known > 0, known, np.nan)
            self._means_known[at] = found
        return found

    def staleness_known(self, at: int) -> Staleness:
        """Regrets beside the model fitted at each window's start, of all windows before ``at``, as known then."""
        size = at - self.oldest
        whole_regrets, whole_errors = self._regrets
        regrets, errors = whole_regrets[:size, :size].copy(), whole_errors[:size, :size].copy()
        for column in np.flatnonzero(self._known[:size, size] < self._rows[:size]):
            self._fill_column(regrets, errors, int(column), int(self._known[column, size]))
        fresh = np.diag(self.means_known(at))
        there = fresh[np.isfinite(fresh)]
        return Staleness(regrets, errors, float(there.mean()) if len(there) else 0.0)

    def paired(self, model: int, other: int, window: int, rows: int | None = None) -> Paired:
        """Two models on the first ``rows`` rows of ``window``, all by default."""
        count = self.rows(window) if rows is None else rows
        key = model, other, window, count
        found = self._pairs.get(key)
        if found is None:
            found = self._pairs[key] = _pair(self._losses[model, window][:count], self._losses[other, window][:count])
        return found

    @cached_property
    def unit(self) -> float:
        """The loss of one window: what prices are counted in. Mean over windows, each served by its own model."""
        return float(np.trace(self.sums)) / len(self.windows)

    @cached_property
    def total_rows(self) -> int:
        """Rows of all windows."""
        return int(self._rows[self.first - self.oldest :].sum())

    @property
    def sums(self) -> FloatArray:
        """Sums of losses ``[model, window]``, both from ``first`` on; NaN where a model is younger than the window."""
        served = self.first - self.oldest
        return self._sums[served:, served:]

    def to_pandas(self) -> pd.DataFrame:
        """One row for each pair: ``model``, ``window``, ``age``, ``rows``, ``loss``."""
        import pandas as pd

        pairs = [(i, j, j - i, self.rows(j), self.total(i, j)) for i, j in sorted(self._losses)]
        frame = pd.DataFrame(pairs, columns=["model", "window", "age", "rows", "loss"])
        frame["loss"] = frame["loss"] / frame["rows"]
        return frame

    def save(self, path: Path | str) -> None:
        """Write the matrix to a file of Arrow's.

        Raises:
            StorageError: The file cannot be written.
        """
        from raymlops.laboratory.storage import save_matrix

        save_matrix(self, self._known, Path(path))

    @classmethod
    def load(cls, path: Path | str) -> LossMatrix:
        """Read what ``save`` wrote.

        Raises:
            DataError: The file is not one.
            NotFoundError: There is no such file.
        """
        from raymlops.laboratory.storage import load_matrix

        return load_matrix(Path(path))

    @cached_property
    def _regrets(self) -> tuple[FloatArray, FloatArray]:
        """As in ``Staleness``, of all windows and over all of their rows."""
        size = self.end - self.oldest
        regrets, errors = np.empty((size, size)), np.empty((size, size))
        for column in range(size):
            self._fill_column(regrets, errors, column, int(self._rows[column]))
        return regrets, errors

    def _fill_column(self, regrets: FloatArray, errors: FloatArray, column: int, rows: int) -> None:
        """Put in the regrets of one window, over its first ``rows`` rows."""
        regrets[:, column], errors[:, column] = np.nan, 0.0
        window = column + self.oldest
        for row in range(column + 1 if rows else 0):
            _, regrets[row, column], errors[row, column] = self.paired(row + self.oldest, window, window, rows)

    def _check(self) -> None:
        for j in range(self.oldest, self.end):
            lengths = {}
            for i in range(self.oldest, j + 1):
                values = self._losses.get((i, j))
                if values is None:
                    raise DataError(f"losses must hold every pair from window {self.oldest} on, got none of {(i, j)}")
                if values.ndim != 1 or not np.isfinite(values).all():
                    raise DataError(f"losses of {(i, j)} must be one finite number a row")
                lengths[i] = len(values)
            if len(set(lengths.values())) > 1:
                raise DataError(f"models must have the same rows in window {j}, got {lengths} by model")


def _oldest(losses: Mapping[tuple[int, int], Losses], first: int, end: int) -> int:
    """The oldest model before ``first`` of which, and of all after it, every loss is there."""
    oldest = first
    while all((oldest - 1, j) in losses for j in range(oldest - 1, end)):
        oldest -= 1
    return oldest


def _at_the_end(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    size = len(rows)
    at = np.arange(size + 1)
    return np.where(at[None, :] > np.arange(size)[:, None], rows[:, None], 0)


def _pair(one: Losses, other: Losses) -> Paired:
    if not len(one):
        return Paired(0, 0.0, 0.0)
    difference = one.astype(np.float64) - other
    spread = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    return Paired(len(difference), float(difference.mean()), spread / float(np.sqrt(len(difference))))
