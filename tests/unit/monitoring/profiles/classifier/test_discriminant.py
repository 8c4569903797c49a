"""The discriminant: by covariances and by inner products it is the same."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from raymlops.monitoring.profiles.classifier import discriminant
from raymlops.monitoring.profiles.classifier.discriminant import WIDE, _Narrow, _Wide, sides_of


def stretches(rows: int) -> np.typing.NDArray[np.intp]:
    return np.arange(rows) * 16 // rows


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(0, 99), st.integers(60, 200), st.integers(30, 100), st.integers(1, 150), st.floats(0, 1))
def test_inner_products_give_what_covariances_give(seed: int, sample: int, own: int, width: int, moved: float) -> None:
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.integers(-3, 4, width)
    past = rng.normal(size=(sample, width)) * scale
    past[:, rng.random(width) < 0.1] = 7.0  # constant
    rows = (rng.normal(size=(own, width)) + moved * rng.normal(size=width)) * scale
    expected, shares = _Narrow(past, stretches(sample)).tell(rows)
    area, found = _Wide(past, stretches(sample)).tell(rows)
    assert area == pytest.approx(expected, abs=2 / own / sample)
    assert found == pytest.approx(shares, rel=1e-6, abs=1e-6 * np.abs(shares).max())


@pytest.mark.parametrize("width", [20, 300])
def test_the_direction_is_that_of_a_weighed_ridge_regression(width: int) -> None:
    """By another's code: regressed on the side, rows of both sides weighing alike."""
    rng = np.random.default_rng(0)
    own, others = rng.normal(size=(80, width)) + 0.1, rng.normal(size=(150, width))
    rows = np.vstack([own, others])
    noise = discriminant.RIDGE + width / 80
    weight = np.repeat([0.5 / 80, 0.5 / 150], [80, 150])
    slope = Ridge(alpha=noise).fit(rows, np.repeat([1.0, 0.0], [80, 150]), sample_weight=weight).coef_
    distance = own.mean(axis=0) - others.mean(axis=0)
    expected = 4 * slope / (1 - distance @ slope)
    found = discriminant._direction(rows @ rows.T, rows, np.arange(80), np.arange(80, 230))
    assert found == pytest.approx(expected, rel=1e-8)


def test_stretches_of_wide_tables_are_told_as_those_of_narrow_ones() -> None:
    """Their scale is the whole sample's: not the same number, the same verdict."""
    rng = np.random.default_rng(1)
    level = np.repeat(rng.normal(size=(16, 1)), 60, axis=0)
    past = 0.4 * level + rng.normal(size=(960, 200))
    narrow, wide = _Narrow(past, stretches(960)), _Wide(past, stretches(960))
    for number in (0, 7, 15):
        picked = np.flatnonzero(stretches(960) == number)
        assert wide.tell_stretch(number, picked) == pytest.approx(narrow.tell_stretch(number, picked), abs=0.02)


def test_width_costs_no_square() -> None:
    """Covariances of 8,000 numbers would take half a gigabyte each."""
    rng = np.random.default_rng(2)
    past, rows = rng.normal(size=(400, 8000)), rng.normal(size=(100, 8000))
    assert isinstance(sides_of(past[:, : WIDE - 1], stretches(400)), _Narrow)
    tracemalloc.start()
    sides_of(past, stretches(400)).tell(rows)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6 * past.nbytes
