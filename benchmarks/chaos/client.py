"""``python -m benchmarks.chaos.client``: single things that are asked of the platform, each in a process of its own."""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import time
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

import raymlops
from benchmarks.chaos import world
from raymlops.errors import RaymlopsError
from tests.support.killed_project import DEFINITIONS
from tests.support.training_project import PROJECT, SOURCE, tables

if TYPE_CHECKING:
    from raymlops.platform import Platform

_LABELLED = "sums"
_LONG_SEARCH = {
    "search": {"xgboost": {"n_estimators": 1500, "learning_rate": 0.004, "max_depth": {"int": [2, 3]}}},
    "trials": 3,
    "tolerance": 0.0,
    "bootstrap_rounds": 100,
}
"""A search that lasts long enough to be killed in."""
_ENDLESS = SOURCE + "\n\nimport time\n\n\ndef spine(reader, start, end):\n    while True:\n        time.sleep(0.1)\n"
_PROJECT_FILE = """\
name: {name}
model: {model}
definitions: killed_project:DEFINITIONS
service: toy
spine: killed_project:spine
request_columns: [size]
training: {{holdout_days: 12}}
"""
_PROJECT_TEST = "import killed_project\n\n\ndef test_it_has_a_spine():\n    assert callable(killed_project.spine)\n"


def prepare(platform: Platform, arguments: argparse.Namespace) -> None:
    """Register two versions of each model, and serve the first of them."""
    platform.apply(*world.DEFINITIONS)
    platform.features.push(world.VIEW, world.rows_of(0, platform.clock.now()), ingest_id="chaos-0")
    models = world.MODELS[: arguments.models]
    for model in models:
        for version in world.VERSIONS:
            estimator, example = world.estimator(model.name, version), world.example(model.name)
            registered = platform.models.register(model.name, estimator, example=example)
            if registered.version != version:
                raise SystemExit(f"{model.name} must be registered as version {version}, got {registered.version}")
        platform.endpoints.deploy(model.name, 1, features=model.service, replicas=model.replicas)
    if world.TRIED in {model.name for model in models}:
        start_trial(platform, arguments)
    if arguments.project:
        _deploy_project(platform, arguments.project, endless=False)


def redeploy(platform: Platform, arguments: argparse.Namespace) -> None:
    """Bring every model back by hand, as its plan says."""
    for model in world.MODELS[: arguments.models]:
        plan = platform.endpoints.plan(model.name)
        platform.endpoints.deploy(model.name, plan.champion, features=model.service, replicas=model.replicas)
    if world.TRIED in {model.name for model in world.MODELS[: arguments.models]}:
        start_trial(platform, arguments)


def start_trial(platform: Platform, _: argparse.Namespace) -> None:
    """Put a candidate beside the champion."""
    platform.endpoints.trial(world.TRIED, 2, weight=0.2, reason="a candidate to be killed", deadline_ms=2000.0)


def start_run(platform: Platform, arguments: argparse.Namespace) -> None:
    """Start a run, or one that never ends, and leave it alone."""
    if arguments.endless:
        _deploy_project(platform, arguments.project, endless=True)
        print(platform.runs.start("endless", wait=False).id)
    else:
        print(platform.runs.start(PROJECT.name, parameters=_LONG_SEARCH, wait=False).id)


def hog(platform: Platform, _: argparse.Namespace) -> None:
    """Hold every CPU that is free, until the process is ended."""
    import ray

    del platform  # its connection is what is needed
    free = float(ray.available_resources().get("CPU", 0.0))
    held = ray.remote(num_cpus=free, max_restarts=-1)(_Hog).remote()
    ray.get(held.__ray_ready__.remote(), timeout=60.0)
    print(f"holds {free:g} CPUs", flush=True)
    sys.stdin.read()


class _Hog:
    """An actor of somebody else."""


def verify(platform: Platform, arguments: argparse.Namespace) -> None:
    """Write down what is there."""
    from raymlops.monitoring.events.event_tables import DeltaEventTables

    deadline = time.monotonic() + arguments.runs_within_s
    while unfinished := [run.id for run in platform.runs.list() if not run.status.final]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    table = platform.features.table(world.VIEW)
    counted: dict[int, int] = {}
    for generation in table["generation"].to_pylist():
        counted[int(generation)] = counted.get(int(generation), 0) + 1
    online = platform.features.online(world.SERVICE, pa.table({"k": pa.array(range(world.KEYS), pa.int64())}))
    column = next(name for name in online.column_names if name.endswith("generation"))
    labels = DeltaEventTables(platform.config.home / "monitor" / "labels")
    models = [model.name for model in world.MODELS[: arguments.models]]
    try:
        ledger = "holds" if platform.ledger.verify() else "is empty"
    except RaymlopsError as error:
        ledger = str(error)
    recorded = labels.read(_LABELLED, None, None, "event_time")["request_id"].to_pylist() if _LABELLED in models else []
    state = {
        "rows": counted,
        "online": {key: int(value) for key, value in enumerate(online[column].to_pylist())},
        "labels": recorded,
        "plans": {model: _plans(platform.config.home, model) for model in models},
        "reasons": {model: [entry.reason for entry in platform.ledger.entries(model)] for model in models},
        "unfinished_runs": unfinished,
        "ledger": ledger,
    }
    (arguments.out / "state.json").write_bytes(orjson.dumps(state, option=orjson.OPT_NON_STR_KEYS))


def _plans(home: Path, model: str) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(f"file:{home / 'metadata.db'}?mode=ro", uri=True)) as database:
        found = database.execute("SELECT number, body FROM plans WHERE model = ? ORDER BY number", (model,)).fetchall()
    return [(number, orjson.loads(body)["reason"]) for number, body in found]


def _deploy_project(platform: Platform, directory: Path, *, endless: bool) -> None:
    """Build the small project of the tests, with its rows moved to the last weeks."""
    if not endless:
        platform.apply(*DEFINITIONS)
        for view, table in tables().items():
            platform.features.ingest(view, _moved(table, platform.clock.now()), ingest_id=view)
    name = "endless" if endless else PROJECT.name
    place = directory / name
    (place / "tests").mkdir(parents=True, exist_ok=True)
    (place / "killed_project.py").write_text(_ENDLESS if endless else SOURCE)
    (place / "project.yaml").write_text(_PROJECT_FILE.format(name=name, model=name))
    (place / "tests" / "test_spine.py").write_text(_PROJECT_TEST)
    platform.delivery.deploy(platform.delivery.build(place).digest, reason="chaos")


def _moved(table: pa.Table, now: datetime) -> pa.Table:
    last = max(value.as_py() for value in table["event_time"])
    by = now - timedelta(minutes=1) - last
    for name in ("event_time", "placed_at"):
        if name in table.column_names:
            place, values = table.column_names.index(name), [value + by for value in table[name].to_pylist()]
            table = table.set_column(place, name, pa.array(values, table.schema.field(name).type))
    return table


_COMMANDS: dict[str, Any] = {
    "prepare": prepare,
    "redeploy": redeploy,
    "trial": start_trial,
    "run": start_run,
    "hog": hog,
    "verify": verify,
}


def main() -> None:
    """Do one thing on the platform of ``RAYMLOPS_HOME``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=sorted(_COMMANDS))
    parser.add_argument("--models", type=int, default=len(world.MODELS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--project", type=Path)
    parser.add_argument("--endless", action="store_true")
    parser.add_argument("--runs-within-s", type=float, default=180.0)
    arguments = parser.parse_args()
    platform = raymlops.connect(start=False)
    try:
        _COMMANDS[arguments.command](platform, arguments)
        sys.stdout.flush()
    finally:
        platform.detach()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
