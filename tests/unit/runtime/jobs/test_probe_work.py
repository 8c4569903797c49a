"""What a probe task does in its process: training set and record in, what was shown out."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.config.monitoring import MonitoringConfig
from raymlops.config.platform import PlatformConfig
from raymlops.control.loop.prober import grid_of, probe_folder
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field
from raymlops.laboratory.probes.probe_files import ProbeFolder
from raymlops.monitoring.events.event_tables import DeltaEventTables
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.records.models import ModelManifest, ModelVersion
from raymlops.runtime.jobs import probe_work
from raymlops.testing.control_examples import DAY, START

PER_DAY, DAYS = 120, 6
AT = START + (DAYS + 1) * DAY + timedelta(hours=1)


def rows(first: int, count: int) -> dict[str, Any]:
    x = np.random.default_rng(first).normal(size=count * PER_DAY)
    at = [START + first * DAY + k * DAY / PER_DAY for k in range(len(x))]
    return {"lamp_id": [f"{first}-{k}" for k in range(len(x))], "event_time": at, "x": x, "label": (x > 0).astype(int)}


@pytest.fixture
def config(tmp_path: Path) -> PlatformConfig:
    monitoring = MonitoringConfig(window=DAY, anchor=START, label_delay=timedelta(hours=1))
    return PlatformConfig(home=tmp_path, monitoring=monitoring)


def reader(config: PlatformConfig, environment: str | None = None) -> FeatureReader:
    return FeatureReader(config.feature_place(environment).root, clock=ManualClock(AT))


@pytest.fixture
def version(config: PlatformConfig) -> ModelVersion:
    """A version of model ``lamp`` whose training set is stored."""
    view = FeatureView("lamp_state", Entity("lamp", ["lamp_id"]), [Field("x", "float64")])
    known = pa.table(rows(0, DAYS))
    with closing(FeatureStore(config.home / "features", clock=ManualClock(AT))) as store:
        store.apply(view, FeatureService("lamps", ["lamp_state:x"]))
        store.ingest("lamp_state", known.select(["lamp_id", "event_time", "x"]))
    with closing(reader(config)) as opened:
        training = opened.training_set("lamps", known.select(["lamp_id", "event_time", "label"]), name="lamps")
    signature = Signature(task="classifier", inputs=(ColumnSpec(name="lamp_state__x", dtype="FP64"),), classes=(0, 1))
    manifest = ModelManifest(flavor="sklearn", signature=signature, files={}, libraries={})
    return ModelVersion(
        name="lamp",
        version=1,
        path="nowhere",
        manifest=manifest,
        digest="0",
        training_set=training.manifest.digest,
        created_at=START + DAYS * DAY,
    )


def record(config: PlatformConfig, day: int) -> None:
    """A day's requests and their labels, the first of them answered twice."""
    asked = rows(day, 1)
    asked = {name: [*values, values[0]] for name, values in asked.items()}
    count = PER_DAY + 1
    key = {"request_id": asked["lamp_id"], "row": pa.array([0] * count, pa.int32())}
    events = {**key, "event_time": asked["event_time"], "served_at": asked["event_time"], "lamp_state__x": asked["x"]}
    labels = {**key, "label": [str(label) for label in asked["label"]], "event_time": asked["event_time"]}
    tables = DeltaEventTables(config.home / "monitor")
    tables.append("predictions/lamp", pa.table(events), ingest_id=f"events {day}")
    tables.append("labels/lamp", pa.table(labels), ingest_id=f"labels {day}")


def shown_of(config: PlatformConfig, version: ModelVersion) -> Any:
    return ProbeFolder(probe_folder(config.home, version, grid_of(version, config.control, config.monitoring))).shown()


def test_a_window_is_probed_from_the_training_set_and_the_record(config: PlatformConfig, version: ModelVersion) -> None:
    record(config, DAYS)
    assert probe_work.probe(config, version, [START + DAYS * DAY], AT, reader) == ""
    shown = shown_of(config, version)
    assert [window.start for window in shown] == [START + day * DAY for day in (3, 4, 5, 6)]
    assert (shown[-1].rows, shown[-1].at) == (PER_DAY, AT)
    assert shown[-1].loss < 0.3, "the label follows the input"


def test_a_probe_that_was_fitted_ahead_is_scored(config: PlatformConfig, version: ModelVersion) -> None:
    record(config, DAYS)
    probe_work.prepare(config, version, [START + DAYS * DAY], reader)
    assert shown_of(config, version) == ()
    assert probe_work.probe(config, version, [START + DAYS * DAY], AT, reader) == ""
    assert shown_of(config, version)[-1].loss < 0.3


def test_a_window_that_nobody_asked_about_is_told_and_the_next_is_probed(
    config: PlatformConfig, version: ModelVersion
) -> None:
    silent, asked = START + DAYS * DAY, START + (DAYS + 1) * DAY
    told = probe_work.probe(config, version, [silent], AT, reader)
    assert told == f"nothing was asked of 'lamp' in the window from {silent.isoformat()}"
    record(config, DAYS + 1)
    assert probe_work.probe(config, version, [silent, asked], AT + DAY, reader) == ""
    assert shown_of(config, version)[-1].start == asked


def test_without_its_training_set_the_record_is_enough_for_the_second_window(
    config: PlatformConfig, version: ModelVersion, caplog: pytest.LogCaptureFixture
) -> None:
    lost = version.model_copy(update={"training_set": "0" * 64})
    record(config, DAYS)
    record(config, DAYS + 1)
    first = probe_work.probe(config, lost, [START + DAYS * DAY], AT, reader)
    assert first.startswith("a probe needs 50 labelled rows, got 0")
    assert "do without the training set of version 1" in caplog.text
    assert probe_work.probe(config, lost, [START + (DAYS + 1) * DAY], AT + DAY, reader) == ""
    assert shown_of(config, version)[-1].loss < 0.5, "a coin loses 0.69"
