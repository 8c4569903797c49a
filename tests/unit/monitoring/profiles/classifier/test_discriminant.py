"""The discriminant: what conjugate gradients find is what solving for each fold finds."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from raymlops.monitoring.profiles.classifier import discriminant
from raymlops.monitoring.profiles.classifier.discriminant import Sides


def stretches(rows: int) -> np.typing.NDArray[np.intp]:
    return np.arange(rows) * 16 // rows


def solved(own: Any, others: Any, of: Any) -> tuple[float, Any]:
    """Area and shares, by covariances and a solver; ``of`` are the stretches of the others."""
    own_fold, other_fold = np.arange(len(own)) * discriminant.FOLDS // len(own), of % discriminant.FOLDS
    scores, other_scores, shares = np.zeros(len(own)), np.zeros(len(others)), np.zeros(own.shape[1])
    for fold in range(discriminant.FOLDS):
        held, against = own_fold == fold, other_fold == fold
        mine, theirs = own[~held], others[~against]
        noise = discriminant.RIDGE + own.shape[1] / len(mine)
        pooled = (np.cov(mine, rowvar=False, bias=True) + np.cov(theirs, rowvar=False, bias=True)) / 2
        ridge = np.atleast_2d(pooled) + noise * np.eye(own.shape[1])
        weights = np.linalg.solve(ridge, mine.mean(axis=0) - theirs.mean(axis=0))
        scores[held] = (own[held] - others.mean(axis=0)) @ weights
        other_scores[against] = (others[against] - others.mean(axis=0)) @ weights
        if held.any() and against.any():
            shares += weights * (own[held].mean(axis=0) - others[against].mean(axis=0))
    sides = np.repeat([1, 0], [len(scores), len(other_scores)])
    return float(roc_auc_score(sides, np.concatenate([scores, other_scores]))), shares


def drawn(seed: int, rows: int, width: int, factors: int) -> Any:
    """Columns of other scales that hang together by some factors; a tenth of them constant."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, width)) + 3 * rng.normal(size=(rows, factors)) @ rng.normal(size=(factors, width))
    values *= 10.0 ** rng.integers(-3, 4, width)
    values[:, rng.random(width) < 0.1] = 7.0
    return values.astype(np.float32)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 99),
    sample=st.integers(60, 200),
    own=st.integers(30, 100),
    width=st.integers(1, 150),
    factors=st.integers(0, 3),
    moved=st.floats(0, 1),
)
def test_it_tells_what_a_solver_tells(seed: int, sample: int, own: int, width: int, factors: int, moved: float) -> None:
    values = drawn(seed, sample + own, width, factors).astype(np.float64)
    past, rows = values[own:], values[:own] + moved * values.std(axis=0) * np.arange(width) / width
    scale = np.where(past.std(axis=0) > 1e-9, past.std(axis=0), 1.0)
    centre = past.mean(axis=0)
    expected, shares = solved((rows - centre) / scale, (past - centre) / scale, stretches(sample))
    area, found = Sides(past.astype(np.float32), stretches(sample)).tell(rows.astype(np.float32))
    assert area == pytest.approx(expected, abs=0.002)
    assert found == pytest.approx(shares, abs=0.02 * np.abs(shares).max() + 1e-6)


def test_each_stretch_is_told_as_a_solver_tells_it() -> None:
    rng = np.random.default_rng(1)
    of = stretches(960)
    level = np.repeat(rng.normal(size=(16, 1)), 60, axis=0)
    past = 0.4 * level + rng.normal(size=(960, 60))
    picked = [np.flatnonzero(of == number)[::2] for number in range(16)]
    found = Sides(past.astype(np.float32), of).tell_stretches(picked)
    scaled = (past - past.mean(axis=0)) / past.std(axis=0)
    for number, own in enumerate(picked):
        expected, _ = solved(scaled[own], scaled[of != number], of[of != number])
        assert found[number] == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize("width", [20, 300])
def test_the_direction_is_that_of_a_weighed_ridge_regression(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another's code: regressed on the side, rows of both sides weighing alike."""
    monkeypatch.setattr(discriminant, "TOLERANCE", 1e-6)
    rng = np.random.default_rng(0)
    own, others = rng.normal(size=(80, width)) + 0.1, rng.normal(size=(150, width))
    rows = np.vstack([own, others])
    noise = discriminant.RIDGE + width / 80
    weight = np.repeat([0.5 / 80, 0.5 / 150], [80, 150])
    slope = Ridge(alpha=noise).fit(rows, np.repeat([1.0, 0.0], [80, 150]), sample_weight=weight).coef_
    distance = own.mean(axis=0) - others.mean(axis=0)
    expected = 4 * slope / (1 - distance @ slope)
    sides = [np.repeat([one / 80, (1 - one) / 150], [80, 150])[:, np.newaxis].astype(np.float32) for one in (1.0, 0.0)]
    found = discriminant._directions(rows.astype(np.float32), *sides, np.array([noise], np.float32))
    assert found[:, 0] == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_rows_that_are_alike_cannot_be_told_apart() -> None:
    past = np.full((320, 3), 7.0, np.float32)
    area, shares = Sides(past, stretches(320)).tell(past[:40])
    assert area == 0.5
    assert shares.tolist() == [0.0, 0.0, 0.0]


def test_width_costs_no_square() -> None:
    """Covariances of 8,000 numbers would take half a gigabyte each."""
    rng = np.random.default_rng(2)
    past, rows = (rng.normal(size=(count, 8000)).astype(np.float32) for count in (400, 100))
    tracemalloc.start()
    Sides(past, stretches(400)).tell(rows)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6 * past.nbytes
