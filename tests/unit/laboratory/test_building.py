"""Matrices from tables: what each model may see, and the same answer however it is built."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import NotEnoughRows
from raymlops.laboratory import LossMatrix, Never, Periodic, Recipe, simulate
from raymlops.laboratory.building import build_matrix
from raymlops.laboratory.intake.table import prepare
from tests.unit.laboratory.examples import drifting_table

SMALL = Recipe(params={"n_estimators": 15, "max_depth": 3}, max_rows=400)


def test_a_rule_that_turns_makes_old_models_worse() -> None:
    matrix = LossMatrix.fit(drifting_table(), label="answer", event_time="at", entity="user", first=3, recipe=SMALL)
    assert (matrix.oldest, matrix.windows) == (2, range(3, 14))
    assert matrix.facts.metric == "log loss"
    assert simulate(matrix, Never()).loss > 1.3 * simulate(matrix, Periodic(1)).loss
    assert matrix.facts.drifted is not None
    assert set(matrix.facts.fit_s) == set(range(2, 14))


def test_the_same_table_gives_the_same_matrix_on_one_thread_and_on_three() -> None:
    table = prepare(drifting_table(), label="answer", event_time="at", entity="user", window="7d", label_delay="1d")
    one = build_matrix(table, first=3, recipe=SMALL, processes=1)
    three = build_matrix(table, first=3, recipe=SMALL, processes=3)
    assert np.array_equal(one.sums, three.sums, equal_nan=True)
    assert one.facts.drifted == three.facts.drifted


def test_a_model_is_fitted_on_labels_that_had_come_and_on_no_other() -> None:
    """The label is a constant that changes when window 4 starts; it is known two days later."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    count = 7 * 8
    at = [start + timedelta(days=k) for k in range(count)]
    value = [1.0 + 0.001 * (k % 2) if k < 28 else 9.0 for k in range(count)]
    table = pa.table({"at": at, "x": [float(k % 3) for k in range(count)], "y": value})
    prepared = prepare(table, label="y", event_time="at", window="7d", label_delay="2d")
    recipe = Recipe(params={"n_estimators": 1, "max_depth": 1, "learning_rate": 1.0}, recent_windows=1)
    matrix = build_matrix(prepared, first=3, recipe=recipe, drift=False)
    assert matrix.facts.training_rows[4] == 27  # of 28 rows before window 4, the last had no label yet
    assert matrix.known_rows(4, 5) == 6
    assert matrix.known_rows(4, 6) == 7
    assert matrix.total(4, 4) / 7 > 50  # fitted before the change was known
    assert matrix.total(6, 6) / 7 < 20


@pytest.mark.parametrize("label", ["number", "text"])
def test_after_windows_without_rows_a_model_of_recent_windows_takes_the_newest_rows(label: str) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    days = [k for k in range(120) if not 60 <= k < 90]
    values: list[object] = [k % 20 + 0.5 if label == "number" else "ab"[k % 2] for k in days]
    at = [start + timedelta(days=k) for k in days]
    table = pa.table({"at": at, "x": [float(k % 4) for k in days], "y": values})
    prepared = prepare(table, label="y", event_time="at", window="7d", label_delay="1d")
    recipe = Recipe(params={"n_estimators": 30, "max_depth": 2, "min_child_weight": 0}, recent_windows=2)
    matrix = build_matrix(prepared, first=4, recipe=recipe)
    assert (matrix.rows(10), matrix.rows(12)) == (0, 1)
    if label == "text":
        assert matrix.total(12, 12) < 0.6


def test_a_class_that_was_never_seen_costs_much_and_not_without_end() -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    rng = np.random.default_rng(1)
    count = 400
    kinds = np.where(np.arange(count) < 250, rng.choice(["a", "b"], count), rng.choice(["a", "b", "c"], count))
    table = pa.table(
        {"at": [start + timedelta(hours=k) for k in range(count)], "x": rng.normal(size=count), "y": kinds}
    )
    matrix = LossMatrix.fit(table, label="y", event_time="at", window="2d", label_delay="0s", first=3, recipe=SMALL)
    losses = matrix.losses(3, matrix.end - 1)
    assert np.isfinite(losses).all()
    assert 4 < losses.max() < 14


def test_a_table_of_one_class_at_first_is_fitted() -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    table = pa.table(
        {
            "at": [start + timedelta(hours=k) for k in range(300)],
            "x": [float(k % 5) for k in range(300)],
            "y": [k > 200 for k in range(300)],
        }
    )
    matrix = LossMatrix.fit(table, label="y", event_time="at", window="1d", label_delay="0s", first=4, recipe=SMALL)
    assert matrix.total(4, 4) / matrix.rows(4) < 0.1


@pytest.mark.parametrize("first", [0, 13, 14, 99])
def test_too_few_windows_are_refused(first: int) -> None:
    with pytest.raises(NotEnoughRows, match="first must leave at least two of the 14 windows"):
        LossMatrix.fit(drifting_table(), label="answer", event_time="at", first=first)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(NotEnoughRows, match="the first model needs 20 labelled rows, got 10"):
        LossMatrix.fit(drifting_table(rows=10), label="answer", event_time="at", first=1, label_delay="10h")
