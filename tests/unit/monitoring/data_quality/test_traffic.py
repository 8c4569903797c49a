from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from raymlops.config.monitoring import QualityConfig
from raymlops.monitoring.data_quality.traffic import HISTORY, Traffic, TrafficHistory, judge_traffic
from raymlops.records.windows import WindowRecord

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)


def window(start: datetime, length: timedelta, rows: int, silence: timedelta = timedelta(0)) -> WindowRecord:
    newest = start + length - silence if rows else None
    return WindowRecord(model="m", start=start, end=start + length, champion=1, rows=rows, newest_event_at=newest)


def judge(rows: int, usual: list[int], silence: timedelta = timedelta(0), silences: timedelta = HOUR) -> list[str]:
    like = [Traffic(each, silences) for each in usual]
    found = judge_traffic(Traffic(rows, silence), DAY, like, QualityConfig(block_silence_share=0.95))
    return [f"{verdict}: {reason}" for verdict, reason in found]


def test_hours_are_compared_with_the_same_hour_and_weekday() -> None:
    hours = [MONDAY + n * HOUR for n in range(24 * 7 * 6)]
    history = TrafficHistory(window(at, HOUR, 100 * at.weekday() + at.hour) for at in hours)
    usual = history.usual(hours[-1] + HOUR, HOUR)
    assert [traffic.rows for traffic in usual] == [0] * 6  # of the six Mondays at midnight
    assert [traffic.rows for traffic in history.usual(hours[-1], HOUR)] == [623] * 5


def test_with_few_weeks_the_same_hour_of_any_day_must_do() -> None:
    hours = [MONDAY + n * HOUR for n in range(24 * 4)]
    history = TrafficHistory(window(at, HOUR, at.hour) for at in hours)
    assert [traffic.rows for traffic in history.usual(MONDAY + 4 * DAY + 9 * HOUR, HOUR)] == [9] * 4
    assert TrafficHistory(window(at, HOUR, 1) for at in hours[:48]).usual(hours[48], HOUR) == []


@pytest.mark.parametrize(("length", "windows"), [(DAY, 8), (WEEK, 8), (2 * WEEK, 4), (timedelta(minutes=7), 0)])
def test_other_lengths(length: timedelta, windows: int) -> None:
    starts = [MONDAY + n * length for n in range(60)]
    history = TrafficHistory(window(at, length, 10) for at in starts)
    found = history.usual(starts[-1] + length, length)
    assert len(found) == windows
    assert all(traffic.rows == 10 for traffic in found)


def test_what_is_long_ago_is_forgotten() -> None:
    history = TrafficHistory([window(MONDAY, DAY, 1)])
    history.add(window(MONDAY + HISTORY + DAY, DAY, 1))
    assert len(history._windows) == 1


@pytest.mark.parametrize(
    ("rows", "usual", "found"),
    [
        (1000, [900, 1000, 1100], []),
        (460, [900, 1000, 1100], ["warn: 460 predictions, under 50% of the 1000 usual at this time"]),
        (40, [900, 1000, 1100], ["block: 40 predictions, under 5% of the 1000 usual at this time"]),
        (460, [450, 1000, 1100], []),  # it has been as low before
        (2, [8, 9, 10], []),  # chance alone may do that
        (5100, [900, 1000, 1100], ["warn: 5100 predictions, over 5 times the 1000 usual at this time"]),
        (5100, [900, 1000, 6000], []),
        (3, [], []),
    ],
)
def test_volume(rows: int, usual: list[int], found: list[str]) -> None:
    assert judge(rows, usual) == found


def test_freshness() -> None:
    assert judge(100, [], silence=17 * HOUR) == []
    assert judge(100, [], silence=19 * HOUR) == ["warn: the newest event is 79% of the window old, over 75%"]
    assert judge(100, [], silence=23 * HOUR) == ["block: the newest event is 96% of the window old, over 95%"]
    assert judge(100, [100] * 3, silence=19 * HOUR, silences=20 * HOUR) == []  # as ever
    assert judge(0, [], silence=DAY) == []  # that the traffic stopped is said elsewhere


def test_a_window_is_judged_by_those_before_it_also_after_a_restart(world: Any) -> None:
    world.register(1)
    monitor, length = world.monitor(), world.config.window
    for week, rows in enumerate((400, 400, 400, 100, 400)):
        monitor.record_events("m", world.events(week, rows), f"{week}")
    start = world.events(0, 1)["event_time"][0].as_py() - length / 2
    records = monitor.close_windows("m", start + 4 * length + DAY)
    records += world.monitor().close_windows("m", start + 5 * length + DAY)
    reasons = [[reason for reason in record.quality_reasons if "usual" in reason] for record in records]
    assert reasons == [[], [], [], ["100 predictions, under 50% of the 400 usual at this time"], []]
    assert records[3].quality == "warn"
    assert records[0].newest_event_at is not None
    assert records[0].end - records[0].newest_event_at < HOUR
