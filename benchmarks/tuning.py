"""Eight short trials: by the platform's tuner, by Tune with reused actors, by Tune as it comes, and in one process.

The fits are the same everywhere: one thread each, 20,000 rows of 20 features, some 0.4 s. The process that holds the
results of all is the same too, so that its imports are paid before anything is timed, as they are in a training job.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.experiments import Drawn, InProcessTuner, LearningTask, TrialSpec, run_trial

_TRIALS, _ROWS, _COLUMNS = 8, 20_000, 20


def _problem() -> tuple[pa.Table, pa.Table, LearningTask, list[TrialSpec]]:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(_ROWS + 5000, _COLUMNS))
    label = (rows[:, :4].sum(axis=1) + rng.normal(size=len(rows)) > 0).astype(float)
    inputs = tuple(f"f{place}" for place in range(_COLUMNS))
    table = pa.table({**dict(zip(inputs, rows.T, strict=True)), "label": label})
    specs = [
        TrialSpec(number=number, family="xgboost", params={"n_estimators": 60 + number, "max_depth": 6})
        for number in range(_TRIALS)
    ]
    return table[:_ROWS], table[_ROWS:], LearningTask(inputs=inputs), specs


def _as_it_comes(
    train: pa.Table, valid: pa.Table, task: LearningTask, specs: list[TrialSpec], storage: Path
) -> list[dict[str, float]]:
    """Tune by its tutorial: a function, a grid, no settings."""
    from ray import tune

    def trial(config: dict[str, Any], train: pa.Table, valid: pa.Table) -> None:
        tune.report(run_trial(specs[config["number"]], train, valid, task=task).metrics)

    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(trial, train=train, valid=valid), {"CPU": 1}),
        param_space={"number": tune.grid_search(list(range(_TRIALS)))},
        run_config=tune.RunConfig(storage_path=str(storage), verbose=0),
    )
    return [dict(outcome.metrics or {}) for outcome in tuner.fit()]


def measure() -> dict[str, Any]:
    """Seconds of each, on a cluster of two CPUs, and how many times those of one process they are."""
    import ray

    from raymlops.runtime.jobs.trials.tuning import RayTuner

    train, valid, task, specs = _problem()
    run_trial(specs[0], train, valid, task=task)
    with tempfile.TemporaryDirectory() as folder:
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        try:
            storage = Path(folder)
            reused = RayTuner(storage / "b", start_s=0.0)
            ways: dict[str, Callable[[], Any]] = {
                "one_process": lambda: _searched(InProcessTuner(), train, valid, task, specs),
                "platform": lambda: _searched(RayTuner(storage / "a"), train, valid, task, specs),
                "tune_reused_actors": lambda: _searched(reused, train, valid, task, specs),
                "tune_as_it_comes": lambda: _as_it_comes(train, valid, task, specs, storage / "c"),
            }
            seconds, answers = {}, {}
            for name, way in ways.items():
                started = time.perf_counter()
                answers[name] = way()
                seconds[name] = round(time.perf_counter() - started, 2)
        finally:
            ray.shutdown()
    assert answers["platform"] == answers["tune_reused_actors"] == answers["one_process"], "other fits were timed"
    ratios = {name: round(took / seconds["one_process"], 2) for name, took in seconds.items()}
    return {"trials": _TRIALS, "seconds": seconds, "times_one_process": ratios}


def _searched(tuner: Any, train: pa.Table, valid: pa.Table, task: LearningTask, specs: list[TrialSpec]) -> Any:
    return [r.metrics for r in tuner.search(Drawn(specs), train, valid, task=task, name="benchmark")]
