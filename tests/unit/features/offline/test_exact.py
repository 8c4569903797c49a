from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.features.definitions.schema import LARGEST
from raymlops.features.offline.exact import Digits, deviation, digits_of, digits_of_squares, mean, span_of, total

doubles = st.one_of(
    st.floats(-LARGEST, LARGEST, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-250),
    st.integers(-(2**53), 2**53).map(float),
    st.sampled_from([0.1, 1e16, -1e16, 1e-30, 2.0**53 + 2, -0.0, LARGEST, -LARGEST]),
)
fast = settings(max_examples=30, deadline=None)
many = st.lists(doubles, min_size=1, max_size=12)


def exactly(digits: Digits) -> list[Fraction]:
    places = [Fraction(2) ** (32 * (digits.lowest + i)) for i in range(len(digits.rows))]
    return [sum((int(d) * p for d, p in zip(row, places, strict=True)), Fraction(0)) for row in digits.rows.T]


def sums_of(digits: Digits) -> tuple[list[int], int]:
    return [int(s) for s in digits.rows.sum(axis=1)], digits.lowest


@fast
@given(many)
def test_digits_hold_numbers_and_squares_exactly(values: list[float]) -> None:
    given_values = np.array(values)
    assert exactly(digits_of(given_values)) == [Fraction(x) for x in values]
    squares = digits_of_squares(given_values)
    small = Fraction(2) ** -1056
    for got, value in zip(exactly(squares), values, strict=True):
        assert abs(got - Fraction(value) ** 2) < small


@fast
@given(many)
def test_running_sums_differ_by_exact_sums(values: list[float]) -> None:
    running = exactly(digits_of(np.array(values)).running())
    for first in range(len(values)):
        for until in range(first, len(values) + 1):
            assert running[until] - running[first] == sum(map(Fraction, values[first:until]), Fraction(0))


@fast
@given(many)
def test_a_total_is_rounded_once(values: list[float]) -> None:
    exact = sum(map(Fraction, values), Fraction(0))
    high, low = total(*sums_of(digits_of(np.array(values))))
    assert math.isclose(high, float(exact), rel_tol=3e-16, abs_tol=0.0)
    assert abs(Fraction(high) + Fraction(low) - exact) <= abs(exact) * Fraction(2) ** -100


@fast
@given(many, st.integers(0, 3), st.integers(0, 3))
def test_the_result_depends_on_the_sum_alone(values: list[float], below: int, above: int) -> None:
    """More digits, another order, a Python number or an array: the same bits."""
    digits, squares = digits_of(np.array(values)), digits_of_squares(np.array(values))
    plain = sums_of(digits)
    wide = digits.padded(digits.lowest - below, below + len(digits.rows) + above)
    padded = ([int(s) for s in wide.sum(axis=1)], digits.lowest - below)
    backwards = sums_of(digits_of(np.array(values[::-1])))
    arrays = ([np.array([s]) for s in plain[0]], plain[1])
    count = len(values)

    def results(sums: Any, divisor: Any) -> list[float]:
        of_squares = sums_of(squares)
        if isinstance(divisor, np.ndarray):
            of_squares = ([np.array([s]) for s in of_squares[0]], of_squares[1])  # type: ignore[misc]
        parts = [*total(*sums), mean(*sums, divisor), deviation(*sums, *of_squares, divisor)]
        return [float(np.asarray(part).reshape(-1)[0]) for part in parts]

    assert results(plain, count) == results(padded, count) == results(backwards, count)
    assert results(plain, count) == results(arrays, np.array([count]))


@fast
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=10), st.sampled_from([0.0, 1.0, 1e9]))
def test_deviation_survives_a_large_mean(values: list[float], shift: float) -> None:
    shifted = np.array(values) + shift
    exact = [Fraction(x) for x in shifted.tolist()]
    average = sum(exact, Fraction(0)) / len(exact)
    want = math.sqrt(sum((x - average) ** 2 for x in exact) / len(exact))
    got = deviation(*sums_of(digits_of(shifted)), *sums_of(digits_of_squares(shifted)), len(values))
    assert math.isclose(got, want, rel_tol=1e-12, abs_tol=(abs(shift) + 1e6) * 1e-14)


@pytest.mark.parametrize("value", [0.1, 1e9 + 0.1, -7.0, 1e-9])
def test_equal_numbers_do_not_deviate(value: float) -> None:
    values = np.full(1_000, value)
    assert deviation(*sums_of(digits_of(values)), *sums_of(digits_of_squares(values)), 1_000) == 0.0


def test_small_integers_take_one_digit() -> None:
    assert digits_of(np.array([0.0, -5.0, 4e9])).rows.tolist() == [[0, -5, 4_000_000_000]]
    assert digits_of(np.array([])).rows.shape == (1, 0)
    assert digits_of_squares(np.array([])).running().rows.tolist() == [[0]]


def test_what_is_too_small_counts_as_nothing() -> None:
    assert total(*sums_of(digits_of(np.array([5e-324]))))[0] == 0.0
    assert total(*sums_of(digits_of(np.array([5e-324, 1.5]))))[0] == 1.5


def test_spans_cover_all_parts() -> None:
    parts = [digits_of(np.array([x])) for x in (1.0, 1e30, 1e-30)]
    lowest, count = span_of(parts)
    assert [part.padded(lowest, count).shape for part in parts] == [(count, 1)] * 3
    assert lowest == min(part.lowest for part in parts)
