"""A project whose model takes what a request brings, and no feature."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

from raymlops.clock import ManualClock, to_us
from raymlops.features import FeatureReader, FeatureService, FeatureStore
from raymlops.monitoring import REFERENCE_FILE, Reference
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.serving.protocol.instances import InstanceSchema
from raymlops.serving.protocol.schema import InputSchema
from raymlops.steps import train_project
from tests.unit.steps.conftest import DAYS, PROJECT, START, opened


def test_it_is_trained_on_a_service_of_no_features(tmp_path: Path, filled_home: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(filled_home, home)
    store = FeatureStore(home / "features", clock=ManualClock(START + timedelta(days=DAYS)))
    store.apply(FeatureService("nothing", []))
    store.close()
    with opened(home) as toy:
        context = replace(toy, project=PROJECT.model_copy(update={"service": "nothing"}))
        result = train_project(context, {}, reason="first")
        assert result["outcome"] == "candidate", result["reason"]
        version = context.metadata.models.get_version("toy", 1)
        assert version.manifest.signature.names == ("size", "hour")
        assert {"size", "hour"} < set(Reference.load(Path(version.path) / REFERENCE_FILE).columns)


def test_nothing_is_joined_for_it_online(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, clock=ManualClock(START))
    store.apply(FeatureService("nothing", []))
    store.close()
    reader = FeatureReader(tmp_path, clock=ManualClock(START))
    spine = pa.table({"event_time": pa.array([START], pa.timestamp("us", tz="UTC")), "size": [3]})
    made = reader.training_set("nothing", spine, name="toy")
    assert reader.rebuild(made.manifest).table().equals(made.table())
    plan = reader.plan("nothing")
    signature = Signature(task="regressor", inputs=(ColumnSpec(name="size", dtype="INT64"),))
    asked = InstanceSchema(InputSchema(signature), plan).decode(
        b'{"instances": [{"size": 3}, {"size": 4}]}', to_us(START)
    )
    assert (asked.columns["size"].tolist(), [list(row) for row in asked.missing]) == ([3.0, 4.0], [[], []])
    reader.close()
