from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.monitoring import REFERENCE_FILE, Reference
from raymlops.monitoring.windows.closing import WindowData, drifted_share, last_champion, observe_window
from raymlops.records.learning.signatures import Signature
from raymlops.records.windows import ColumnDrift, WindowRecord

LABELS = pa.schema(
    [
        ("request_id", pa.string()),
        ("row", pa.int32()),
        ("label", pa.string()),
        ("event_time", pa.timestamp("us", "UTC")),
    ]
)


def data(world: Any, events: pa.Table, labels: pa.Table | None = None, **changes: Any) -> WindowData:
    start = events["event_time"][0].as_py().replace(hour=0, minute=0, second=0, microsecond=0)
    path = world.home / "1" / REFERENCE_FILE
    values = {
        "model": "m",
        "start": start,
        "end": start + world.config.window,
        "champion": 1,
        "events": events,
        "known": events.select(["request_id", "row"]),
        "labels": LABELS.empty_table() if labels is None else text(labels),
        "versions": {version: known for (_, version), known in world.metadata.versions.items()},
        "reference": Reference.load(path) if path.exists() else None,
    }
    return WindowData(**{**values, **changes})


def text(labels: pa.Table) -> pa.Table:
    return labels.set_column(2, "label", labels["label"].cast(pa.string()))


def observe(world: Any, *args: Any, **changes: Any) -> WindowRecord:
    record, _ = observe_window(data(world, *args, **changes), world.config)
    assert WindowRecord.model_validate_json(record.model_dump_json()) == record
    return record


def test_a_quiet_window(world: Any) -> None:
    world.register(1)
    events = world.events(0)
    record = observe(world, events, world.labels(events))
    assert record.rows == 1000
    assert record.quality == "ok"
    assert not record.drifted
    assert not record.degraded
    assert set(record.columns) == {"x", "y", "kind"}
    assert record.columns["x"].importance == 0.5
    assert record.prediction_drift is not None
    assert not record.prediction_drift.drifted
    assert record.performance[1].labelled_rows == 1000
    assert record.performance[1].metrics["log_loss"] == pytest.approx(0.52, abs=0.05)
    assert record.reference_metrics == {"log_loss": 0.52}


def test_moved_inputs_are_drift_and_no_degradation(world: Any) -> None:
    world.register(1, metrics={"log_loss": 0.60})
    events = world.events(0, shift=0.8)
    record = observe(world, events, world.labels(events))
    assert record.drifted
    assert [name for name, column in record.columns.items() if column.drifted] == ["x"]
    assert record.prediction_drift is not None
    assert record.prediction_drift.drifted
    assert not record.degraded


def test_a_changed_truth_is_degradation_and_no_drift(world: Any) -> None:
    world.register(1)
    events = world.events(0)
    record = observe(world, events, world.labels(events, flip=0.3))
    assert not record.drifted
    assert record.degraded
    assert "log_loss" in record.degraded_reason


def test_versions_are_measured_apart(world: Any) -> None:
    world.register(1)
    world.register(2)
    champion, canary = world.events(0), world.events(0, 400, version=2, role="canary")
    shadow = world.events(0, 300, version=3, role="shadow")
    labels = pa.concat_tables([world.labels(champion), world.labels(canary, flip=0.4)])
    record = observe(world, pa.concat_tables([champion, canary, shadow]), labels)
    assert record.rows == 1400
    assert {version: p.rows for version, p in record.performance.items()} == {1: 1000, 2: 400}  # 3 is not registered
    assert record.performance[2].metrics["log_loss"] > record.performance[1].metrics["log_loss"] + 0.1
    assert not record.degraded


def test_another_models_scores_are_no_prediction_drift(world: Any) -> None:
    world.register(1)
    world.register(2)
    odd = world.events(0, 1000, version=2, role="canary", score=np.full(1000, 0.99))
    record = observe(world, pa.concat_tables([world.events(0), odd]))
    assert record.prediction_drift is not None
    assert not record.prediction_drift.drifted
    assert record.prediction_drift.missing_share == 0.0


def test_failures_and_fallbacks_are_counted(world: Any) -> None:
    world.register(1)
    error = pa.array(["raised"] * 10 + [None] * 990, pa.string())
    fallback = pa.array([None] * 980 + ["canary 2: timeout"] * 20, pa.string())
    score = np.r_[np.full(10, np.nan), np.full(990, 0.3)]
    record = observe(world, world.events(0, error=error, fallback=fallback, score=score))
    assert (record.rows, record.errors, record.fallbacks) == (990, 10, 20)
    assert record.performance[1].rows == 990


def test_labels_find_their_predictions(world: Any) -> None:
    world.register(1)
    events = world.events(0)
    mine = world.labels(events.slice(0, 600))
    again = world.labels(events.slice(0, 50))
    late = world.labels(events.slice(900, 50), delay=timedelta(days=9))
    strange = pa.concat_tables([world.labels(world.events(5, 7)).slice(i, 1) for i in range(7)])
    strange = strange.set_column(3, "event_time", mine["event_time"].slice(0, 7))
    record = observe(world, events, pa.concat_tables([mine, again, late, strange]))
    assert record.performance[1].labelled_rows == 650
    assert record.labels_duplicate == 50
    assert record.labels_unknown == 7


def test_labels_of_earlier_predictions_are_not_unknown(world: Any) -> None:
    world.register(1)
    before, events = world.events(0), world.events(1)
    labels = world.labels(before.slice(990), delay=timedelta(days=2))
    known = pa.concat_tables([before, events]).select(["request_id", "row"])
    assert observe(world, events, labels, known=known).labels_unknown == 0


def test_labels_that_say_nothing_are_reported(world: Any) -> None:
    world.register(1)
    events = world.events(0)
    labels = text(world.labels(events))
    texts = pa.array(["maybe"] * 5 + labels["label"].to_pylist()[5:], pa.string())
    record = observe(world, events, labels.set_column(2, "label", texts))
    assert record.performance[1].labelled_rows == 995
    assert record.quality == "warn"
    assert "5 labels are none of the classes" in record.quality_reasons[0]


def test_a_window_without_events_blocks_training(world: Any) -> None:
    world.register(1)
    events = world.events(0)
    found, profile = observe_window(replace(data(world, events), events=events.slice(0, 0)), world.config)
    record = WindowRecord.model_validate_json(found.model_dump_json())
    assert profile is not None
    assert record.rows == 0
    assert record.quality == "block"
    assert "the traffic stopped" in record.quality_reasons[0]
    assert not record.drifted


def test_broken_columns_are_isolated(world: Any) -> None:
    world.register(1)
    events = world.events(0, y=pa.nulls(1000, pa.float64())).drop_columns(["kind"])
    record = observe(world, events, world.labels(events))
    assert record.quality == "block"
    assert record.columns["kind"].problem.startswith("dropped")
    assert "every value of the window is missing" in record.columns["y"].problem
    assert not record.columns["x"].drifted
    assert record.performance[1].labelled_rows == 1000


def test_repeated_requests_are_seen(world: Any) -> None:
    world.register(1)
    events = world.events(0)
    record = observe(world, pa.concat_tables([events, events.slice(0, 100)]), world.labels(events))
    assert "repeat a request id" in record.quality_reasons[0]
    assert record.performance[1].labelled_rows == 1100


def test_without_a_reference_performance_is_still_judged(world: Any) -> None:
    world.register(1, reference=False)
    events = world.events(0)
    record = observe(world, events, world.labels(events, flip=0.3), reference_problem="version 1 has no reference.bin")
    assert record.degraded
    assert record.columns == {}
    assert record.prediction_drift is None
    assert record.quality_reasons == ("drift is not judged: version 1 has no reference.bin",)


@pytest.mark.parametrize("classes", [(False, True), ("0", "1"), (0.0, 1.0)])
def test_classes_of_other_types(world: Any, classes: tuple[Any, ...]) -> None:
    world.register(1, signature=Signature(task="classifier", inputs=(), classes=classes))
    events = world.events(0)
    assert observe(world, events, world.labels(events)).performance[1].metrics["log_loss"] < 0.6


def test_many_classes_and_regressors(world: Any) -> None:
    world.register(1, signature=Signature(task="classifier", inputs=(), classes=("a", "b", "c")))
    events = world.events(0, label_predicted=["a", "b"] * 500)
    labels = text(world.labels(events)).set_column(2, "label", pa.array(["a"] * 990 + ["z"] * 10))
    record = observe(world, events, labels)
    assert record.performance[1].metrics == {"accuracy": 0.5}
    assert record.performance[1].labelled_rows == 990
    world.register(2, signature=Signature(task="regressor", inputs=()))
    events = world.events(0, version=2, label_predicted=pa.nulls(1000, pa.string()))
    labels = text(world.labels(events)).set_column(2, "label", pa.array(["0.5"] * 998 + ["much", "nan"]))
    record = observe(world, events, labels, champion=2)
    assert record.performance[2].labelled_rows == 998
    assert record.performance[2].metrics["mean_label"] == 0.5


def test_the_champion_is_the_last_that_answered(world: Any) -> None:
    events = pa.concat_tables(
        [world.events(0, 50, version=2), world.events(0, 40, version=1), world.events(0, 9, version=3, role="canary")]
    )
    assert last_champion(events) == 2
    assert last_champion(events.slice(90)) is None


def test_the_drifted_share_is_weighted() -> None:
    def column(drifted: bool, importance: float | None) -> ColumnDrift:
        return ColumnDrift(score=1, threshold=1, p_value=0, drifted=drifted, importance=importance)

    assert drifted_share({"a": column(True, 0.8), "b": column(False, 0.2)}) == 0.8
    assert drifted_share({"a": column(True, None), "b": column(False, None)}) == 0.5
    assert drifted_share({"a": column(True, 0.0)}) == 0.0
    assert drifted_share({}) == 0.0
