"""From a stranger's table to answers over HTTP: init, apply, ingest, train, deploy, predict."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from pyarrow import csv, parquet

from raymlops.delivery.project import read_project
from raymlops.projects import ProjectRows, project_rows
from raymlops.records.runs import RunStatus
from tests.unit.projects.examples import houses, orders, tickets

if TYPE_CHECKING:
    from raymlops.platform import Platform
    from raymlops.records.bundles import ProjectSpec
    from tests.ray.conftest import Finished

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(540)]

SHAPES: dict[str, tuple[str, ...]] = {
    "orders": ("--label", "returned", "--time", "ordered_at", "--label-delay", "3d"),
    "houses": ("--label", "price", "--time", "sold"),
    "tickets": ("--label", "kind", "--time", "created", "--entity", "team"),
}
QUICK = {"trials": 2, "search": {"xgboost": {"n_estimators": {"int": [30, 60]}, "max_depth": 3}}}


@pytest.mark.parametrize(
    "shape", ["orders", pytest.param("houses", marks=pytest.mark.slow), pytest.param("tickets", marks=pytest.mark.slow)]
)
def test_a_table_becomes_a_model_that_answers(
    shape: str,
    platform: Platform,
    command: Callable[..., Finished],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = tmp_path / shape
    made = command("init", str(_written(shape, tmp_path)), str(project), *SHAPES[shape], "--yes")
    assert (made.returncode, made.stderr) == (0, "")
    monkeypatch.syspath_prepend(str(project))
    spec = read_project(project)
    bundle = platform.delivery.build(project)
    assert bundle.tests["failed"] == 0
    assert bundle.tests["passed"] >= 2
    platform.delivery.deploy(bundle.digest, reason="first")
    definitions = importlib.import_module(f"{shape}.definitions").DEFINITIONS
    rows = project_rows(project, spec, definitions)
    try:
        until = rows.rows["asked_at"][-1].as_py()
        assert importlib.import_module(f"{shape}.ingest").ingest(platform, until) > rows.rows.num_rows * 0.9
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == shape]:
            del sys.modules[name]
    run = platform.runs.start(spec.name, parameters=QUICK, reason="first")
    assert (run.status, run.error) == (RunStatus.SUCCEEDED, None), run.result
    assert run.result["outcome"] == "candidate", run.result["reason"]
    platform.endpoints.deploy(spec.model, run.result["version"], features=spec.service)
    try:
        _assert_answers(platform, spec, rows)
    finally:
        platform.endpoints.undeploy(spec.model, reason="the test is over")


def _written(shape: str, directory: Path) -> Path:
    table = {"orders": orders, "houses": houses, "tickets": tickets}[shape]()
    if shape == "houses":
        csv.write_csv(table, directory / "houses.csv")
        return directory / "houses.csv"
    parquet.write_table(table, directory / f"{shape}.parquet")
    return directory / f"{shape}.parquet"


def _assert_answers(platform: Platform, spec: ProjectSpec, rows: ProjectRows) -> None:
    """The newest rows are asked about as of their own times; nothing but what a label alone tells is missing."""
    for row in rows.rows.slice(rows.rows.num_rows - 5).to_pylist():
        told = {name: value for name, value in row.items() if name not in {"row_id", "label", "label_time"}}
        instance = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in told.items()}
        body = {"id": row["row_id"], "instances": [instance], "parameters": {"at": row["asked_at"].isoformat()}}
        answer = requests.post(f"{platform.url}/v2/models/{spec.model}/predict", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        outputs: dict[str, Any] = {output["name"]: output for output in answer.json()["outputs"]}
        if spec.task == "regressor":
            assert 0 < outputs["value"]["data"][0] < 500_000
        else:
            assert outputs["probability"]["shape"] == [1, len(spec.data.classes)]
            assert sum(outputs["probability"]["data"]) == pytest.approx(1.0, abs=1e-5)
