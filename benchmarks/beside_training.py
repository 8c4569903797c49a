"""Latency of answers while a retraining runs, beside without: the same constant rate of arrivals, in turns."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import served_model
from benchmarks.load import Call, Open, open_loop
from raymlops.config.reading.loader import load_config
from raymlops.platform import Platform, connect
from tests.support.killed_project import DEFINITIONS
from tests.support.training_project import PROJECT, SOURCE, tables

__all__ = ["measure"]

PORT, RATE_PER_S, SECONDS, ROUNDS = 8261, 100.0, 8, 3
DEADLINE_S = 300.0
PARAMETERS: dict[str, Any] = {
    # a search that lasts as long as a measurement does
    "search": {"xgboost": {"n_estimators": 3000, "learning_rate": 0.002, "max_depth": {"int": [2, 3]}}},
    "trials": 24,
    "tolerance": 0.0,
}


def measure(rounds: int = ROUNDS) -> dict[str, Any]:
    """Medians over rounds, each of which measures without a run, then beside one whose trials are being fitted."""
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(environ={}, overrides={"home": f"{folder}/home", "serving": {"port": PORT}})
        with connect(config=config) as platform:
            project = _project(platform, Path(folder))
            platform.models.register(served_model.MODEL, served_model.classifier(), example=served_model.example())
            platform.endpoints.deploy(served_model.MODEL, 1)
            call = Call(f"{platform.url}/v2/models/{served_model.MODEL}/infer", served_model.infer_body(1))
            open_loop(call, rate=RATE_PER_S, seconds=2)
            runs = [_round(platform, project, call, number) for number in range(rounds)]
    without, beside = zip(*runs, strict=True)
    found = {"without": _medians(without), "beside": _medians(beside)}
    ratios = {
        f"{name}_ratio": round(found["beside"][name] / found["without"][name], 2) for name in ("p50_ms", "p99_ms")
    }
    return {"rate_per_s": RATE_PER_S, **found, **ratios, "load_average": round(os.getloadavg()[0], 1)}


def _project(platform: Platform, folder: Path) -> str:
    platform.apply(*DEFINITIONS)
    for view, table in tables().items():
        platform.features.ingest(view, table)
    place = folder / "project"
    place.mkdir()
    (place / "killed_project.py").write_text(SOURCE)
    (place / "test_it.py").write_text("from killed_project import spine\n\n\ndef test_it():\n    assert spine\n")
    (place / "project.yaml").write_text(json.dumps(PROJECT.model_dump(mode="json")))
    platform.delivery.deploy(platform.delivery.build(place).digest)
    return PROJECT.name


def _round(platform: Platform, project: str, call: Call, number: int) -> tuple[Open, Open]:
    without = open_loop(call, rate=RATE_PER_S, seconds=SECONDS)
    run = platform.runs.start(project, parameters={**PARAMETERS, "seed": number}, wait=False)
    _await(lambda: "tune" in platform.runs.logs(run.id))
    beside = open_loop(call, rate=RATE_PER_S, seconds=SECONDS)
    if next(each for each in platform.runs.list(project) if each.id == run.id).status.final:
        raise RuntimeError("the run ended before the measurement did: give it more to fit")
    platform.runs.cancel(run.id, "it was measured")
    _await(lambda: next(each for each in platform.runs.list(project) if each.id == run.id).status.final)
    return without, beside


def _medians(runs: tuple[Open, ...]) -> dict[str, float]:
    return {
        "p50_ms": round(statistics.median(run.p50_ms for run in runs), 2),
        "p99_ms": round(statistics.median(run.p99_ms for run in runs), 2),
        "answered_per_s": round(statistics.median(run.answered_per_s for run in runs), 1),
        "errors": sum(run.errors for run in runs),
    }


def _await(true: Any) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {DEADLINE_S:g} s")
        time.sleep(0.2)


if __name__ == "__main__":
    print(json.dumps(measure()))
