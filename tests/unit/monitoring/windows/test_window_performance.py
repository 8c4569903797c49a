from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.config.monitoring import MonitoringConfig
from raymlops.monitoring import HOLDOUT_FILE, Holdout
from tests.unit.monitoring.conftest import chance, draw

START = datetime(2013, 1, 7, tzinfo=UTC)
WEEK, DAY = timedelta(days=7), timedelta(days=1)


def holdout() -> bytes:
    rng = np.random.default_rng(8)
    inputs = draw(rng, 4000, 0.0)
    chances = chance(inputs["x"], inputs["y"])
    labels = (rng.random(4000) < chances).astype(float)
    importances = {"x": 3.0, "y": 2.0, "kind": 1.0}
    return Holdout.fit("binary", pa.table(inputs), chances, labels, importances=importances).dumps()


def close(world: Any, *, labels: float = 0.0, flip: float = 0.0, **events: Any) -> Any:
    """Close a window of 2,000 rows, a share of which is labelled."""
    (world.home / "1" / HOLDOUT_FILE).write_bytes(holdout())
    monitor = world.monitor()
    table = world.events(0, 2000, **events)
    monitor.record_events("m", table, "e")
    if labels:
        monitor.record_labels("m", world.labels(table.slice(0, int(2000 * labels)), flip=flip), "l")
    return monitor.close_windows("m", START + WEEK + DAY)[0]


def test_without_labels_performance_is_estimated(world: Any) -> None:
    world.register(1)
    record = close(world, shift=0.8)
    assert record.performance[1].labelled_rows == 0
    estimated = record.estimated[1]
    truth = close_truth(world)
    assert estimated.metrics["log_loss"] == pytest.approx(truth, abs=0.03)
    assert estimated.intervals["log_loss"][0] <= truth <= estimated.intervals["log_loss"][1]
    assert not record.degraded


def close_truth(world: Any) -> float:
    scores = world.monitor().events("m", START, START + WEEK)["score"].to_numpy()
    return float(-(scores * np.log(scores) + (1 - scores) * np.log(1 - scores)).mean())


def test_a_version_without_a_holdout_has_no_estimate(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    monitor.record_events("m", world.events(0, 500), "e")
    (record,) = monitor.close_windows("m", START + WEEK + DAY)
    assert record.estimated == {}
    assert record.quality == "ok"


def test_a_broken_holdout_warns_and_stops_nothing(world: Any) -> None:
    world.register(1)
    (world.home / "1" / HOLDOUT_FILE).write_bytes(holdout()[:300])
    monitor = world.monitor()
    monitor.record_events("m", world.events(0, 500), "e")
    (record,) = monitor.close_windows("m", START + WEEK + DAY)
    assert record.quality == "warn"
    assert "the holdout of version 1 cannot be read" in record.quality_reasons[-1]


def test_estimates_decide_nothing_unless_configured(world: Any) -> None:
    world.register(1, metrics={"log_loss": 0.3})
    record = close(world)
    assert "estimated without labels: log_loss" in record.estimated_degraded
    assert not record.degraded


def test_estimates_decide_where_that_is_configured(world: Any) -> None:
    world.config = world.config.model_copy(
        update={"performance": world.config.performance.model_copy(update={"use_estimates": True})}
    )
    world.register(1, metrics={"log_loss": 0.3})
    record = close(world)
    assert record.degraded
    assert record.degraded_reason == record.estimated_degraded


def test_labels_overrule_estimates(world: Any) -> None:
    world.config = world.config.model_copy(
        update={"performance": world.config.performance.model_copy(update={"use_estimates": True, "margin": 0.3})}
    )
    world.register(1, metrics={"log_loss": 0.45})
    record = close(world, labels=1.0)
    assert not record.degraded


def test_segments_are_judged_on_labels_where_they_came(world: Any) -> None:
    world.config = MonitoringConfig(
        window=WEEK, label_delay=DAY, segments={"declared": {"m": ("kind", "x > 1", "z > 1"), "other": ("nothing",)}}
    )
    world.register(1)
    record = close(world, labels=1.0)
    declared = [segment for segment in record.segments if segment.declared]
    assert {segment.segment for segment in declared} == {"x > 1", *(f"kind = 'k{i}'" for i in range(6))}
    assert not any(segment.estimated for segment in record.segments)
    assert "names columns that are not logged: ['z']" in record.quality_reasons[-1]


def test_segments_are_judged_on_estimates_where_no_labels_came(world: Any) -> None:
    world.register(1)
    record = close(world)
    (worst,) = record.segments
    assert worst.estimated
    assert worst.metric == "log_loss"
    assert not worst.declared


def test_a_segment_whose_labels_are_wrong_is_found(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    events = world.events(0, 3000)
    labels = world.labels(events)
    wrong = np.asarray(events["kind"]) == "k3"
    flipped = np.where(wrong, 1 - np.asarray(labels["label"]), np.asarray(labels["label"]))
    monitor.record_events("m", events, "e")
    monitor.record_labels("m", labels.set_column(2, "label", pa.array(flipped)), "l")
    (record,) = monitor.close_windows("m", START + WEEK + DAY)
    assert record.segments[-1].significant
    assert "kind = 'k3'" in record.segments[-1].segment


def test_no_search_where_it_is_switched_off(world: Any) -> None:
    world.config = MonitoringConfig(window=WEEK, label_delay=DAY, segments={"search_columns": 0})
    world.register(1)
    assert close(world, labels=1.0).segments == ()
