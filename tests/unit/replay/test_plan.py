"""How a table is cut into windows, a training part and steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from raymlops.clock import from_us, to_us
from raymlops.errors import ConfigError, NotEnoughRows
from raymlops.replay.plan import Needs, ReplayPlan, Sample, Wishes, derive_plan, parse_sample, steps_of

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY, WEEK = timedelta(days=1), timedelta(days=7)
NEEDS = Needs(rows=300, holdout=14 * DAY, holdout_rows=50)
NEVER = np.iinfo(np.int64).max


def times(rows: int, days: float, start: datetime = START) -> np.ndarray:
    return to_us(start) + (np.arange(rows) * days * 86_400e6 / rows).astype(np.int64)


def derive(
    rows: int = 50_000, days: float = 365, delay: timedelta = DAY, needs: Needs = NEEDS, **wishes: object
) -> ReplayPlan:
    at_us = times(rows, days)
    return derive_plan(at_us, at_us + delay // timedelta(microseconds=1), Wishes(**wishes), needs, delay)  # type: ignore[arg-type]


def test_a_year_is_cut_into_weeks_of_which_eight_train() -> None:
    plan = derive()
    assert (plan.window, plan.first, plan.count) == (WEEK, 8, 44)
    assert plan.origin == START
    assert plan.trained_until == START + 8 * WEEK
    assert plan.end == START + 52 * WEEK
    assert plan.unit == "week"


@pytest.mark.parametrize(("days", "window"), [(30, DAY), (1.5, timedelta(hours=1)), (1200, 28 * DAY)])
def test_windows_have_round_lengths_and_are_about_forty(days: float, window: timedelta) -> None:
    plan = derive(days=days, needs=Needs(300, timedelta(seconds=days * 3600), 50), delay=timedelta())
    assert plan.window == window
    assert 25 <= plan.first + plan.count <= 55


def test_a_small_table_has_fewer_windows_with_enough_rows_for_a_verdict() -> None:
    plan = derive(rows=3000, days=365)
    assert 3000 / (plan.first + plan.count) >= 200


def test_windows_begin_on_the_grid_of_an_anchor() -> None:
    anchor = datetime(2025, 6, 3, 5, tzinfo=UTC)
    plan = derive(window=WEEK, anchor=anchor)
    assert (plan.origin - anchor) % WEEK == timedelta()
    assert plan.origin <= START < plan.origin + WEEK


def test_a_last_window_that_ends_before_its_middle_is_left_out() -> None:
    assert derive(days=7 * 20 + 3, window=WEEK).end == START + 20 * WEEK
    assert derive(days=7 * 20 + 4, window=WEEK).end == START + 21 * WEEK


def test_more_windows_train_where_the_first_hold_too_few_labelled_rows() -> None:
    few = derive(rows=4000, days=365, window=WEEK, needs=Needs(1000, 14 * DAY, 50))
    assert few.first == 14, "13 weeks hold 997 rows, of which the labels of a day are not in"
    late = derive(rows=4000, days=365, window=WEEK, delay=60 * DAY, needs=Needs(1000, 14 * DAY, 50))
    assert late.first > few.first


def test_from_and_to_choose_what_is_replayed() -> None:
    plan = derive(start=START + 100 * DAY, end=START + 210 * DAY)
    assert plan.trained_until == START + 98 * DAY
    assert plan.end == START + 210 * DAY


@pytest.mark.parametrize("at", [START - DAY, START + 2 * DAY, START + 400 * DAY])
def test_from_must_leave_rows_to_train_on_and_to_replay(at: datetime) -> None:
    with pytest.raises(ConfigError, match="from must lie between"):
        derive(start=at)


def test_a_window_must_be_left_to_replay() -> None:
    with pytest.raises(ConfigError, match=r"from must lie between 2026-01-08 .* and 2026-04-09"):
        derive(start=START + 100 * DAY, end=START + 99 * DAY)
    with pytest.raises(ConfigError, match="the 14 windows that train must leave one of the 14 to replay"):
        derive(training_windows=14, end=START + 99 * DAY)


@pytest.mark.parametrize(
    ("rows", "days", "needs", "said"),
    [
        (200, 365, NEEDS, "have 1.. labelled rows, and training needs 300"),
        (5000, 15, NEEDS, "set training.holdout_days"),
        (5000, 365, Needs(300, timedelta(minutes=5), 50), "labelled rows in the holdout of 5m"),
        (1, 1, NEEDS, "too few to train on"),
    ],
)
def test_a_table_that_is_too_small_is_refused_with_what_it_lacks(
    rows: int, days: float, needs: Needs, said: str
) -> None:
    with pytest.raises(NotEnoughRows, match=said) as refused:
        derive(rows=rows, days=days, needs=needs)
    assert "\n" not in str(refused.value)


def test_rows_whose_label_never_came_are_no_training_rows() -> None:
    at_us = times(5000, 365)
    with pytest.raises(NotEnoughRows, match="have 0 labelled rows"):
        derive_plan(at_us, np.full(5000, NEVER), Wishes(), NEEDS, DAY)


def test_training_windows_that_were_asked_for_are_taken_or_refused() -> None:
    assert derive(training_windows=20).first == 20
    with pytest.raises(NotEnoughRows, match=r"the 1 windows before .* labelled rows before the holdout"):
        derive(training_windows=1)


def test_steps_add_up_and_the_first_ends_when_labels_are_in() -> None:
    assert steps_of(WEEK, DAY) == (DAY, 3 * DAY, 3 * DAY)
    assert steps_of(WEEK, timedelta()) == (WEEK / 2, WEEK / 2)
    for delay in (timedelta(hours=5), 30 * DAY, WEEK, timedelta(microseconds=1)):
        steps = steps_of(WEEK, delay)
        assert sum(steps, timedelta()) == WEEK
        assert all(step > timedelta() for step in steps)


def test_steps_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"steps must add up to the window, 1w, got \['1d', '2d'\]"):
        derive(steps=(DAY, 2 * DAY))


def test_a_sample_is_drawn_by_the_seed_and_in_order() -> None:
    drawn = Sample(rows=10).draw(100, seed=7, window=3)
    assert drawn == sorted(drawn) == Sample(rows=10).draw(100, seed=7, window=3)
    assert len(set(drawn)) == 10
    assert drawn != Sample(rows=10).draw(100, seed=7, window=4)
    assert Sample().draw(5, 7, 1) == Sample(rows=9).draw(5, 7, 1) == [0, 1, 2, 3, 4]
    assert len(Sample(share=0.2).draw(50, 7, 1)) == 10


def test_the_default_sample_bounds_the_requests_of_the_whole_replay() -> None:
    plan = derive()
    assert plan.sample.rows is not None
    assert plan.sample.rows >= 250
    assert plan.sample.rows * plan.count <= 12_000


@pytest.mark.parametrize(
    ("text", "sample"),
    [("all", Sample()), ("400", Sample(rows=400)), ("0.25", Sample(share=0.25)), ("5%", Sample(share=0.05))],
)
def test_sample_is_a_number_a_share_or_all(text: str, sample: Sample) -> None:
    assert parse_sample(text) == sample


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "150%", "many", "", "nan"])
def test_another_sample_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="sample must be rows in a window, a share"):
        parse_sample(text)


def test_windows_follow_each_other() -> None:
    plan = derive()
    assert plan.start(1) == plan.trained_until
    assert plan.start(2) - plan.start(1) == plan.window
    assert plan.start(plan.count + 1) == plan.end
    assert from_us(to_us(plan.end)) == plan.end
