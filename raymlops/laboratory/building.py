"""Building a loss matrix: one fit a window, side by side on all cores, in threads of this process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymlops.errors import NotEnoughRows
from raymlops.laboratory.intake.table import PreparedTable
from raymlops.laboratory.loss_matrix import LossMatrix, MatrixFacts
from raymlops.laboratory.recipe import Recipe
from raymlops.monitoring.profiles.reference import Reference

__all__ = ["Mapper", "ModelLosses", "build_matrix", "fit_model", "joined"]

_FEWEST_ROWS = 20
_REFERENCE_ROWS = 20_000
Mapper = Callable[[PreparedTable, Iterable[int], Recipe, bool], Iterable["ModelLosses"]]
"""Calls ``fit_model`` for each of some models, side by side or not; results in any order."""


@dataclass(frozen=True)
class ModelLosses:
    """One model's part of a matrix.

    Attributes:
        model: The window at whose start it was fitted.
        losses: Window -> one loss per row.
        fit_s: Seconds of a core that the fit took.
        rows: Rows it was fitted on.
        drifted: Windows whose inputs had drifted from those rows.
    """

    model: int
    losses: dict[int, npt.NDArray[np.float32]]
    fit_s: float
    rows: int
    drifted: tuple[int, ...] = field(default=())


def build_matrix(
    table: PreparedTable,
    *,
    first: int = 8,
    recipe: Recipe | None = None,
    processes: int | None = None,
    drift: bool = True,
    mapper: Mapper | None = None,
) -> LossMatrix:
    """Fit a model at the start of each window from ``first`` on, and score it on that window and all later ones.

    Args:
        table: The rows.
        first: How many windows the first model is fitted on. Models of the later half of them are fitted too: nobody is
            served by these, and policies know what they would have lost.
        recipe: How models are fitted.
        processes: How many are fitted side by side; by default one for each core.
        drift: Whether the inputs of each window are compared with those each model was fitted on.
        mapper: How the fits are run, instead of by threads; Ray's tasks, for one.

    Raises:
        NotEnoughRows: There are too few windows, or the first model has too few rows.
    """
    if not 1 <= first <= table.count - 2:
        raise NotEnoughRows(f"first must leave at least two of the {table.count} windows to serve, got {first}")
    known = _known_rows(table, first)
    if known < _FEWEST_ROWS:
        raise NotEnoughRows(f"the first model needs {_FEWEST_ROWS} labelled rows, got {known} before window {first}")
    chosen = recipe or Recipe()
    oldest = _oldest(table, first)

    run = mapper or _threads(processes or os.cpu_count() or 1)
    return joined(table, first, run(table, range(oldest, table.count), chosen, drift), drift=drift)


def fit_model(table: PreparedTable, model: int, recipe: Recipe, *, drift: bool) -> ModelLosses:
    """Fit the model of one window, from the labels that had come at its start, and score it on what follows."""
    rows = _known_rows(table, model)
    oldest = 0 if recipe.recent_windows is None else _known_rows(table, max(0, model - recipe.recent_windows))
    taken = slice(oldest if oldest < rows else max(0, rows - _FEWEST_ROWS), rows)
    began = time.thread_time()
    scorer = recipe.fit(table.inputs[taken], table.labels[taken], table.task, number=model)
    fit_s = time.thread_time() - began
    later = np.flatnonzero(table.windows >= model)
    losses = scorer.losses(table.inputs[later], table.labels[later])
    windows = table.windows[later]
    own = {j: losses[windows == j] for j in range(model, table.count)}
    drifted = _drifted(table, taken, model) if drift else ()
    return ModelLosses(model, own, fit_s, rows, drifted)


def joined(table: PreparedTable, first: int, columns: Iterable[ModelLosses], *, drift: bool) -> LossMatrix:
    """The matrix of all models' parts."""
    drifted: set[tuple[int, int]] = set()
    losses, fit_s, rows = {}, {}, {}
    for column in columns:
        losses.update({(column.model, j): values for j, values in column.losses.items()})
        fit_s[column.model], rows[column.model] = column.fit_s, column.rows
        drifted.update((column.model, j) for j in column.drifted)
    oldest = min(fit_s)
    facts = MatrixFacts(
        metric="squared error" if table.task.metric == "rmse" else table.task.metric.replace("_", " "),
        starts=table.starts,
        label_delay=table.label_delay,
        fit_s=fit_s,
        training_rows=rows,
        drifted=frozenset(drifted) if drift else None,
        notes=table.notes,
    )
    return LossMatrix(losses, first=first, known=_known(table, oldest), facts=facts)


def _known_rows(table: PreparedTable, window: int) -> int:
    """Rows whose labels had come at the start of a window: the first ones of the table."""
    return int(np.searchsorted(table.known_us, table.starts_us[window], side="right"))


def _oldest(table: PreparedTable, first: int) -> int:
    """The first window at whose start enough labels had come for a model, in the later half of the training windows."""
    for window in range((first + 1) // 2, first):
        if _known_rows(table, window) >= _FEWEST_ROWS:
            return window
    return first


def _known(table: PreparedTable, oldest: int) -> npt.NDArray[np.int64]:
    """Rows of each window whose labels had come, by the start of each later window."""
    size = table.count - oldest
    known = np.zeros((size, size + 1), dtype=np.int64)
    for j in range(size):
        arrived = table.known_us[table.windows == j + oldest]
        known[j] = np.searchsorted(arrived, table.starts_us[oldest:], side="right")
    return known


def _drifted(table: PreparedTable, taken: slice, model: int) -> tuple[int, ...]:
    """Windows whose inputs lie apart from the newest rows the model was fitted on."""
    newest = slice(max(taken.start, taken.stop - _REFERENCE_ROWS), taken.stop)
    reference = Reference.fit(_arrow(table, table.inputs[newest]))
    found = []
    for j in range(model, table.count):
        rows = table.inputs[table.windows == j]
        if len(rows) and reference.compare(reference.profile(_arrow(table, rows))).drifted:
            found.append(j)
    return tuple(found)


def _arrow(table: PreparedTable, inputs: npt.NDArray[np.float32]) -> pa.Table:
    return pa.table({name: inputs[:, position] for position, name in enumerate(table.task.inputs)})


def _threads(count: int) -> Mapper:
    def run(table: PreparedTable, models: Iterable[int], recipe: Recipe, drift: bool) -> Iterator[ModelLosses]:
        from threadpoolctl import threadpool_limits

        def fit(model: int) -> ModelLosses:
            return fit_model(table, model, recipe, drift=drift)

        with threadpool_limits(limits=1):  # a fit has one thread; the fits are what runs side by side
            if count == 1:
                yield from map(fit, models)
                return
            pool = ThreadPoolExecutor(count, thread_name_prefix="laboratory")
            try:
                yield from pool.map(fit, models)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    return run
