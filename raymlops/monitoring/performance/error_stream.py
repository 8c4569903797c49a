"""Abrupt changes of a model's errors, found between windows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from raymlops.errors import ConfigError, DataError
from raymlops.records.windows import ErrorStreamState

__all__ = ["ErrorStream"]

BUCKETS_PER_LEVEL = 6

Floats = NDArray[np.float64]


@dataclass
class _Bucket:
    """Neighbouring rows, summed."""

    rows: int
    total: float
    squares: float


class ErrorStream:
    """Watches a stream of errors (0 or 1) or losses for a change of their mean, up or down.

    The recent past is compared with all that lies before it since the last change, for every length of the recent past
    that an exponential histogram offers, and a change is signalled where the means lie ``threshold`` standard errors
    apart. Memory grows with the logarithm of the rows. An error rate that rises from 0.12 to 0.25 is found after 170
    rows in the mean with the defaults. Rows between two false alarms on a steady stream of independent errors (average
    run length, measured over 2 million rows each):

    =============  ===========  ===========  ===========  ================  ==================
    ``threshold``  rate 0.02    rate 0.1     rate 0.4     losses, exp(1)    losses, lognormal
    =============  ===========  ===========  ===========  ================  ==================
    3.5            500,000      57,000       7,800        29,000            65,000
    4.0            2,000,000    670,000      45,000       290,000           2,000,000
    4.5            > 2,000,000  > 2,000,000  1,000,000    1,000,000         > 2,000,000
    5.0            > 2,000,000  > 2,000,000  > 2,000,000  > 2,000,000       > 2,000,000
    =============  ===========  ===========  ===========  ================  ==================

    Not thread-safe. The result does not depend on how the stream is cut into updates.

    Args:
        threshold: Standard errors; higher means fewer alarms and longer delays.
        stride: Rows between two looks.
        min_rows: Least rows on either side of a change.

    Raises:
        ConfigError: An argument is not positive.

    Example:
        >>> stream = ErrorStream()
        >>> stream.update([0, 0, 0, 1] * 500)
        []
        >>> stream.update([1, 1, 1, 0] * 500)
        [2031]
    """

    def __init__(self, *, threshold: float = 4.5, stride: int = 16, min_rows: int = 32) -> None:
        for name, value in (("threshold", threshold), ("stride", stride), ("min_rows", min_rows)):
            if not value > 0:
                raise ConfigError(f"{name} must be positive, got {value}")
        self._threshold = threshold
        self._stride = stride
        self._min_rows = min_rows
        self._seen = 0
        self._pending: list[float] = []
        self._levels: list[list[_Bucket]] = []

    @property
    def rows(self) -> int:
        """Rows seen since the start."""
        return self._seen + len(self._pending)

    @property
    def mean(self) -> float:
        """Mean error since the last change; NaN where no whole stride has passed."""
        rows = sum(bucket.rows for level in self._levels for bucket in level)
        return sum(bucket.total for level in self._levels for bucket in level) / rows if rows else math.nan

    def state(self, metric: str) -> ErrorStreamState:
        """All that is held, to go on from elsewhere.

        Args:
            metric: Name of the errors' metric.
        """
        levels = tuple(tuple((b.rows, b.total, b.squares) for b in level) for level in self._levels)
        return ErrorStreamState(metric=metric, seen=self._seen, pending=tuple(self._pending), levels=levels)

    def resume(self, state: ErrorStreamState) -> Self:
        """Continue from the state of another stream with the same settings; returns this stream."""
        self._seen, self._pending = state.seen, list(state.pending)
        self._levels = [[_Bucket(*bucket) for bucket in level] for level in state.levels]
        return self

    def update(self, errors: Iterable[float]) -> list[int]:
        """Take in errors, in order.

        Returns:
            Positions of rows, counted from 0 since the start, at which a change was signalled.

        Raises:
            DataError: An error is not a finite number; nothing was taken in.
        """
        values = np.asarray(errors if isinstance(errors, np.ndarray) else list(errors), dtype=np.float64).ravel()
        if not np.isfinite(values).all():
            raise DataError(f"errors must be finite, got {values[~np.isfinite(values)][0]}")
        signalled = []
        waiting = np.concatenate([np.asarray(self._pending), values])
        whole = waiting.size - waiting.size % self._stride
        for chunk in waiting[:whole].reshape(-1, self._stride):
            self._seen += self._stride
            self._add(_Bucket(self._stride, float(chunk.sum()), float(chunk @ chunk)))
            if self._changed():
                signalled.append(self._seen - 1)
        self._pending = waiting[whole:].tolist()
        return signalled

    def _add(self, bucket: _Bucket) -> None:
        """Level ``k`` holds buckets of ``stride * 2**k`` rows, the newest last; the two oldest of a full one merge."""
        carry: _Bucket | None = bucket
        for level in self._levels:
            assert carry is not None
            level.append(carry)
            if len(level) <= BUCKETS_PER_LEVEL:
                return
            first, second = level.pop(0), level.pop(0)
            carry = _Bucket(first.rows + second.rows, first.total + second.total, first.squares + second.squares)
        assert carry is not None
        self._levels.append([carry])

    def _changed(self) -> bool:
        """Look for a change; where there is one, forget what lies before it."""
        buckets = [bucket for level in reversed(self._levels) for bucket in level]
        sums = np.array([(bucket.rows, bucket.total, bucket.squares) for bucket in buckets])
        before = np.cumsum(sums, axis=0)[:-1]
        after = sums.sum(axis=0) - before
        possible = (before[:, 0] >= self._min_rows) & (after[:, 0] >= self._min_rows)
        if not possible.any():
            return False
        distance = np.where(possible, _standard_errors(before, after), 0.0)
        best = int(distance.argmax())
        if distance[best] <= self._threshold:
            return False
        self._levels = []
        for bucket in buckets[best + 1 :]:
            self._keep(bucket)
        return True

    def _keep(self, bucket: _Bucket) -> None:
        level = (bucket.rows // self._stride).bit_length() - 1
        while len(self._levels) <= level:
            self._levels.append([])
        self._levels[level].append(bucket)


def _standard_errors(before: Floats, after: Floats) -> Floats:
    """Distance of the two means at each split, in standard errors; columns are rows, total and squares."""
    n, m = before[:, 0], after[:, 0]
    gap = before[:, 1] / n - after[:, 1] / m
    own = [np.maximum(side[:, 2] - side[:, 1] ** 2 / side[:, 0], 0.0) for side in (before, after)]
    # One row's worth of spread more: a stretch without any error does not prove that there never is one.
    pooled = (own[0] + own[1] + np.maximum(before[:, 2] / n, after[:, 2] / m)) / (n + m - 1)
    # The larger of two estimates: few rare or heavy-tailed errors inflate their own spread as much as their mean.
    apart = own[0] / (n - 1) / n + own[1] / (m - 1) / m
    variance = np.maximum(pooled * (1 / n + 1 / m), apart)
    distance: Floats = np.abs(gap) / np.sqrt(np.maximum(variance, 1e-300))
    return distance
