"""Sums of doubles without rounding error, in NumPy.

A double is cut into digits of 32 bits at fixed places: digit ``k`` counts multiples of ``2 ** (32 * k)``. Digits are
integers, so their running sums, and differences of those, are exact. The sum over any window is therefore the same
bits however it is come by: from the start of a table, or from the few rows an online store keeps. Rounding happens
once, at the end, in ``total``, ``mean`` and ``deviation``, which take NumPy arrays and Python numbers alike and do the
same IEEE operations on both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Digits", "deviation", "digits_of", "digits_of_squares", "mean", "total"]

_BITS = 32
_BASE = 2.0**_BITS
_MASK = 2**_BITS - 1
_EXACT = 2**53
_LOWEST = -33  # 2 ** (32 * -33) is the last place that a double can hold as a unit; smaller parts count as 0
_SPLIT = 134_217_729.0  # 2**27 + 1, Veltkamp
_NEGLIGIBLE = 2.0**-98  # of the terms of a difference in double-double arithmetic

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Digits:
    """The digits of n numbers: ``rows[i, j]`` is digit ``lowest + i`` of number ``j``.

    Running sums of digits are held in the same shape.
    """

    lowest: int
    rows: Ints

    def padded(self, lowest: int, count: int) -> Ints:
        """The rows for ``count`` digits from ``lowest`` on, zeros where there were none; they must cover all."""
        if lowest == self.lowest and count == len(self.rows):
            return self.rows
        wide = np.zeros((count, self.rows.shape[1]), np.int64)
        first = self.lowest - lowest
        wide[first : first + len(self.rows)] = self.rows
        return wide

    def running(self) -> Digits:
        """Running sums, one longer: column ``j`` is the sum of the first ``j`` numbers."""
        sums = np.zeros((len(self.rows), self.rows.shape[1] + 1), np.int64)
        np.cumsum(self.rows, axis=1, out=sums[:, 1:])
        return Digits(self.lowest, sums)


def span_of(parts: Sequence[Digits]) -> tuple[int, int]:
    """Lowest digit, and number of digits, that cover all parts."""
    lowest = min(part.lowest for part in parts)
    return lowest, max(part.lowest + len(part.rows) for part in parts) - lowest


def digits_of(values: Floats) -> Digits:
    """Cut finite doubles of at most ``LARGEST`` squared into digits."""
    whole = np.trunc(values)
    if np.array_equal(whole, values) and (not len(values) or np.abs(values).max() < _BASE):
        return Digits(0, whole.astype(np.int64)[np.newaxis])
    _, exponent = np.frexp(values)
    top = (exponent.astype(np.int64) - 1) // _BITS
    lowest = max(int(top.min()) - 2, _LOWEST)
    rows = np.zeros((max(int(top.max()), lowest) - lowest + 1, len(values)), np.int64)
    columns = np.arange(len(values))
    rest = np.ldexp(values, -_BITS * top)
    for place in (top, top - 1, top - 2):  # 53 bits touch three digits at most
        digit = np.trunc(rest)
        kept = place >= _LOWEST
        rows[place[kept] - lowest, columns[kept]] = digit[kept]
        rest = (rest - digit) * _BASE
    return _trimmed(lowest, rows)


def digits_of_squares(values: Floats) -> Digits:
    """Cut the exact squares of finite doubles of at most ``LARGEST`` into digits."""
    square, error = _product(values, values)
    high = digits_of(square)
    if not error.any():
        return high
    low = digits_of(error)
    lowest, count = span_of((high, low))
    return Digits(lowest, high.padded(lowest, count) + low.padded(lowest, count))


def _trimmed(lowest: int, rows: Ints) -> Digits:
    used = np.flatnonzero(rows.any(axis=1))
    if not len(used):
        return Digits(0, rows[:1])
    return Digits(lowest + int(used[0]), rows[used[0] : used[-1] + 1])


def total(sums: Sequence[Any], lowest: int) -> tuple[Any, Any]:
    """Round an exact sum to a double-double: the same for the same sum, whatever digits it came in.

    Args:
        sums: Sums of digits, lowest first: Python ints, or int64 arrays.
        lowest: Place of the first digit.

    Returns:
        The nearest double but for rare half-way cases, and what is left.
    """
    if len(sums) == 1 and type(sums[0]) is int and -_EXACT < sums[0] < _EXACT:
        return sums[0] * 2.0 ** (_BITS * lowest), 0.0  # what the rest gives too, sooner
    sign = 1 - 2 * (_carried(sums)[-1] < 0)
    digits = _carried([digit * sign for digit in sums])
    digits.append(digits[-1] >> _BITS)
    digits[-2] &= _MASK
    high, low = digits[-1] * 0.0, digits[-1] * 0.0
    for place in range(len(digits) - 1, -1, -1):
        term = digits[place] * 2.0 ** (_BITS * (lowest + place))
        high, error = _sum(high, term)
        high, low = _fast_sum(high, low + error)
    return high * sign, low * sign


def mean(sums: Sequence[Any], lowest: int, count: Any) -> Any:
    """The sum over the count; ``count`` must not be 0."""
    return total(sums, lowest)[0] / count


def deviation(sums: Sequence[Any], lowest: int, squares: Sequence[Any], squares_lowest: int, count: Any) -> Any:
    """Standard deviation of the population, by double-double arithmetic; ``count`` must not be 0.

    Args:
        sums: As in ``total``.
        lowest: Place of the first digit.
        squares: Sums of the digits of the squares.
        squares_lowest: Place of their first digit.
        count: How many numbers were summed.

    Returns:
        The deviation; 0 where it is below the resolution of the arithmetic.
    """
    number = count * 1.0
    scaled = _times(*total(squares, squares_lowest), number)
    squared = _squared(*total(sums, lowest))
    high, error = _sum(scaled[0], -squared[0])
    difference = high + (error + (scaled[1] - squared[1]))
    difference = difference * (difference > scaled[0] * _NEGLIGIBLE)
    return np.sqrt(difference / (number * number))


def _carried(digits: Sequence[Any]) -> list[Any]:
    """The same number with all digits but the topmost in ``[0, 2**32)``."""
    carried = list(digits)
    for place in range(len(carried) - 1):
        carried[place + 1] = carried[place + 1] + (carried[place] >> _BITS)
        carried[place] = carried[place] & _MASK
    return carried


def _sum(a: Any, b: Any) -> tuple[Any, Any]:
    rounded = a + b
    part = rounded - a
    return rounded, (a - (rounded - part)) + (b - part)


def _fast_sum(a: Any, b: Any) -> tuple[Any, Any]:
    rounded = a + b
    return rounded, b - (rounded - a)


def _product(a: Any, b: Any) -> tuple[Any, Any]:
    product = a * b
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _halves(a: Any) -> tuple[Any, Any]:
    scaled = a * _SPLIT
    high = scaled - (scaled - a)
    return high, a - high


def _times(high: Any, low: Any, factor: Any) -> tuple[Any, Any]:
    product, error = _product(high, factor)
    return _fast_sum(product, error + low * factor)


def _squared(high: Any, low: Any) -> tuple[Any, Any]:
    product, error = _product(high, high)
    return _fast_sum(product, error + 2.0 * (high * low))
