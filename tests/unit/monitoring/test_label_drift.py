"""Labels against those of the reference, however late they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.config.monitoring import DriftConfig
from raymlops.monitoring import DriftRule, Reference
from raymlops.monitoring.profiles.columns import label_number
from raymlops.monitoring.profiles.profile import LABEL_COLUMN
from raymlops.monitoring.windows.closing import drift_rule, observe_window
from raymlops.monitoring.windows.window_data import WindowData
from raymlops.records.windows import WindowRecord


def with_labels(world: Any, labels: pa.Array) -> Reference:
    """The reference of the world's model, and these labels."""
    world.register(1)
    return Reference.load(world.home / "1" / "reference.bin").joined(Reference.fit(pa.table({LABEL_COLUMN: labels})))


def observe(world: Any, events: pa.Table, labels: pa.Table, reference: Reference) -> WindowRecord:
    start = events["event_time"][0].as_py().replace(hour=0, minute=0, second=0, microsecond=0)
    record, _ = observe_window(
        WindowData(
            model="m",
            start=start,
            end=start + world.config.window,
            champion=1,
            events=events,
            known=events.select(["request_id", "row"]),
            labels=labels.set_column(2, "label", labels["label"].cast(pa.string())),
            versions={1: world.metadata.versions["m", 1]},
            reference=reference,
        ),
        world.config,
    )
    assert WindowRecord.model_validate_json(record.model_dump_json()) == record
    return record


def classes(rng: np.random.Generator, share: float) -> pa.Array:
    return pa.array((rng.random(4000) < share).astype(int)).cast(pa.string())


@pytest.mark.parametrize("known", [1000, 400])
def test_labels_as_before_are_no_drift(world: Any, known: int) -> None:
    events = world.events(0)
    labels = world.labels(events)
    truth = float(np.mean(labels["label"].to_numpy()))
    record = observe(world, events, labels.slice(0, known), with_labels(world, classes(world.rng, truth)))
    assert record.label_drift is not None
    assert not record.label_drift.drifted
    assert LABEL_COLUMN not in record.columns
    assert record.quality == "ok"


def test_another_share_of_positives_is_label_drift_and_no_input_drift(world: Any) -> None:
    events = world.events(0)
    record = observe(world, events, world.labels(events, flip=0.4), with_labels(world, classes(world.rng, 0.15)))
    assert record.label_drift is not None
    assert record.label_drift.drifted
    assert record.label_drift.distances["psi"] > record.label_drift.distance_thresholds["psi"]
    assert not record.drifted
    assert not any(column.drifted for column in record.columns.values())


def test_no_label_yet_is_no_drift(world: Any) -> None:
    events = world.events(0)
    labels = world.labels(events).slice(0, 0)
    record = observe(world, events, labels, with_labels(world, classes(world.rng, 0.3)))
    assert record.label_drift is not None
    assert not record.label_drift.drifted
    assert record.quality == "ok"


def test_numbers_as_labels(world: Any) -> None:
    events = world.events(0)
    reference = with_labels(world, pa.array(world.rng.normal(10, 2, 4000)))
    for mean, drifted in ((10.0, False), (11.0, True)):
        values = pa.array([str(value) for value in world.rng.normal(mean, 2, 1000)])
        record = observe(world, events, world.labels(events).set_column(2, "label", values), reference)
        assert record.label_drift is not None
        assert record.label_drift.drifted is drifted


def test_without_labels_in_the_reference_there_is_no_verdict(world: Any) -> None:
    world.register(1)
    events = world.events(0)
    record = observe(world, events, world.labels(events), Reference.load(world.home / "1" / "reference.bin"))
    assert record.label_drift is None


def test_the_rule_is_the_configured_one() -> None:
    assert drift_rule(DriftConfig(min_effect=0.04)) == DriftRule(0.005, 0.2, 200)
    asked = DriftConfig(measure="wasserstein", min_effect=0.1, false_discovery_rate=0.01, min_rows=50)
    assert drift_rule(asked) == DriftRule(0.01, 0.1, 50, "wasserstein")


def test_the_defaults_are_the_librarys() -> None:
    """What a product window is judged by is what the false alarms are counted with."""
    rule = drift_rule(DriftConfig())
    assert (rule.alpha, rule.measure) == (DriftRule().alpha, DriftRule().measure)
    assert rule.effect == pytest.approx(DriftRule().effect)


def test_a_label_is_a_number_where_it_reads_as_one() -> None:
    assert label_number("1.5") == 1.5
    assert math.isnan(label_number("delayed"))
