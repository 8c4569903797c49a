"""Searches by Ray Tune."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray import tune

from raymlops.errors import TrainingError, UnavailableError
from raymlops.experiments.task import LearningTask
from raymlops.experiments.trial import TrialResult, TrialSpec, run_trial

__all__ = ["RayTuner", "await_free_cpus"]


def await_free_cpus(cpus: float, timeout_s: float) -> float:
    """Wait until the cluster has ``cpus`` free; Tune itself would wait for ever on cores that Serve holds.

    Returns:
        How many are free.

    Raises:
        UnavailableError: They were not within ``timeout_s``; the message says what holds them.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        free = float(ray.available_resources().get("CPU", 0.0))
        if free >= cpus:
            return free
        if time.monotonic() > deadline:
            total = ray.cluster_resources().get("CPU", 0.0)
            message = f"{cpus:g} CPUs were not free within {timeout_s:g} s: {free:g} of {total:g} are; held by "
            raise UnavailableError(message + (", ".join(_holders()) or "tasks that already ended"))
        time.sleep(0.2)


def _holders() -> list[str]:
    """Actors that hold CPUs, as ``class: cpus``."""
    from ray.util.state import list_actors

    address = ray.get_runtime_context().gcs_address
    alive = [("state", "=", "ALIVE")]
    actors = list_actors(address, filters=alive, detail=True, raise_on_missing_output=False)
    held = {actor.class_name: (actor.required_resources or {}).get("CPU", 0) for actor in actors}
    return [f"{name}: {cpus:g}" for name, cpus in sorted(held.items()) if cpus]


class _Trial(tune.Trainable):  # type: ignore[misc]  # Ray is untyped
    """One actor runs trial after trial: starting a process costs more than most fits."""

    def setup(
        self, config: dict[str, Any], *, specs: list[TrialSpec], train: pa.Table, valid: pa.Table, task: LearningTask
    ) -> None:
        self._number = config["number"]
        self._specs, self._train, self._valid, self._task = specs, train, valid, task

    def step(self) -> dict[str, Any]:
        result = run_trial(self._specs[self._number], self._train, self._valid, task=self._task)
        return {"trial": result.model_dump_json(), "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._number = new_config["number"]
        return True


class RayTuner:
    """Runs the trials of a search as Tune trials, one CPU each, as many at once as CPUs are free.

    Trials are drawn before the search starts, so its result does not depend on which of them ends first.

    Args:
        storage: Directory for Tune's own state; unique per run.
        free_cpus_timeout_s: How long to wait for the first free CPU.
        cpus_per_trial: Logical CPUs of one trial.
    """

    def __init__(self, storage: Path, *, free_cpus_timeout_s: float = 60.0, cpus_per_trial: float = 1.0) -> None:
        self._storage = storage
        self._timeout_s = free_cpus_timeout_s
        self._cpus = cpus_per_trial

    def search(
        self, specs: Sequence[TrialSpec], train: pa.Table, valid: pa.Table, *, task: LearningTask, name: str
    ) -> list[TrialResult]:
        free = await_free_cpus(self._cpus, self._timeout_s)
        os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
        trainable = tune.with_parameters(_Trial, specs=list(specs), train=train, valid=valid, task=task)
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"CPU": self._cpus}),
            param_space={"number": tune.grid_search([spec.number for spec in specs])},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=max(1, int(free / self._cpus))),
            run_config=tune.RunConfig(
                name=name,
                storage_path=str(self._storage),
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        found: dict[int, TrialResult] = {}
        for outcome in tuner.fit():
            if outcome.error is not None or "trial" not in (outcome.metrics or {}):
                raise TrainingError(f"a trial of {name} was lost: {outcome.error}")
            result = TrialResult.model_validate_json(outcome.metrics["trial"])
            found[result.spec.number] = result
        return [found[spec.number] for spec in specs]
