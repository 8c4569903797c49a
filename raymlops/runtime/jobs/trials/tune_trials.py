"""Trials as Ray Tune runs them. Importing this imports Tune, which takes a second."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from raymlops.errors import TrainingError
from raymlops.experiments.searching.halving import Halving, HalvingRule
from raymlops.experiments.searching.search import Search
from raymlops.experiments.searching.stepped import SteppedTrial
from raymlops.experiments.trial import TrialResult, TrialSpec
from raymlops.experiments.trial_run import run_trial
from raymlops.records.learning.tasks import LearningTask
from raymlops.runtime.cluster.niceness import give_way

__all__ = ["run_by_tune"]

_RESTARTS = 2


def run_by_tune(
    trials: Search,
    data: Mapping[str, Any],
    *,
    name: str,
    storage: Path,
    cpus: float,
    at_once: int,
    race: Halving | None,
) -> list[TrialResult]:
    """Run what is left of a search by Tune, in actors that are used again.

    Args:
        trials: The search.
        data: ``train``, ``valid``, ``task`` and the halving ``rule``, as every trial gets them.
        name: Names the search in ``storage``.
        storage: Directory for Tune's own state.
        cpus: Logical CPUs of one trial.
        at_once: Trials at once, at most.
        race: Gives trials up that are behind.

    Raises:
        TrainingError: The process of a trial died again and again.
    """
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    asking = _Asking(trials, data["task"])
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_Trial, **data), {"CPU": cpus}),
        tune_config=tune.TuneConfig(
            search_alg=asking,
            scheduler=None if race is None else _Race(race),
            num_samples=trials.left,
            reuse_actors=True,
            max_concurrent_trials=at_once,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(storage),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            # equal trials give equal results: one whose process died is begun again
            failure_config=tune.FailureConfig(max_failures=_RESTARTS),
        ),
    )
    outcomes = tuner.fit()
    if asking.lost:
        errors = [str(outcome.error) for outcome in outcomes if outcome.error is not None]
        raise TrainingError(f"trials {asking.lost} of {name} were lost: {'; '.join(errors[:3])}")
    return asking.results


class _Trial(tune.Trainable):
    """One actor runs trial after trial: starting a process costs more than most fits."""

    _running: SteppedTrial | None = None

    def setup(
        self, config: dict[str, Any], *, train: pa.Table, valid: pa.Table, task: LearningTask, rule: HalvingRule | None
    ) -> None:
        give_way()
        self._train, self._valid, self._task, self._rule = train, valid, task, rule
        self._spec = TrialSpec.model_validate_json(config["spec"])

    def step(self) -> dict[str, Any]:
        if self._rule is None:
            told: Any = run_trial(self._spec, self._train, self._valid, task=self._task)
        else:
            if self._running is None:
                pauses = Halving(self._rule).is_rung
                self._running = SteppedTrial(self._spec, self._train, self._valid, task=self._task, pauses=pauses)
            told = self._running.advance()
        if isinstance(told, TrialResult):
            return {"trial": told.model_dump_json(), "done": True}
        rounds, loss = told
        return {"rounds": rounds, "loss": loss}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self._spec = TrialSpec.model_validate_json(new_config["spec"])
        return True

    def cleanup(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None


class _Asking(Searcher):
    """Tune's view of a search: asks it for trials, and tells it what came of them."""

    def __init__(self, search: Search, task: LearningTask) -> None:
        super().__init__(metric=None, mode=None)
        self._search = search
        self._task = task
        self._specs: dict[str, TrialSpec] = {}
        self.results: list[TrialResult] = []
        self.lost: list[int] = []
        """Trials whose actor died, or raised what no estimator raises."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        spec = self._search.ask()
        if spec is None:
            finished: str = Searcher.FINISHED
            return finished
        self._specs[trial_id] = spec
        return {"spec": spec.model_dump_json()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        spec = self._specs.pop(trial_id)
        if error or result is None:
            self.lost.append(spec.number)
            return
        if "trial" in result:
            told = TrialResult.model_validate_json(result["trial"])
        else:
            told = TrialResult(
                spec=spec,
                metrics={self._task.metric: result["loss"]},
                seconds=result["time_total_s"],
                stopped_at=result["rounds"],
            )
        self.results.append(told)
        self._search.tell(told)

    def save(self, checkpoint_path: str) -> None:
        del checkpoint_path  # the search remembers by itself

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search goes on by its journal")


class _Race(FIFOScheduler):
    """Tune's view of ``Halving``."""

    def __init__(self, race: Halving) -> None:
        super().__init__()
        self._race = race

    def __reduce__(self) -> tuple[Any, ...]:
        return FIFOScheduler, ()  # Tune keeps a copy for a restart of its own, and ours is by the journal

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        del tune_controller
        if "rounds" not in result or "trial" in result:
            goes_on = True
        else:
            number = TrialSpec.model_validate_json(trial.config["spec"]).number
            goes_on = self._race.report(number, result["rounds"], result["loss"])
        verdict: str = FIFOScheduler.CONTINUE if goes_on else FIFOScheduler.STOP
        return verdict
