from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from raymlops.clock import to_us
from raymlops.errors import ConfigError
from raymlops.features import Entity, FeatureView, Field
from raymlops.features.offline.timeline import NEVER_CREATED, Timeline
from tests.support.point_in_time import table_of

T = datetime(2024, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
VIEW = FeatureView("v", Entity("e", ["k"]), [Field("x", "int64")], created_at="created_at")
ROWS = [
    {"k": "b", "event_time": T, "created_at": T + HOUR, "x": 0},
    {"k": None, "event_time": T, "created_at": T, "x": 1},
    {"k": "a", "event_time": T + HOUR, "created_at": None, "x": 2},
    {"k": "b", "event_time": T, "created_at": None, "x": 3},
    {"k": "a", "event_time": T, "created_at": T, "x": 4},
]


def test_rows_stand_by_key_event_time_and_created_at() -> None:
    line = Timeline.of(VIEW, table_of(VIEW, ROWS), None, knowledge_cutoff=False)
    assert line.distinct["k"].to_list() == ["b", "a"]
    assert line.rows["x"].to_pylist() == line.column("x").to_pylist() == [3, 0, 4, 2]
    assert line.starts.tolist() == [0, 2, 4]
    assert line.event_us.tolist() == [to_us(at) for at in (T, T, T, T + HOUR)]
    assert line.created_us.tolist() == [NEVER_CREATED, to_us(T + HOUR), to_us(T), NEVER_CREATED]
    assert line.known_us.tolist() == line.event_us.tolist()
    assert line.places(np.array([0, 3, 1]), np.array([True, True, False])).to_pylist() == [3, 2, None]


def test_under_a_cutoff_only_what_was_created_counts_and_from_then_on() -> None:
    line = Timeline.of(VIEW, table_of(VIEW, ROWS), None, knowledge_cutoff=True)
    assert line.rows["x"].to_pylist() == [0, 4]
    assert line.known_us.tolist() == [to_us(T + HOUR), to_us(T)]
    keys = np.array([0, 0, 1])
    until = line.known.count_until(keys, np.array([to_us(T), to_us(T + HOUR), to_us(T)]))
    assert line.latest(keys, until).tolist() == [-1, 0, 1]
    undated = FeatureView("v", Entity("e", ["k"]), [Field("x", "int64")])
    with pytest.raises(ConfigError, match="knowledge_cutoff needs created_at"):
        Timeline.of(undated, table_of(undated, []), None, knowledge_cutoff=True)


def test_the_last_to_arrive_is_the_last_of_equals() -> None:
    rows = [{"k": "a", "event_time": T, "created_at": T, "x": n} for n in range(3)]
    line = Timeline.of(VIEW, table_of(VIEW, rows), np.array([5, 9, 7]), knowledge_cutoff=False)
    assert line.rows["x"].to_pylist() == [0, 2, 1]
