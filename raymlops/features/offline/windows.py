"""Exact window aggregates as of many instants at once, from running sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.features.definitions.schema import arrow_type
from raymlops.features.definitions.validity import span_us
from raymlops.features.offline.distinct import DistinctValues
from raymlops.features.offline.exact import Digits, deviation, digits_of, digits_of_squares, mean, total

if TYPE_CHECKING:
    from raymlops.features.definitions.views import FeatureView, WindowAggregate
    from raymlops.features.offline.timeline import Timeline

__all__ = ["Answers", "aggregate_windows"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """Values of one aggregate, one per question, and which of them are not null."""

    values: npt.NDArray[Any]
    valid: Mask


@dataclass(frozen=True)
class _Window:
    """One window's bounds for all questions: positions in event order, and in known order."""

    span_us: int
    keys: Ints
    after_us: Ints
    first: Ints
    until: Ints


class _Column:
    """One field of a timeline, as the aggregates need it."""

    def __init__(self, timeline: Timeline, name: str) -> None:
        self._timeline = timeline
        self._column = timeline.column(name)

    @cached_property
    def present(self) -> Mask | None:
        """Where the field is not null; ``None`` if everywhere."""
        if not self._column.null_count:
            return None
        mask: Mask = pc.is_valid(self._column).to_numpy()
        return mask

    @cached_property
    def numbers(self) -> npt.NDArray[Any]:
        """The values, nulls as 0: doubles, or int64 for integers and timestamps."""
        column = self._column
        if pa.types.is_boolean(column.type) or pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        numbers: npt.NDArray[Any] = pc.fill_null(column, 0).to_numpy()
        return numbers

    @cached_property
    def distinct(self) -> DistinctValues:
        return DistinctValues(self._timeline, self._column)

    @cached_property
    def digits(self) -> Digits:
        return digits_of(self.numbers.astype(np.float64))

    @cached_property
    def square_digits(self) -> Digits:
        return digits_of_squares(self.numbers.astype(np.float64))

    @cached_property
    def _running(self) -> dict[str, Digits]:
        return {}

    def sums(self, kind: str, window: _Window) -> tuple[list[Ints], int]:
        """Sums of the digits over the window, lowest first, and the place of the first."""
        digits = self.digits if kind == "digits" else self.square_digits
        if self._timeline.known_order is None:
            if kind not in self._running:
                self._running[kind] = digits.running()
            running = self._running[kind].rows
            return [row[window.until] - row[window.first] for row in running], digits.lowest
        used = np.where(self._used(window), digits.rows, 0)
        return list(self._difference(used, window)), digits.lowest

    def counts(self, window: _Window) -> Ints:
        """Values present in the window."""
        if self._timeline.known_order is not None:
            used = self._used(window)
            used = used if self.present is None else used & self.present
            counts: Ints = self._difference(used.astype(np.int64)[np.newaxis], window)[0]
            return counts
        if self.present is None:
            return window.until - window.first
        running = np.concatenate([[0], np.cumsum(self.present)])
        within: Ints = running[window.until] - running[window.first]
        return within

    def _used(self, window: _Window) -> Mask:
        # A row is in the window at T if known <= T < event + span: never, if it became known too late.
        return self._timeline.known_us < self._timeline.event_us + window.span_us

    def _difference(self, weights: Ints, window: _Window) -> Ints:
        """What became known until T, less what left the window until T."""
        came = Digits(0, self._timeline.in_known_order(weights)).running().rows
        left = Digits(0, weights).running().rows
        return came[:, window.until] - left[:, window.first]

    def extreme(self, function: str, window: _Window, at_us: Ints, counts: Ints) -> npt.NDArray[Any]:
        """Smallest or largest value of each window that has one."""
        numbers, pick = self.numbers, np.minimum if function == "min" else np.maximum
        if self.present is not None:
            limits = np.iinfo(np.int64) if numbers.dtype == np.int64 else np.finfo(np.float64)
            numbers = np.where(self.present, numbers, limits.max if function == "min" else limits.min)
        if self._timeline.known_order is None:
            return _range_extremes(numbers, pick, window.first, window.until)
        return self._extremes_one_by_one(numbers, pick, window, at_us, counts)

    def _extremes_one_by_one(
        self, numbers: npt.NDArray[Any], pick: np.ufunc, window: _Window, at_us: Ints, counts: Ints
    ) -> npt.NDArray[Any]:
        line = self._timeline
        until = line.event.count_until(window.keys, at_us)
        result = np.zeros(len(at_us), numbers.dtype)
        for row in np.flatnonzero(counts):
            part = slice(window.first[row], until[row])
            result[row] = pick.reduce(numbers[part][line.known_us[part] <= at_us[row]])
        return result

    def last(self, window: _Window) -> tuple[Ints, Mask]:
        """Position of the newest value present in the window, and whether there is one."""
        found = self._timeline.latest(window.keys, window.until, self.present)
        known = found >= 0
        if not len(self._timeline):
            return found, known
        return found, known & (self._timeline.event_us[found] > window.after_us)


def _range_extremes(numbers: npt.NDArray[Any], pick: np.ufunc, first: Ints, until: Ints) -> npt.NDArray[Any]:
    """Extremes of ``numbers[first:until]``: two overlapping spans of a power of two cover every range."""
    length = until - first
    result = np.zeros(len(first), numbers.dtype)
    level, span, covered = numbers, 1, length > 0
    while covered.any():
        rows = np.flatnonzero(covered & (length < 2 * span))
        result[rows] = pick(level[first[rows]], level[until[rows] - span])
        covered &= length >= 2 * span
        if covered.any():
            level = pick(level[:-span], level[span:])
            span *= 2
    return result


def aggregate_windows(
    timeline: Timeline, aggregates: Iterable[WindowAggregate], keys: Ints, at_us: Ints
) -> Mapping[str, Answers]:
    """Compute aggregates as of an instant each.

    Args:
        timeline: Rows of the view.
        aggregates: Some of its view's.
        keys: Numbers of the keys asked about, all known to the timeline.
        at_us: Instants asked about.

    Returns:
        Aggregate name -> answers in the order of ``keys``.
    """
    until = timeline.known.count_until(keys, at_us)
    columns: dict[str, _Column] = {}
    windows: dict[int, _Window] = {}
    counts: dict[tuple[str, int], Ints] = {}
    answers = {}
    for aggregate in aggregates:
        span = span_us(aggregate.window)
        if span not in windows:
            after = at_us - span
            windows[span] = _Window(span, keys, after, timeline.event.count_until(keys, after), until)
        if aggregate.field not in columns:
            columns[aggregate.field] = _Column(timeline, aggregate.field)
        column, window = columns[aggregate.field], windows[span]
        if (aggregate.field, span) not in counts:
            counts[aggregate.field, span] = column.counts(window)
        answers[aggregate.name] = _answer(aggregate, column, window, at_us, counts[aggregate.field, span])
    return answers


def _answer(aggregate: WindowAggregate, column: _Column, window: _Window, at_us: Ints, counts: Ints) -> Answers:
    some = counts > 0
    divisor = np.maximum(counts, 1)
    match aggregate.function:
        case "count" | "distinct":
            if aggregate.function == "distinct":
                counts = column.distinct.count(window.span_us, window.keys, at_us)
            return Answers(counts, np.ones(len(counts), np.bool_))
        case "sum":
            return Answers(total(*column.sums("digits", window))[0], some)
        case "mean":
            return Answers(mean(*column.sums("digits", window), divisor), some)
        case "std":
            sums = (*column.sums("digits", window), *column.sums("squares", window))
            return Answers(deviation(*sums, divisor), some)
        case "min" | "max":
            return Answers(column.extreme(aggregate.function, window, at_us, counts), some)
        case "last":
            return Answers(*column.last(window))


def answers_column(view: FeatureView, aggregate: WindowAggregate, timeline: Timeline, answers: Answers) -> Any:
    """The answers as an Arrow array of the aggregate's type."""
    if aggregate.function == "last":
        return timeline.table[aggregate.field].take(timeline.places(answers.values, answers.valid))
    column = pa.array(answers.values, mask=~answers.valid)
    return column.cast(arrow_type(view.dtype_of(aggregate.name)))
