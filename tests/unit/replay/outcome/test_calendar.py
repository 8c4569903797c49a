"""A model that is retrained at even intervals, scored on what was asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from raymlops.clock import to_us
from raymlops.laboratory import Recipe
from raymlops.replay.outcome.calendar import Rows, encoded, even_instants, scored_by_calendar
from raymlops.replay.outcome.losses import TaskLoss

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
RECIPE = Recipe(family="logistic", params={"C": 1.0})


def test_even_instants_part_the_time_into_pieces_of_one_length() -> None:
    assert even_instants(START, START + 9 * DAY, 2) == (START + 3 * DAY, START + 6 * DAY)
    assert even_instants(START, START + DAY, 0) == ()


def _turning(rows: int) -> Rows:
    """The label follows the input, and from day 20 on its opposite."""
    rng = np.random.default_rng(1)
    day = np.sort(rng.uniform(0, 60, rows))
    inputs = rng.normal(size=(rows, 1)).astype(np.float32)
    labels = ((inputs[:, 0] > 0) != (day > 20)).astype(np.float64)
    return Rows(inputs, labels, to_us(START) + (day * 86_400e6).astype(np.int64))


def test_a_later_model_knows_what_changed_and_an_earlier_one_does_not() -> None:
    rows = _turning(6000)
    before = np.full(6000, 9.0)
    instants = (START + 10 * DAY, START + 40 * DAY)
    losses = scored_by_calendar(rows, rows.at_us, rows, instants, before, RECIPE, TaskLoss("classifier", "log_loss"))
    day = (rows.at_us - to_us(START)) / 86_400e6
    assert (losses[day < 10] == 9.0).all(), "the first model serves until the first instant"
    wrong, late = losses[(day > 20) & (day < 40)].mean(), losses[day > 40].mean()
    assert losses[(day > 10) & (day < 20)].mean() < 0.3
    assert late < 0.5 * wrong


def test_a_fit_takes_no_older_rows_than_a_retraining_does() -> None:
    rows, instants = _turning(6000), (START + 40 * DAY,)
    loss, before = TaskLoss("classifier", "log_loss"), np.full(6000, 9.0)
    late = rows.at_us > to_us(START + 40 * DAY)
    everything = scored_by_calendar(rows, rows.at_us, rows, instants, before, RECIPE, loss)[late].mean()
    fortnight_us = 15 * DAY // timedelta(microseconds=1)
    recent = scored_by_calendar(rows, rows.at_us, rows, instants, before, RECIPE, loss, fortnight_us)[late].mean()
    assert recent < 0.3 < everything


def test_labels_that_were_not_known_yet_are_not_learned_from() -> None:
    rows = _turning(3000)
    before = np.full(3000, 9.0)
    never = np.full(3000, np.iinfo(np.int64).max)
    losses = scored_by_calendar(
        rows, never, rows, (START + 10 * DAY,), before, RECIPE, TaskLoss("classifier", "log_loss")
    )
    assert losses.tolist() == before.tolist()


def test_regressions_are_scored_by_their_metric() -> None:
    rows = _turning(500)
    rows = Rows(rows.inputs, rows.inputs[:, 0] * 3.0, rows.at_us)
    found = scored_by_calendar(
        rows,
        rows.at_us,
        rows,
        (START + 30 * DAY,),
        np.full(500, 9.0),
        Recipe(family="xgboost", params={"n_estimators": 50}),
        TaskLoss("regressor", "mae"),
    )
    assert found[rows.at_us > to_us(START + 30 * DAY)].mean() < 1.0


def test_texts_get_one_number_in_what_is_learned_and_in_what_is_asked() -> None:
    at = [START + hour * timedelta(hours=1) for hour in range(4)]
    training = pa.table({"event_time": at, "size": [1, 2, 3, 4], "kind": ["x", "y", "x", "z"], "on": [True] * 4})
    asked = pa.table({"event_time": at[2:], "size": [3.0, 4.0], "kind": ["z", "x"], "on": [1.0, 0.0]})
    known_us = np.array([to_us(each) for each in at])[::-1].copy()
    learned, scored = encoded(training, asked, ["size", "kind", "on"], known_us)
    assert learned.shape == (4, 3)
    by_kind = dict(zip(training["kind"].to_pylist(), learned[:, 1].tolist(), strict=True))
    assert learned[:, 0].tolist() == [1, 2, 3, 4], "in the order of the training rows"
    assert scored[:, 1].tolist() == [by_kind["z"], by_kind["x"]]
    assert scored[:, 2].tolist() == pytest.approx([1.0, 0.0])
