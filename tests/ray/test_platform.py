"""Parts of the platform on a real cluster: proxies, Tune, runs, the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from raymlops.errors import ConfigError, ModelVersionNotFound, NotFoundError, StaleWrite, UnavailableError

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = pytest.mark.ray


def test_domain_errors_cross_the_hop_as_they_were_raised(platform: Platform) -> None:
    with pytest.raises(ModelVersionNotFound) as caught:
        platform.models.get("nobody", 3)
    assert caught.value.context == {"name": "nobody", "version": 3}


def test_an_actor_that_is_not_there_is_unavailable(platform: Platform) -> None:
    from raymlops.runtime.cluster.clients import ActorProxy

    with pytest.raises(UnavailableError, match="the nobody actor is not running"):
        ActorProxy("nobody")


def test_two_that_write_the_same_plan_number_are_told(platform: Platform) -> None:
    from raymlops.records.plans import ServingPlan
    from raymlops.runtime.cluster.clients import metadata_stores

    metadata = metadata_stores()
    plan = ServingPlan(model="contended", number=1, champion=1, served=False, created_at=platform.clock.now())
    metadata.plans.put_plan(plan)
    with pytest.raises(StaleWrite):
        metadata.plans.put_plan(plan.model_copy(update={"champion": 2}))


def test_a_pipeline_without_a_bundle_is_named(platform: Platform) -> None:
    with pytest.raises(NotFoundError, match="no bundle of pipeline 'nothing' is deployed"):
        platform.runs.start("nothing")


def _search() -> tuple[list[Any], dict[str, Any]]:
    """Three trials, the last of which fails, and what they are fitted on."""
    from raymlops.experiments import TrialSpec
    from raymlops.records.learning.tasks import LearningTask

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 3))
    table = pa.table({**dict(zip("abc", rows.T, strict=True)), "label": (rows.sum(axis=1) > 0).astype(float)})
    specs = [
        TrialSpec(number=0, family="xgboost", params={"n_estimators": 10}),
        TrialSpec(number=1, family="logistic"),
        TrialSpec(number=2, family="xgboost", params={"max_depth": -5}),
    ]
    return specs, {"train": table[:400], "valid": table[400:], "task": LearningTask(inputs=("a", "b", "c"))}


def test_tune_gives_the_results_of_one_process(
    platform: Platform, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from raymlops.experiments import Drawn, InProcessTuner
    from raymlops.experiments.searching.search import TRIALS_LOG
    from raymlops.runtime.jobs.tuning import RayTuner

    specs, search = _search()
    here = InProcessTuner().search(Drawn(specs), name="here", **search)
    by_tune = RayTuner(tmp_path, cpus_per_trial=0.5, start_s=0.0)
    caplog.set_level("INFO", logger=TRIALS_LOG)
    there = by_tune.search(Drawn(specs), name="there", **search)
    told = sorted(record.getMessage() for record in caplog.records if record.name == TRIALS_LOG)
    assert ["by Ray Tune" in line for line in told] == [False, True, True]
    assert [result.metrics for result in there] == [result.metrics for result in here]
    assert there[2].error is not None
    assert (tmp_path / "there").is_dir()
    short = RayTuner(tmp_path, cpus_per_trial=0.5, start_s=60.0)
    quick = short.search(Drawn(specs), name="short", **search)
    assert [result.metrics for result in quick] == [result.metrics for result in here]
    assert not (tmp_path / "short").exists(), "a search that is over before a process would be up starts none"


@pytest.mark.slow
def test_trials_that_are_behind_are_given_up_in_the_processes_of_tune(platform: Platform, tmp_path: Path) -> None:
    from raymlops.experiments import Drawn, HalvingRule, TrialSpec
    from raymlops.runtime.jobs.tuning import RayTuner

    _, search = _search()
    # a race of slow learners: those that are behind at the first rung are given up in Tune's processes too
    rates = (0.3, 0.3, 0.001, 0.001)
    race = [
        TrialSpec(number=number, family="xgboost", params={"n_estimators": 30, "learning_rate": rate})
        for number, rate in enumerate(rates)
    ]
    by_tune = RayTuner(tmp_path, cpus_per_trial=0.5, start_s=0.0)
    ended = by_tune.search(Drawn(race), name="race", halving=HalvingRule(grace_rounds=5, factor=2), **search)
    assert [result.spec.number for result in ended] == [0, 1, 2, 3]
    assert [result.stopped_at for result in ended[:2]] == [None, None]
    # one of the two may pass the first rung, where it is judged among three, but not the second
    assert {result.stopped_at for result in ended[2:]} <= {5, 10}


def test_a_process_that_is_connected_stays_so(platform: Platform, tmp_path: Path) -> None:
    from raymlops.config.platform import PlatformConfig
    from raymlops.platform import connect

    with pytest.raises(ConfigError, match="is started by a process that is connected to no Ray cluster"):
        connect(config=PlatformConfig(home=tmp_path))
    assert list(tmp_path.iterdir()) == []
    connect(config=platform.config, start=False).close()
    assert platform.ledger.verify() == len(platform.ledger.entries())


def test_what_a_connection_opened_is_closed_with_it(platform: Platform) -> None:
    from raymlops.features import Entity, FeatureService, FeatureView, Field
    from raymlops.features.online.lmdb import LmdbOnlineStore
    from raymlops.platform import connect

    def users() -> int:
        return sum(file.users for file in LmdbOnlineStore._open_files.values())

    kiosk = Entity("kiosk", ["kiosk_id"])
    platform.apply(
        FeatureView("kiosk_sales", kiosk, [Field("sold", "int64")]), FeatureService("k", ["kiosk_sales:sold"])
    )
    at = pa.array([platform.clock.now()], pa.timestamp("us", tz="UTC"))
    asked = pa.table({"kiosk_id": [1], "event_time": at})
    platform.features.push("kiosk_sales", asked.append_column("sold", pa.array([7])), ingest_id="kiosk")
    before = users()
    with connect(config=platform.config, start=False) as guest:
        assert guest.features.online("k", asked)["kiosk_sales__sold"].to_pylist() == [7]
        assert users() == before + 1
    assert users() == before


def test_a_search_gives_up_where_no_cpu_gets_free(platform: Platform) -> None:
    from raymlops.runtime.cluster.free_cpus import await_free_cpus

    with pytest.raises(UnavailableError, match=r"64 CPUs were not free within 0\.1 s"):
        await_free_cpus(64, 0.1)


def _cli(platform: Platform, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RAYMLOPS_HOME": str(platform.config.home)}
    command = [sys.executable, "-m", "raymlops.cli.main", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_line_joins_the_running_platform(
    platform: Platform, tmp_path: Path, command: Callable[..., Any]
) -> None:
    definitions = tmp_path / "definitions.py"
    definitions.write_text(
        "from raymlops.features import Entity, FeatureView, Field\n"
        "shop = Entity('shop', ['shop_id'])\n"
        "sales = FeatureView('sales', shop, [Field('amount', 'float64')])\n"
    )
    applied = _cli(platform, "apply", str(definitions), "--json")
    assert applied.returncode == 0, applied.stderr
    assert orjson.loads(applied.stdout)["added"] == ["entity shop", "view sales@1"]
    described = command("features", "describe", "--json")
    assert {"shop", "sales"} <= {row["name"] for row in orjson.loads(described.stdout)}
    unknown = command("models", "show", "nobody", "1")
    assert (unknown.returncode, unknown.stderr) == (1, "error: model 'nobody' version 1 does not exist\n")


def test_a_model_without_a_window_is_named(command: Callable[..., Any]) -> None:
    profiled = command("monitor", "profile", "nobody")
    assert (profiled.returncode, profiled.stderr) == (
        1,
        "error: no window of model 'nobody' has been closed yet\n",
    )


def test_the_command_line_has_what_the_interface_names() -> None:
    """The groups and commands that users and acceptance checks call."""
    from typer.main import get_command

    from raymlops.cli.main import app

    tree: Any = get_command(app)
    wanted = {
        "features": "ingest materialize training-set online audit describe",
        "runs": "start list show logs compare resume",
        "models": "list show card history lineage trained-on promote rollback rebuild-mlflow",
        "ledger": "entries verify",
        "monitor": "report profile",
        "batch": "score check list",
        "control": "triggers decisions backtest pause resume",
        "delivery": "build verify deploy approve environments rollback keygen",
    }
    assert {"up", "down", "status", "demo", "apply", "gc"} <= tree.commands.keys()
    for group, commands in wanted.items():
        assert set(commands.split()) <= tree.commands[group].commands.keys(), group


def test_what_raylets_complain_of_is_not_printed_among_the_output(
    platform: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    from ray._private import worker

    worker.print_to_stdstream({"lines": ["WARNING: 10 workers"], "pid": "raylet", "is_err": False}, ignore_prefix=False)
    assert capsys.readouterr().out == ""
