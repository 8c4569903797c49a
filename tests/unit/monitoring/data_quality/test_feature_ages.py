from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa

from raymlops.clock import to_us
from raymlops.monitoring.data_quality.feature_ages import age_text, feature_ages
from raymlops.records.windows import FeatureAge

START = datetime(2013, 1, 7, tzinfo=UTC)
WEEK, DAY, HOUR = timedelta(days=7), timedelta(days=1), timedelta(hours=1)


def times(world: Any, rows: int, hours: float) -> tuple[pa.Table, list[str | None]]:
    """Events whose weather is so many hours old, but for every tenth; every fourth had no features joined."""
    events = world.events(0, rows)
    asked = [to_us(at) for at in events["event_time"].to_pylist()]
    age = round(hours * 3600 * 1e6)
    texts = [
        None if i % 4 == 3 else orjson.dumps({"weather": None if i % 10 == 0 else at - age, "rate": None}).decode()
        for i, at in enumerate(asked)
    ]
    return events, texts


def test_ages_are_those_at_the_instants_asked_about(world: Any) -> None:
    events, texts = times(world, 400, 1.5)
    found = feature_ages(events.append_column("feature_times", pa.array(texts)))
    assert found["weather"].rows == 300
    assert (found["weather"].median_s, found["weather"].p95_s) == (5400.0, 5400.0)
    assert round(found["weather"].missing_share, 3) == 0.133  # 40 of 400, all among the 300
    assert found["rate"] == FeatureAge(rows=300, median_s=None, p95_s=None, missing_share=1.0)


def test_events_without_times_have_no_ages(world: Any) -> None:
    events = world.events(0, 10)
    assert feature_ages(events) == {}
    assert feature_ages(events.append_column("feature_times", pa.nulls(10, pa.string()))) == {}
    assert feature_ages(events.slice(0, 0).append_column("feature_times", pa.array([], pa.string()))) == {}


def test_they_stand_in_the_window(world: Any) -> None:
    world.register(1)
    events, texts = times(world, 400, 2)
    monitor = world.monitor()
    monitor.record_events("m", events.append_column("feature_times", pa.array(texts)), "e")
    (record,) = monitor.close_windows("m", START + WEEK + DAY)
    assert record.feature_ages["weather"].median_s == 7200
    assert monitor.report("m").to_dict()["windows"][0]["feature_ages"]["weather"]["median_s"] == 7200
    assert "How old the features were" in monitor.report("m").html()


def test_ages_are_told_in_fitting_units() -> None:
    assert [age_text(seconds) for seconds in (None, 0.0, 90.0, 150.0, 7260.0, 200_000.0)] == [
        "-", "0 s", "90 s", "2.5 min", "2.02 h", "2.31 d",
    ]  # fmt: skip
