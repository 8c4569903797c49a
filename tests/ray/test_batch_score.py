"""Tables scored on a real cluster: killed in the middle, gone on with, and compared with the model asked directly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyarrow import parquet

from raymlops.records.runs import RunStatus
from raymlops.tables.columns import INSTANT

if TYPE_CHECKING:
    from raymlops.platform import Platform
    from raymlops.records.models import ModelVersion
    from raymlops.records.scoring import Part, PartReceipt

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
DEADLINE_S = 120.0
T = datetime(2013, 1, 10, tzinfo=UTC)
SHOPS = 20


def spine(rows: int, seed: int) -> pa.Table:
    """Few shops, asked about again and again at different instants."""
    chance = np.random.default_rng(seed)
    at = [T + timedelta(minutes=int(minute)) for minute in chance.integers(0, 3000, rows)]
    return pa.table(
        {
            "shop": chance.integers(0, SHOPS + 2, rows),  # two of which nothing is known
            "event_time": pa.array(at, INSTANT),
            "price": chance.normal(size=rows),
        }
    )


@pytest.fixture(scope="module")
def version(platform: Platform) -> ModelVersion:
    from xgboost import XGBRegressor

    from raymlops.features import Entity, FeatureService, FeatureView, Field

    view = FeatureView("takings", Entity("branch", ["shop"]), [Field("amount", "float64")], ttl=timedelta(days=1))
    platform.apply(view, FeatureService("branches", ["takings:amount"]))
    chance = np.random.default_rng(0)
    rows = {
        "shop": chance.integers(0, SHOPS, 500),
        "event_time": pa.array([T + timedelta(minutes=int(m)) for m in chance.integers(-600, 3000, 500)], INSTANT),
        "amount": chance.normal(size=500),
    }
    platform.features.ingest("takings", pa.table(rows), ingest_id="takings")
    training = platform.features.training_set("branches", spine(1000, seed=1), name="branches")
    inputs = training.table().select(["price", "takings__amount"])
    matrix = inputs.to_pandas().to_numpy()
    estimator = XGBRegressor(n_estimators=5).fit(matrix, np.nansum(matrix, axis=1))
    return platform.models.register("takings", estimator, example=inputs, training_set=training)


def directly(platform: Platform, version: ModelVersion, rows: pa.Table) -> Any:
    """The same rows through the training set's join and the packaged model, in this process."""
    from raymlops.serving.models.model import columns_of
    from raymlops.serving.models.model_files import load_model

    model = load_model(Path(version.path), version.manifest, version.digest)
    joined = platform.features.training_set("branches", rows, name="directly").table()
    assert 0 < joined["takings__amount"].null_count < rows.num_rows
    return model.predict(columns_of(joined, model.signature))["value"]


def test_a_job_that_is_killed_goes_on_and_gives_every_row_once(
    platform: Platform, version: ModelVersion, tmp_path: Path, command: Callable[..., Any]
) -> None:
    rows = spine(30_000, seed=2)
    path, output = tmp_path / "rows.parquet", tmp_path / "scored"
    parquet.write_table(rows, path, row_group_size=250)
    arguments = ["takings", str(path), str(output), "--version", str(version.version)]
    environment = {**os.environ, "RAYMLOPS_HOME": str(platform.config.home)}
    first = subprocess.Popen(
        [sys.executable, str(ROOT / "jobs" / "batch_score.py"), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + DEADLINE_S
    while len(list(platform.config.home.glob("batch/*/parts/*.json"))) < 2:
        assert first.poll() is None, first.stderr and first.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate(timeout=DEADLINE_S)
    assert not (output / "_delta_log").exists()
    (left,) = platform.batch.list("takings", version.version)
    while (left := platform.runs.get(left.id)).status is not RunStatus.FAILED:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "its process ended without a word" in str(left.error)
    receipt = platform.batch.score("takings", path, output, version=version.version)
    assert 2 <= receipt.resumed_parts < receipt.parts == 60
    scored = DeltaTable(str(output)).to_pyarrow_table().sort_by("_row")
    assert scored["_row"].to_pylist() == list(range(30_000))
    assert scored.select(rows.column_names).equals(rows)
    assert scored["prediction"].to_numpy() == pytest.approx(directly(platform, version, rows), abs=0)
    again = platform.batch.score("takings", path, output, version=version.version)
    assert (again.duplicate, again.run_id) == (True, receipt.run_id)
    told = command("batch", "list", "takings", "--version", str(version.version), "--json")
    run, killed = orjson.loads(told.stdout)
    assert (run["id"], killed["id"], killed["status"]) == (receipt.run_id, left.id, "failed")
    assert (run["status"], run["result"]["rows"], run["parameters"]["service"]) == ("succeeded", 30_000, "branches@1")


def test_a_version_of_a_delta_table_and_a_view(
    platform: Platform, version: ModelVersion, tmp_path: Path, command: Callable[..., Any]
) -> None:
    table, output = tmp_path / "table", tmp_path / "scored"
    rows = spine(400, seed=3)
    write_deltalake(str(table), rows)
    write_deltalake(str(table), spine(50, seed=4), mode="append")
    done = command("batch", "score", f"takings@{version.version}", f"{table}@v0", str(output), "--json")
    assert done.returncode == 0, done.stderr
    receipt = orjson.loads(done.stdout)
    assert (receipt["rows"], receipt["plan"]["source"]["version"], receipt["output_version"]) == (400, 0, 0)
    scored = DeltaTable(str(output)).to_pyarrow_table().sort_by("_row")
    assert scored["prediction"].to_numpy() == pytest.approx(directly(platform, version, rows), abs=0)
    checked = command("batch", "check", f"takings@{version.version}", "view:takings", str(tmp_path / "other"))
    assert (checked.returncode, "view takings@1: columns ['price'] are missing" in checked.stderr) == (1, True)


def test_broken_rows_are_refused_before_a_worker_starts(
    platform: Platform, version: ModelVersion, tmp_path: Path
) -> None:
    from raymlops.errors import DataError

    rows = spine(1000, seed=5)
    broken = rows.set_column(2, "price", pa.nulls(1000, pa.float64()))
    parquet.write_table(broken, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"is refused: price: 100\.0% of the values are missing"):
        platform.batch.score("takings", tmp_path / "rows.parquet", tmp_path / "scored", version=version.version)
    assert not (tmp_path / "scored").exists()
    run = next(run for run in platform.batch.list("takings") if run.error is not None)
    assert run.status == "failed"


def test_a_worker_tells_which_row_it_cannot_score(platform: Platform, version: ModelVersion, tmp_path: Path) -> None:
    """In a part that the sample leaves out."""
    from raymlops.errors import DataError

    rows = spine(8000, seed=6)
    prices = rows["price"].to_numpy().copy()
    prices[1777] = np.inf
    parquet.write_table(rows.set_column(2, "price", pa.array(prices)), tmp_path / "rows.parquet", row_group_size=250)
    with pytest.raises(DataError, match=r"row 1777: inputs \['price'\] must be finite") as caught:
        platform.batch.score("takings", tmp_path / "rows.parquet", tmp_path / "scored", version=version.version)
    assert caught.value.context == {"columns": ["price"]}
    assert not (tmp_path / "scored").exists()


@pytest.mark.parametrize(
    "fault",
    [*(pytest.param(fault, marks=pytest.mark.slow) for fault in ("a raise of its own", "an exit")), "a kill"],
)
def test_whatever_a_worker_comes_to_its_cpu_is_free_for_the_next_job(
    platform: Platform, version: ModelVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    import ray

    from raymlops.errors import RaymlopsError
    from raymlops.runtime.cluster.free_cpus import await_free_cpus, describe_cpus
    from raymlops.runtime.jobs import part_workers

    class Failing(part_workers.BatchWorker):
        def score(self, part: Part) -> PartReceipt:
            if part.number < 2:
                return super().score(part)
            if fault == "a raise of its own":
                raise ValueError("no estimator raises this")
            if fault == "a kill":
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(3)

    free = await_free_cpus(1.0, DEADLINE_S)  # those of the job before this one come back after its end
    parquet.write_table(spine(2000, seed=7), tmp_path / "rows.parquet", row_group_size=100)
    with monkeypatch.context() as patch:
        patch.setattr(part_workers, "BatchWorker", Failing)
        with pytest.raises((RaymlopsError, ValueError), match=r"no estimator raises this|could not be scored"):
            platform.batch.score("takings", tmp_path / "rows.parquet", tmp_path / "scored", version=version.version)
    deadline = time.monotonic() + DEADLINE_S
    while ray.available_resources().get("CPU", 0.0) < free:
        assert time.monotonic() < deadline, describe_cpus()
        time.sleep(0.05)
    assert (tmp_path / "scored").exists() == (fault != "a raise of its own")
    done = platform.batch.score("takings", tmp_path / "rows.parquet", tmp_path / "scored", version=version.version)
    assert done.rows == 2000
    assert (done.resumed_parts > 0) == (fault != "a raise of its own")


def test_a_refusal_names_what_holds_cpus(platform: Platform) -> None:
    import ray

    from raymlops.runtime.cluster.free_cpus import describe_cpus

    @ray.remote(num_cpus=0.5)
    class Holder:
        def ready(self) -> None: ...

    told = f"{test_a_refusal_names_what_holds_cpus.__name__}.<locals>.Holder: 0.5"
    holder = Holder.remote()  # type: ignore[attr-defined]
    ray.get(holder.ready.remote(), timeout=DEADLINE_S)
    group = ray.util.placement_group([{"CPU": 0.25}], name="kept")
    assert group.wait(DEADLINE_S)
    deadline = time.monotonic() + DEADLINE_S
    try:
        while not {told, "room kept for kept: 0.25"} <= set(describe_cpus().partition("held by ")[2].split(", ")):
            assert time.monotonic() < deadline, describe_cpus()
            time.sleep(0.1)
    finally:
        ray.kill(holder)
        ray.util.remove_placement_group(group)
