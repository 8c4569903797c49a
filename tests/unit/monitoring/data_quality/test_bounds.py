"""Event times that make no sense: kept, in no window, and no trouble for the windows of the others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.config.monitoring import MonitoringConfig
from raymlops.errors import UnavailableError
from raymlops.monitoring.data_quality.bounds import insane_labels, inside, sane

INSTANT = pa.timestamp("us", tz="UTC")
START = datetime(2013, 1, 7, tzinfo=UTC)
WEEK, DAY = timedelta(days=7), timedelta(days=1)
YEAR_1, YEAR_1970, YEAR_9999 = (
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
)
ODD = [YEAR_1, YEAR_1970, YEAR_9999]
ANY_INT64 = st.integers(-(2**63) + 1, 2**63 - 1)


def dated(events: pa.Table, at: datetime | int) -> pa.Table:
    place = events.column_names.index("event_time")
    times = (
        pa.array([at] * events.num_rows, pa.int64()).cast(INSTANT)
        if isinstance(at, int)
        else pa.array([at] * events.num_rows, INSTANT)
    )
    names = pa.array([f"odd-{at}-{i}" for i in range(events.num_rows)])
    return events.set_column(place, "event_time", times).set_column(0, "request_id", names)


@given(event=ANY_INT64, served=ANY_INT64)
def test_no_instant_overflows(event: int, served: int) -> None:
    table = pa.table({"event_time": pa.array([event]), "served_at": pa.array([served])})
    config = MonitoringConfig(max_event_age=400 * DAY, max_event_lead=DAY)
    (found,) = sane(table, config)
    day = 86_400_000_000
    if 0 < served < 200_000 * day:
        assert found == (served - 400 * day <= event <= served + day)
    if found:  # a window around it is in the calendar
        assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event) + 365 * DAY


def test_how_far_is_configured() -> None:
    times = [START - DAY, START - timedelta(hours=1), START, START + timedelta(minutes=1), START + timedelta(hours=1)]
    table = pa.table({"event_time": pa.array(times, INSTANT), "served_at": pa.array([START] * 5, INSTANT)})
    config = MonitoringConfig(max_event_age=timedelta(hours=2), max_event_lead=timedelta(minutes=5))
    assert sane(table, config).tolist() == [False, True, True, True, False]
    assert inside(table, config).num_rows == 3
    assert insane_labels(table, START, config) == 2
    assert insane_labels(table, YEAR_9999, config) == 5


@pytest.mark.parametrize("odd", ODD, ids=["1", "1970", "9999"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_an_odd_instant_changes_no_window(world: Any, odd: datetime, first: bool) -> None:
    world.register(1)
    monitor, events = world.monitor(), world.events(0, 300)
    for number in (0, 1) if first else (1, 0):
        monitor.record_events("m", dated(events.slice(0, 5), odd) if number == 0 else events, f"e{number}")
    (window,) = monitor.close_windows("m", START + WEEK + DAY)
    assert (window.start, window.rows) == (START, 300)
    assert monitor.out_of_bounds_rows("m") == 5
    assert len(world.tables.read("predictions/m", None, None, "event_time")) == 305
    again = world.monitor()  # knows nothing but what is stored
    assert again.close_windows("m", START + WEEK + DAY) == []


@pytest.mark.parametrize("odd", ODD, ids=["1", "1970", "9999"])
def test_an_odd_instant_alone_closes_nothing(world: Any, odd: datetime) -> None:
    world.register(1)
    world.metadata.champion = 1
    monitor = world.monitor()
    monitor.record_events("m", dated(world.events(0, 3), odd), "odd")
    assert monitor.close_windows("m", START + 52 * WEEK) == []
    monitor.maintain("m", START + 52 * WEEK)


@pytest.mark.parametrize("odd", ODD, ids=["1", "1970", "9999"])
def test_an_odd_instant_that_comes_after_windows_have_closed(world: Any, odd: datetime) -> None:
    world.register(1)
    monitor = world.monitor()
    monitor.record_events("m", world.events(0, 300), "e")
    assert len(monitor.close_windows("m", START + WEEK + DAY)) == 1
    monitor.record_events("m", dated(world.events(1, 4), odd), "odd")
    assert monitor.close_windows("m", START + WEEK + DAY) == []
    assert world.metadata.profiles.late_rows("m") == {}


@pytest.mark.parametrize("odd", ODD, ids=["1", "1970", "9999"])
def test_labels_of_odd_instants_are_counted_and_close_nothing(world: Any, odd: datetime) -> None:
    world.register(1)
    monitor, events = world.monitor(), world.events(0, 300)
    monitor.record_events("m", events, "e")
    labels = world.labels(events)
    world.metadata.champion = 1
    world.clock.advance_to(START + WEEK)
    monitor.record_labels("m", labels, "good")
    monitor.record_labels("m", labels.set_column(3, "event_time", pa.array([odd] * 300, INSTANT)), "odd")
    (window,) = monitor.close_windows("m", START + WEEK + DAY)
    assert window.performance[1].labelled_rows == 300
    assert monitor.out_of_bounds_rows("m") == 300
    assert monitor.close_windows("m", START + 3 * WEEK) != []


def test_of_a_long_silence_the_first_and_the_last_window_are_judged(world: Any) -> None:
    world.register(1)
    world.metadata.champion = 1
    monitor = world.monitor()
    monitor.record_events("m", world.events(0, 300), "e0")
    monitor.record_events("m", world.events(200, 300), "e200")
    closed = monitor.close_windows("m", START + 1000 * WEEK + DAY)
    assert [(window.start - START) // WEEK for window in closed] == [0, 1, 200, 201, 999]
    assert [window.rows for window in closed] == [300, 0, 300, 0, 0]
    assert [window.quality for window in closed[1::3]] == ["block", "block"]
    monitor.record_events("m", world.events(1001, 300), "e1001")
    closed = monitor.close_windows("m", START + 1002 * WEEK + DAY)
    assert [(window.start - START) // WEEK for window in closed] == [1000, 1001]


def test_a_short_silence_is_judged_window_by_window(world: Any) -> None:
    world.register(1)
    world.metadata.champion = 1
    monitor = world.monitor()
    monitor.record_events("m", world.events(0, 300), "e0")
    monitor.record_events("m", world.events(20, 300), "e20")
    assert len(monitor.close_windows("m", START + 21 * WEEK + DAY)) == 21


def test_a_call_closes_no_more_windows_than_it_may(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    for week in range(5):
        monitor.record_events("m", world.events(week, 50), f"e{week}")
    now, found = START + 5 * WEEK + DAY, []
    while closed := monitor.close_windows("m", now, 2):
        found.append([(window.start - START) // WEEK for window in closed])
    assert found == [[0, 1], [2, 3], [4]]


def test_a_clock_that_jumps_ahead_and_back_leaves_windows_closing(world: Any) -> None:
    world.register(1)
    world.metadata.champion = 1
    monitor = world.monitor()
    monitor.record_events("m", world.events(0, 300), "e0")
    ahead = START + 520 * WEEK
    closed = monitor.close_windows("m", ahead)
    assert [(window.start - START) // WEEK for window in closed] == [0, 1, 518]
    monitor.record_events("m", world.events(1, 300), "e1")
    for each in (monitor, world.monitor()):
        closed = each.close_windows("m", START + 3 * WEEK + DAY)
        assert [(window.start - START) // WEEK for window in closed] == ([2] if each is monitor else [])
    monitor.record_events("m", world.events(3, 300), "e3")
    (window,) = monitor.close_windows("m", START + 4 * WEEK + DAY)
    assert ((window.start - START) // WEEK, window.rows) == (3, 300)


def test_a_closing_that_hangs_holds_up_no_other_model(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymlops.monitoring.service._CLOSING_WAIT_S", 0.01)
    world.register(1)
    monitor = world.monitor()
    with monitor._alone("hangs"):
        with pytest.raises(UnavailableError, match="still being closed by an earlier call"):
            monitor.close_windows("hangs", START)
        monitor.record_events("m", world.events(0, 100), "e")
        assert len(monitor.close_windows("m", START + WEEK + DAY)) == 1
    assert monitor.close_windows("hangs", START) == []


def test_masks_are_masks() -> None:
    table = pa.table({"event_time": pa.array([], INSTANT), "served_at": pa.array([], INSTANT)})
    assert sane(table, MonitoringConfig()).dtype == np.bool_
