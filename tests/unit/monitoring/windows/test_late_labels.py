from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.config.monitoring import MonitoringConfig, PerformanceConfig
from raymlops.errors import StorageError
from raymlops.monitoring.windows.late_labels import LateLabels
from raymlops.records.windows import WindowRecord

START = datetime(2013, 1, 7, tzinfo=UTC)
WEEK, DAY, HOUR = timedelta(days=7), timedelta(days=1), timedelta(hours=1)
CONFIG = MonitoringConfig(window=WEEK, label_delay=DAY, late_labels=WEEK, late_labels_every=HOUR)
CLOSED = START + WEEK + DAY


def record(week: int = 0, **more: Any) -> WindowRecord:
    start = START + week * WEEK
    return WindowRecord(model="m", start=start, end=start + WEEK, champion=1, rows=1, **more)


def looked(late: LateLabels, now: datetime, *windows: WindowRecord) -> list[datetime]:
    """What a turn at ``now`` looks at: the instants until which labels count."""
    return [] if late.since("m", now) is None else [until for _, until in late.due("m", windows, now)]


def test_open_windows_are_looked_at_where_labels_came() -> None:
    late = LateLabels(CONFIG)
    assert looked(late, CLOSED, record()) == [CLOSED], "after a start, whatever may have come before"
    assert looked(late, CLOSED + DAY, record()) == []
    late.record("m")
    assert looked(late, CLOSED + DAY, record()) == [CLOSED + DAY]
    late.record("m")
    assert looked(late, CLOSED + DAY + HOUR / 2, record()) == [], "not more often than once an hour"
    assert looked(late, CLOSED + DAY + HOUR, record()) == [CLOSED + DAY + HOUR]


def test_at_its_end_a_window_is_looked_at_once_more() -> None:
    late, end = LateLabels(CONFIG), CLOSED + WEEK
    assert looked(late, CLOSED, record()) == [CLOSED]
    assert looked(late, end + DAY, record()) == [end]
    assert looked(late, end + 2 * DAY, record(labels_until=end)) == []


def test_a_closed_window_is_remembered() -> None:
    late = LateLabels(CONFIG)
    looked(late, START)
    late.closed(record())
    assert looked(late, CLOSED + WEEK - HOUR, record()) == []
    assert looked(late, CLOSED + WEEK, record()) == [CLOSED + WEEK]


def test_long_ended_windows_are_left_alone() -> None:
    assert looked(LateLabels(CONFIG), CLOSED + 3 * WEEK, record()) == []


def test_it_can_be_switched_off() -> None:
    assert LateLabels(CONFIG.model_copy(update={"late_labels": timedelta(0)})).since("m", CLOSED) is None


@pytest.fixture
def late_world(make_world: Callable[..., Any]) -> Any:
    world = make_world(
        label_delay=DAY, late_labels=WEEK, late_labels_every=HOUR, performance={"min_labelled_rows": 100}
    )
    world.register(1)
    return world


def fill(world: Any, monitor: Any, *, flip: float = 0.0) -> pa.Table:
    """A window of 400 events, half of whose labels come in time; the labels of the others are returned."""
    events = world.events(0, 400)
    monitor.record_events("m", events, "e")
    labels = world.labels(events, flip=flip)
    monitor.record_labels("m", labels.slice(0, 200), "in time")
    late = labels.slice(200)
    times = pa.array([CLOSED + DAY] * 200, type=late["event_time"].type)
    return late.set_column(late.column_names.index("event_time"), "event_time", times)


def test_late_labels_add_to_a_closed_window(late_world: Any) -> None:
    monitor = late_world.monitor()
    late = fill(late_world, monitor)
    (closed,) = monitor.close_windows("m", CLOSED)
    profile = late_world.metadata.windows.get_profile("m", START)
    monitor.record_labels("m", late, "late")
    assert monitor.close_windows("m", CLOSED + 2 * DAY) == []
    (stored,) = late_world.metadata.windows.list_windows("m")
    assert closed.performance[1].labelled_rows == 200
    assert stored.performance[1].labelled_rows == 400
    assert stored.labels_until == CLOSED + 2 * DAY
    assert (stored.columns, stored.drifted, stored.quality) == (closed.columns, closed.drifted, closed.quality)
    assert late_world.metadata.windows.get_profile("m", START) == profile


def test_late_labels_can_show_that_the_model_was_worse(late_world: Any) -> None:
    monitor = late_world.monitor()
    late = fill(late_world, monitor)
    flipped = late.set_column(2, "label", pa.array(1 - np.asarray(late["label"])))
    (closed,) = monitor.close_windows("m", CLOSED)
    monitor.record_labels("m", flipped, "late")
    monitor.close_windows("m", CLOSED + 2 * DAY)
    (stored,) = late_world.metadata.windows.list_windows("m")
    assert not closed.degraded
    assert stored.degraded
    assert "log_loss" in stored.degraded_reason


def test_a_verdict_by_estimate_stands_until_labels_overrule_it(late_world: Any) -> None:
    late_world.config = late_world.config.model_copy(
        update={"performance": PerformanceConfig(use_estimates=True, min_labelled_rows=300)}
    )
    monitor = late_world.monitor()
    late = fill(late_world, monitor)
    (closed,) = monitor.close_windows("m", CLOSED)
    supposed = closed.model_copy(update={"estimated_degraded": "estimated", "degraded": True})
    late_world.metadata.windows.put_window(supposed, b"")
    monitor.record_labels("m", late.slice(0, 50), "some")
    monitor.close_windows("m", CLOSED + 2 * DAY)
    assert late_world.metadata.windows.list_windows("m")[0].performance[1].labelled_rows == 250
    assert late_world.metadata.windows.list_windows("m")[0].degraded_reason == "estimated"
    monitor.record_labels("m", late, "all")
    monitor.close_windows("m", CLOSED + 3 * DAY)
    assert not late_world.metadata.windows.list_windows("m")[0].degraded


def test_labels_after_the_end_do_not_count(late_world: Any) -> None:
    monitor = late_world.monitor()
    late = fill(late_world, monitor)
    monitor.close_windows("m", CLOSED)
    times = pa.array([CLOSED + WEEK] * 200, type=late["event_time"].type)
    monitor.record_labels("m", late.set_column(3, "event_time", times), "too late")
    monitor.close_windows("m", CLOSED + 8 * DAY)
    (stored,) = late_world.metadata.windows.list_windows("m")
    assert stored.performance[1].labelled_rows == 200
    assert stored.labels_until == CLOSED + WEEK


def test_a_crash_before_the_record_is_stored_loses_nothing(late_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = late_world.monitor()
    late = fill(late_world, monitor)
    (closed,) = monitor.close_windows("m", CLOSED)
    monitor.record_labels("m", late, "late")
    with monkeypatch.context() as broken:

        def put(*_: object) -> None:
            raise StorageError("disk full")

        broken.setattr(late_world.metadata.windows, "put_window", put)
        with pytest.raises(StorageError):
            monitor.close_windows("m", CLOSED + 2 * DAY)
    assert late_world.metadata.windows.list_windows("m") == [closed]
    before = dict(late_world.metadata.closed)
    monitor.close_windows("m", CLOSED + 2 * DAY + HOUR)
    assert late_world.metadata.windows.list_windows("m")[0].performance[1].labelled_rows == 400
    late_world.metadata.closed.update(before)
    restarted = late_world.monitor()
    restarted.close_windows("m", CLOSED + 2 * DAY)
    restarted.close_windows("m", CLOSED + 2 * DAY)
    assert late_world.metadata.windows.list_windows("m")[0].performance[1].labelled_rows == 400


def test_the_same_labels_come_to_the_same_record(late_world: Any) -> None:
    """However often and from whichever process a window is looked at, in the end it is the same."""
    monitor = late_world.monitor()
    late = fill(late_world, monitor)
    monitor.close_windows("m", CLOSED)
    on_time = dict(late_world.metadata.closed)
    for part in range(4):
        monitor.record_labels("m", late.slice(part * 50, 50), f"late {part}")
        monitor.close_windows("m", CLOSED + 2 * DAY + part * HOUR)
    monitor.close_windows("m", CLOSED + 8 * DAY)
    stepwise = late_world.metadata.closed["m", START]
    late_world.metadata.closed.update(on_time)
    late_world.monitor().close_windows("m", CLOSED + 9 * DAY)
    assert late_world.metadata.closed["m", START] == stepwise
    assert stepwise[0].labels_until == CLOSED + WEEK


def test_nothing_new_is_not_written(late_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = late_world.monitor()
    fill(late_world, monitor)
    monitor.close_windows("m", CLOSED)
    monkeypatch.setattr(late_world.metadata.windows, "put_window", lambda *_: pytest.fail("written"))
    late_world.monitor().close_windows("m", CLOSED + 2 * DAY)
