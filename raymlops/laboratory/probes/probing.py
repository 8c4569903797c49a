"""Probes of a served model: one small fit a window, scored on later windows. A closed window adds to what stands."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.clock import from_us, to_us
from raymlops.errors import NotEnoughRows
from raymlops.laboratory.probed import ProbedWindow
from raymlops.laboratory.probes.probe_files import Codes, ProbeFolder, Rows
from raymlops.laboratory.probes.probe_grid import ProbeGrid
from raymlops.laboratory.probes.recorded import EVENT_TIME, KNOWN, LABEL
from raymlops.laboratory.recipe import Recipe, Scorer
from raymlops.records.learning.labels import label_text
from raymlops.records.learning.tasks import LearningTask

__all__ = ["FEWEST_ROWS", "Probing"]

FEWEST_ROWS = 50
"""A probe is fitted on so many rows at least, and a window scored on so many."""
_MOST_WINDOWS = 120
"""Older windows are forgotten."""
_HISTORY_WINDOWS = 8
"""Windows of the training set that are probed before the first live one, at most."""
_HISTORY_SAMPLES = 3
"""The history's rows are kept up to so many times what a probe is fitted on."""
_WHOLE = 20
"""A window is whole where its last row comes within this part of it before its end."""
_MOST_WEIGHT = 10.0
"""A recorded row counts for so many at most."""
_log = logging.getLogger(__name__)


class Probing:
    """Fits and scores the probes of one model. Not thread-safe; one process at a time.

    Args:
        folder: The folder of the probes.
        grid: The grid of the probes.
    """

    def __init__(self, folder: ProbeFolder, grid: ProbeGrid) -> None:
        self._folder = folder
        self._grid = grid
        self._recipe = Recipe(max_rows=grid.max_rows)
        self._step_us = grid.length // timedelta(microseconds=1)

    @property
    def has_history(self) -> bool:
        """Whether a training set's rows are kept."""
        return bool(self._folder.note())

    def take_history(self, until: datetime, table: Callable[[], pa.Table]) -> None:
        """Keep a training set's rows, in place of those of an older one; it is not read where it is not newer.

        Args:
            until: The instant up to which the training set was made.
            table: Reads it: the inputs, ``LABEL``, ``EVENT_TIME`` and ``KNOWN``.
        """
        if self._folder.note().get("until_us", -1) >= to_us(until):
            return
        kept = self._encoded(table(), _HISTORY_SAMPLES * self._grid.max_rows)
        self._folder.keep_history(kept, {"until_us": to_us(until), "rows": kept.total})

    def probe(self, start: datetime, recorded: pa.Table, at: datetime) -> ProbedWindow:
        """Fit the probe of a window that has closed, and score it and all older ones on the window.

        Args:
            start: Of the window.
            recorded: Its labelled rows: the inputs, ``LABEL``, ``EVENT_TIME`` and ``KNOWN``.
            at: The present instant.

        Raises:
            NotEnoughRows: The window, or what was known at its start, has too few rows.
        """
        start_us = to_us(start)
        rows = self._encoded(recorded, self._grid.max_rows)
        self._folder.keep_rows(str(start_us), rows)
        shown = {window.start: window for window in self._folder.shown()}
        if not shown:
            shown |= {window.start: window for window in self._probe_history(start_us, at)}
        found = shown[start] = self._score(start_us, rows, at)
        oldest = from_us(start_us - _MOST_WINDOWS * self._step_us)
        self._folder.keep_shown(window for window in shown.values() if window.start >= oldest)
        self._folder.forget(to_us(oldest))
        return found

    def prepare(self, start: datetime) -> None:
        """Fit the probe of a window that has begun, so that only scoring is left to do when it closes.

        Args:
            start: Of the window.

        Raises:
            NotEnoughRows: Too few rows were known at its start.
        """
        if self._folder.probe(to_us(start)) is None:
            self._folder.keep_probe(to_us(start), self._fitted(to_us(start)).arrays())

    def _probe_history(self, before_us: int, at: datetime) -> list[ProbedWindow]:
        """Probe the later half of the training set's windows: the first live windows need something before them."""
        history = self._folder.history()
        if history is None or not len(history):
            return []
        # the first window may be a part of one, and so may the last
        first = self._grid.start(int(history.at_us[0])) + self._step_us
        last = self._grid.start(int(history.at_us[-1]) + self._step_us // _WHOLE)
        starts = range(first, min(last, before_us), self._step_us)
        taken = list(starts)[-min(_HISTORY_WINDOWS, (len(starts) + 1) // 2) :] if starts else []
        found = []
        for start_us in taken:
            within = history.only((history.at_us >= start_us) & (history.at_us < start_us + self._step_us))
            try:
                rows = within.drawn(self._grid.max_rows, (9, start_us % 2**32))
                found.append(self._score(start_us, rows, at))
            except NotEnoughRows as error:
                _log.info("a window of the training set is left out: %s", error)
        return found

    def _score(self, start_us: int, rows: Rows, at: datetime) -> ProbedWindow:
        start = from_us(start_us)
        if len(rows) < FEWEST_ROWS:
            raise NotEnoughRows(
                f"probes need {FEWEST_ROWS} labelled rows in the window from {start.isoformat()}, got {len(rows)}"
            )
        self.prepare(start)
        places = [place for place in self._folder.probes() if place <= start_us][-_MOST_WINDOWS:]
        losses = np.array([self._scorer(place).losses(rows.inputs, rows.labels) for place in places], np.float64)
        differences = losses - losses[-1]
        return ProbedWindow(
            start=start,
            end=from_us(start_us + self._step_us),
            at=at,
            rows=len(rows),
            loss=float(losses[-1].mean()),
            probes=tuple(map(from_us, places)),
            regrets=tuple(differences.mean(axis=1).tolist()),
            errors=tuple((differences.std(axis=1, ddof=1) / np.sqrt(len(rows))).tolist()),
        )

    def _fitted(self, start_us: int) -> Scorer:
        rows = self._known_at(start_us)
        if len(rows) < FEWEST_ROWS:
            raise NotEnoughRows(
                f"a probe needs {FEWEST_ROWS} labelled rows, got {len(rows)} that were known at "
                f"{from_us(start_us).isoformat()}"
            )
        return self._recipe.fit(rows.inputs, rows.labels, self._task(), number=start_us % 2**32)

    def _known_at(self, instant_us: int) -> Rows:
        """Rows whose labels had come by an instant: the training set's, and after it what was recorded.

        Requests may be a sample of what models are trained on: a recorded row counts as so many rows as make a recorded
        window count like one of the training set.
        """
        history = self._folder.history()
        recorded, since_us, rate = [], -1, 0.0
        old = [] if history is None or not len(history) else [history.only(history.known_us <= instant_us)]
        if history is not None and len(history):
            since_us = int(history.at_us[-1])
            rate = history.total * self._step_us / max(self._step_us, since_us - int(history.at_us[0]))
        for start_us in self._folder.windows():
            if start_us < instant_us and start_us + self._step_us > since_us:
                rows = self._folder.rows(str(start_us))
                if rows is not None:
                    rate_of = min(max(1.0, rate / max(1, rows.total)), _MOST_WEIGHT)
                    kept = rows.only((rows.known_us <= instant_us) & (rows.at_us > since_us))
                    recorded.append(replace(kept, total=round(kept.total * rate_of)))
        return _mixed([part for part in (*old, *recorded) if len(part)], len(self._grid.inputs), self._grid.max_rows)

    def _scorer(self, start_us: int) -> Scorer:
        arrays = self._folder.probe(start_us)
        if arrays is None:
            raise NotEnoughRows(f"there is no probe of {from_us(start_us).isoformat()}")
        return Scorer.of_arrays(arrays, self._recipe, self._task())

    def _task(self) -> LearningTask:
        regression = self._grid.regression
        return LearningTask(
            kind="regressor" if regression else "classifier",
            inputs=self._grid.inputs,
            label=LABEL,
            event_time=EVENT_TIME,
            metric="rmse" if regression else "log_loss",
            classes=max(2, len(self._folder.codes().labels)),
        )

    def _encoded(self, table: pa.Table, most: int) -> Rows:
        """At most so many of a table's labelled rows as numbers, in the order of their event times.

        Texts that are new get the next numbers.
        """
        table = table.filter(pc.is_valid(table[LABEL])).sort_by([(EVENT_TIME, "ascending")])
        total = table.num_rows
        if total > most:
            picked = np.random.default_rng([8, total]).choice(total, most, replace=False)
            table = table.take(pa.array(np.sort(picked)))
        codes = self._folder.codes()
        known, columns = dict(codes.inputs), []
        for name in self._grid.inputs:
            if name in self._grid.texts:
                values, known[name] = _numbered(table[name].cast(pa.string()).to_pylist(), known.get(name, ()))
            else:
                values = np.asarray(pc.fill_null(table[name].cast(pa.float64(), safe=False), np.nan))
            columns.append(values.astype(np.float32))
        labels, classes = self._labels(table[LABEL], codes.labels)
        told = Codes(inputs=known, labels=classes)
        if told != codes:
            self._folder.keep_codes(told)
        inputs = np.column_stack(columns) if columns else np.zeros((table.num_rows, 0), np.float32)
        return Rows(inputs, labels, _us(table[EVENT_TIME]), _us(table[KNOWN]), total=total)

    def _labels(
        self, column: pa.ChunkedArray, known: tuple[str, ...]
    ) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
        if self._grid.regression:
            return np.asarray(column.cast(pa.float64())), known
        return _numbered([label_text(value) for value in column.to_pylist()], known)


def _numbered(values: Sequence[str | None], known: tuple[str, ...]) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """The number of each text; a missing one is NaN."""
    numbers = {text: number for number, text in enumerate(known)}
    found = [np.nan if value is None else numbers.setdefault(value, len(numbers)) for value in values]
    return np.array(found, dtype=np.float64), tuple(numbers)


def _us(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.asarray(column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()))


def _mixed(parts: Sequence[Rows], inputs: int, most: int) -> Rows:
    """At most so many rows in which each part has its share: as many as it stands for, whatever it holds."""
    if not parts:
        nothing = np.zeros(0, np.int64)
        return Rows(np.zeros((0, inputs), np.float32), np.zeros(0), nothing, nothing, total=0)
    whole = Rows(
        np.concatenate([part.inputs for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.at_us for part in parts]),
        np.concatenate([part.known_us for part in parts]),
        total=sum(part.total for part in parts),
    )
    if len(whole) == whole.total <= most:
        return whole
    weights = np.concatenate([np.full(len(part), part.total / len(part)) for part in parts])
    places = np.random.default_rng([7, len(whole)]).choice(
        len(whole), min(most, whole.total), p=weights / weights.sum()
    )
    places.sort()
    picked = whole.inputs[places], whole.labels[places], whole.at_us[places], whole.known_us[places]
    return Rows(*picked, total=whole.total)
