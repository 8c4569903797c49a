from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.config.monitoring import MonitoringConfig
from raymlops.monitoring.windows.label_arrivals import LabelArrivals
from tests.unit.monitoring.conftest import World

START = datetime(2013, 1, 7, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
WEEK = timedelta(days=7)
CONFIG = MonitoringConfig(window=WEEK, label_delay=DAY, late_labels=4 * WEEK, late_labels_every=HOUR)
ROWS, WEEKS = 40, 3


def dated(labels: pa.Table, at: datetime) -> pa.Table:
    times = pa.array([at] * labels.num_rows, labels["event_time"].type)
    return labels.set_column(labels.column_names.index("event_time"), "event_time", times)


@given(
    turns=st.lists(
        st.tuples(
            st.integers(0, WEEKS - 1),  # whose labels come
            st.integers(0, ROWS - 1),  # from which row on
            st.integers(-4, 9),  # dated so many days after now
            st.booleans(),  # and a late row
        ),
        max_size=6,
    )
)
@settings(max_examples=25, deadline=None)
def test_windows_end_as_if_all_were_measured_at_every_look(
    tmp_path_factory: pytest.TempPathFactory, turns: list[tuple[int, int, int, bool]]
) -> None:
    """A monitor that is started anew measures every open window; one that goes on spares some, to the same records."""
    worlds = []
    for name in ("going on", "anew"):
        world = World(tmp_path_factory.mktemp(name), config=CONFIG, rng=np.random.default_rng(1))
        world.register(1, reference=False)
        worlds.append(world)
    monitors = [world.monitor() for world in worlds]
    now = START + WEEKS * WEEK + DAY
    for number, world in enumerate(worlds):
        events = [world.events(week, ROWS) for week in range(WEEKS)]
        labels = [world.labels(each) for each in events]
        monitor = monitors[number]
        for week in range(WEEKS):
            monitor.record_events("m", events[week].slice(1), f"e{week}")
            monitor.record_labels("m", labels[week].slice(0, 5), f"l{week}")
        monitor.close_windows("m", now)
        for turn, (week, first, days, late_row) in enumerate(turns):
            at = now + (turn + 1) * 2 * HOUR
            monitor = world.monitor() if number else monitors[0]
            batch = dated(labels[week].slice(first, 7), at + days * DAY)
            monitor.record_labels("m", batch, f"late {turn}")
            if late_row:
                monitor.record_events("m", events[week].slice(0, 1), f"row {turn}")
            monitor.close_windows("m", at)
        monitor.close_windows("m", now + 2 * DAY)
    first, second = (world.metadata.windows.list_windows("m") for world in worlds)
    assert [(w.start, w.performance, w.labels_duplicate) for w in first] == [
        (w.start, w.performance, w.labels_duplicate) for w in second
    ]


def test_windows_that_nothing_has_come_for_are_not_read(
    make_world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = make_world(label_delay=DAY, late_labels=8 * WEEK, late_labels_every=HOUR)
    world.register(1, reference=False)
    monitor = world.monitor()
    labels = []
    for week in range(6):
        events = world.events(week, 30)
        labels.append(world.labels(events))
        monitor.record_events("m", events, f"e{week}")
        monitor.record_labels("m", labels[week].slice(0, 10), f"l{week}")
    now = START + 6 * WEEK + DAY
    monitor.close_windows("m", now)
    monitor.record_labels("m", dated(labels[1].slice(10), now), "first")
    monitor.close_windows("m", now + HOUR)  # the first look at windows that have just closed measures all
    measured = []
    monkeypatch.setattr(monitor, "_measure_anew", lambda window, until: measured.append(window.start))
    monitor.record_labels("m", dated(labels[2].slice(10), now + HOUR), "late")
    monitor.close_windows("m", now + 2 * HOUR)
    assert measured == [START + 2 * WEEK]


def test_a_window_without_any_label_is_spared_too(tmp_path: Path) -> None:
    world = World(tmp_path, config=CONFIG, rng=np.random.default_rng(1))
    world.register(1, reference=False)
    monitor = world.monitor()
    monitor.record_events("m", world.events(0, ROWS), "e0")
    (window,) = monitor.close_windows("m", START + WEEK + 2 * DAY)
    arrivals, now = LabelArrivals(world.tables), START + WEEK + 3 * DAY
    first = arrivals.look("m", "predictions/m", "labels/m", [(window, now)], now)
    assert first.touched == [(window, now)]
    arrivals.measured("m", first)
    later = now + DAY
    assert arrivals.look("m", "predictions/m", "labels/m", [(window, later)], later).touched == []
