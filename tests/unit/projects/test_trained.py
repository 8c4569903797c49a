"""A project that was made trains a model, and a request is answered from the features that it was trained on."""

from __future__ import annotations

import importlib
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from raymlops.clock import ManualClock, to_us
from raymlops.delivery.project import read_project
from raymlops.experiments import InProcessTuner
from raymlops.features import FeatureReader, FeatureStore
from raymlops.features.catalog.applied import CatalogState
from raymlops.metadata import MetadataService
from raymlops.projects import ProjectRows, project_rows
from raymlops.records.bundles import ProjectSpec
from raymlops.serving.models.model_files import load_model
from raymlops.serving.protocol.instances import InstanceSchema
from raymlops.serving.protocol.schema import InputSchema
from raymlops.steps import TrainingContext, train_project
from raymlops.steps.project.project_faults import project_faults
from tests.unit.projects.test_making import SHAPES, make

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
QUICK = {"trials": 2, "search": {"xgboost": {"n_estimators": {"int": [30, 60]}, "max_depth": 3}}}
SHARES = {"orders": 0.97, "houses": 0.5, "tickets": 0.9}
"""Loss of the model over that of the best constant, at most."""


@pytest.mark.parametrize(
    "shape", [pytest.param(each, marks=[] if each == "tickets" else [pytest.mark.slow]) for each in SHAPES]
)
def test_it_trains_and_answers_a_request_as_the_training_row(
    shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(shape, tmp_path)
    monkeypatch.syspath_prepend(str(made.directory))
    spec = read_project(made.directory)
    definitions = importlib.import_module(f"{shape}.definitions").DEFINITIONS
    document = yaml.safe_load((made.directory / "project.yaml").read_text())
    assert project_faults(document, CatalogState(entities={}, views={}, services={}, on_demand={})) == []
    rows = project_rows(made.directory, spec, definitions)
    until = rows.rows["asked_at"][-1].as_py()
    clock = ManualClock(until + timedelta(days=1))
    store = FeatureStore(tmp_path / "features", clock=clock, history=timedelta(days=400))
    store.apply(*definitions)
    for view, table in rows.pushed(BEGINNING, until).items():
        assert store.ingest(view, table).rows == table.num_rows > 0
    store.materialize()
    store.close()
    reader = FeatureReader(tmp_path / "features", clock=clock)
    metadata = MetadataService(tmp_path / "metadata.db", clock=clock)
    try:
        context = TrainingContext(
            home=tmp_path,
            reader=reader,
            metadata=metadata,
            tuner=InProcessTuner(),
            clock=clock,
            project=spec,
            run_id="run-1",
            work=tmp_path / "work",
        )
        got = train_project(context, QUICK, reason="first")
        assert got["outcome"] == "candidate", got["reason"]
        assert got["metrics"][spec.metric] < SHARES[shape] * got["baseline_metrics"][spec.metric]
        version = metadata.models.get_version(spec.model, 1)
        schema = InputSchema(load_model(Path(version.path), version.manifest, version.digest).signature)
        _assert_served_as_trained(spec, rows, reader, InstanceSchema(schema, reader.plan(spec.service)))
    finally:
        reader.close()
        metadata.close()
        for name in [name for name in sys.modules if name.partition(".")[0] == shape]:
            del sys.modules[name]


def _assert_served_as_trained(spec: ProjectSpec, rows: ProjectRows, reader: FeatureReader, schema: Any) -> None:
    """The newest rows, asked about over HTTP, against their training rows."""
    newest = rows.rows.slice(rows.rows.num_rows - 40, 39)
    names = [name for name in newest.column_names if name not in {"row_id", "label", "label_time"}]
    spine = newest.select(names).append_column("event_time", newest["asked_at"])
    trained = reader.training_set(spec.service, spine, name="again").table()
    for place, row in enumerate(newest.select(names).to_pylist()):
        at = row["asked_at"]
        instance = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
        asked = schema.decode(orjson.dumps({"instances": [instance]}), to_us(at))
        for name, values in asked.columns.items():
            expected = trained[name][place].as_py()
            served = values[0]
            if isinstance(expected, str):
                assert served == expected, name
            else:
                missing = float("nan") if expected is None else float(expected)
                assert float(served) == pytest.approx(missing, rel=1e-6, nan_ok=True), name
