from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.monitoring import ErrorStream

START = datetime(2013, 1, 7, tzinfo=UTC)
WEEK, DAY = timedelta(days=7), timedelta(days=1)
ROWS = 600


@pytest.fixture
def world(make_world: Callable[..., Any]) -> Any:
    made = make_world(label_delay=DAY, performance={"calibration_margin": 1.0})
    for version in (1, 2):
        made.register(version, reference=False, metrics={})
    return made


def fill(world: Any, monitor: Any, week: int, *, wrong_from: int | None = None, version: int = 1) -> None:
    """A window whose labels are the opposite of the truth from one row on."""
    events = world.events(week, ROWS, version=version)
    labels = world.labels(events)
    values = np.asarray(labels["label"]).copy()
    if wrong_from is not None:
        values[wrong_from:] = 1 - values[wrong_from:]
    monitor.record_events("m", events, f"e{week}-{version}")
    monitor.record_labels("m", labels.set_column(2, "label", pa.array(values)), f"l{week}-{version}")


def test_an_abrupt_change_is_found_within_the_window(world: Any) -> None:
    """In the middle of the third window, which is not flagged as a whole for want of a reference metric."""
    monitor = world.monitor()
    for week in range(4):
        fill(world, monitor, week, wrong_from={2: 300, 3: 0}.get(week))
    found = monitor.close_windows("m", START + 4 * WEEK + DAY)
    assert [len(window.error_changes) for window in found] == [0, 0, 1, 0]
    (change,) = found[2].error_changes
    happened = START + 2.5 * WEEK
    assert happened <= change.at < happened + WEEK * (200 / ROWS)
    assert change.after > change.before + 0.3
    assert monitor.report("m", end=START + 3 * WEEK).answers[2].verdict == "suspected"
    assert "rose abruptly" in monitor.report("m", end=START + 3 * WEEK).html()


def test_a_steady_model_has_no_changes(world: Any) -> None:
    monitor = world.monitor()
    for week in range(8):
        fill(world, monitor, week)
    found = monitor.close_windows("m", START + 8 * WEEK + DAY)
    assert [window.error_changes for window in found] == [()] * 8
    assert found[-1].error_stream.seen + len(found[-1].error_stream.pending) == 8 * ROWS


def test_a_restarted_monitor_goes_on_with_the_stream(world: Any) -> None:
    monitor = world.monitor()
    for week in range(4):
        fill(world, monitor, week, wrong_from={2: 100, 3: 0}.get(week))
    whole = monitor.close_windows("m", START + 4 * WEEK + DAY)
    world.metadata.closed.clear()
    again = [
        window for week in range(4) for window in world.monitor().close_windows("m", START + (week + 1) * WEEK + DAY)
    ]
    assert [(w.error_changes, w.error_stream) for w in again] == [(w.error_changes, w.error_stream) for w in whole]


def test_another_champions_losses_are_another_stream(world: Any) -> None:
    monitor = world.monitor()
    fill(world, monitor, 0)
    fill(world, monitor, 1, version=2, wrong_from=0)
    first, second = monitor.close_windows("m", START + 2 * WEEK + DAY)
    assert first.error_stream.seen + len(first.error_stream.pending) == ROWS
    assert second.error_stream.seen + len(second.error_stream.pending) == ROWS
    assert second.error_changes == ()


@given(cut=st.integers(0, 400), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_resumed_stream_is_the_stream(cut: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    errors = np.concatenate([rng.random(200) < 0.1, rng.random(200) < 0.8]).astype(float)
    whole = ErrorStream()
    expected = whole.update(errors)
    first = ErrorStream()
    found = first.update(errors[:cut])
    second = ErrorStream().resume(pickle.loads(pickle.dumps(first.state("error"))))
    found += second.update(errors[cut:])
    assert found == expected
    assert second.state("error") == whole.state("error")
