"""Searches by Ray Tune."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from raymlops.errors import TrainingError
from raymlops.experiments.halving import Halving, HalvingRule
from raymlops.experiments.search import Search
from raymlops.experiments.stepped import SteppedTrial
from raymlops.experiments.task import LearningTask
from raymlops.experiments.trial import TrialResult, TrialSpec, run_trial
from raymlops.runtime.free_cpus import await_free_cpus
from raymlops.runtime.niceness import give_way

__all__ = ["RayTuner"]

_RESTARTS = 2


class _Trial(tune.Trainable):  # type: ignore[misc]  # Ray is untyped
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


class _Asking(Searcher):  # type: ignore[misc]  # Ray is untyped
    """Tune's view of a search: asks it for trials, and tells it what came of them."""

    def __init__(self, search: Search, task: LearningTask) -> None:
        super().__init__(metric=None, mode=None)
        self._search = search
        self._task = task
        self._specs: dict[str, TrialSpec] = {}
        self.results: list[TrialResult] = []
        self.lost: list[int] = []
        """Trials whose actor died, or raised what no estimator raises."""

    @property
    def left(self) -> int:
        """How many trials there are left to ask for, at most."""
        return self._search.left

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


class _Race(FIFOScheduler):  # type: ignore[misc]  # Ray is untyped
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


class RayTuner:
    """Runs the trials of a search as Tune trials, one CPU each, as many at once as CPUs are free.

    A trial's process has to start and to import what fits models; a search that is over sooner than that is run here,
    where both are done. So trials start in this process, one at a time, and what is left goes to Tune as soon as
    that pays: by the time the trials took, or because one takes longer than a start. With one trial at a time,
    all of them are run here.

    Args:
        storage: Directory for Tune's own state; unique per run.
        free_cpus_timeout_s: How long to wait for the first free CPU.
        cpus_per_trial: Logical CPUs of one trial.
        start_s: What it takes until Tune's first trial is under way. With 0, all but the first trial go to Tune.
    """

    def __init__(
        self,
        storage: Path,
        *,
        free_cpus_timeout_s: float = 60.0,
        cpus_per_trial: float = 1.0,
        start_s: float = 4.0,
    ) -> None:
        self._storage = storage
        self._timeout_s = free_cpus_timeout_s
        self._cpus = cpus_per_trial
        self._start_s = start_s

    def search(
        self,
        trials: Search,
        train: pa.Table,
        valid: pa.Table,
        *,
        task: LearningTask,
        name: str,
        concurrency: int | None = None,
        halving: HalvingRule | None = None,
    ) -> list[TrialResult]:
        free = await_free_cpus(self._cpus, self._timeout_s)
        at_once = max(1, int(free / self._cpus)) if concurrency is None else concurrency
        race = None if halving is None else Halving(halving)
        results: list[TrialResult] = []
        slow = None
        while slow is None and not self._pays(results, trials.left, at_once):
            spec = trials.ask()
            if spec is None:
                break
            report = None if race is None else race.reporter(spec.number)
            under_way = _begin(partial(run_trial, spec, train, valid, task=task, report=report))
            if wait([under_way], None if at_once == 1 else self._start_s).not_done:
                slow = under_way
            else:
                results.append(under_way.result())
                trials.tell(results[-1])
        if trials.left:
            trainable = tune.with_parameters(_Trial, train=train, valid=valid, task=task, rule=halving)
            results += self._tune(trainable, _Asking(trials, task), name, at_once, race)
        if slow is not None:
            results.append(slow.result())
            trials.tell(results[-1])
        return sorted(results, key=lambda result: result.spec.number)

    def _pays(self, results: Sequence[TrialResult], left: int, at_once: int) -> bool:
        """Whether what running side by side saves is more than what the start of the processes costs."""
        if not results:
            return False
        mean_s = sum(result.seconds for result in results) / len(results)
        return mean_s * left * (1.0 - 1.0 / at_once) > self._start_s

    def _tune(
        self, trainable: Any, asking: _Asking, name: str, at_once: int, race: Halving | None
    ) -> list[TrialResult]:
        """Run what is left of a search by Tune.

        Raises:
            TrainingError: The process of a trial died again and again.
        """
        os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"CPU": self._cpus}),
            tune_config=tune.TuneConfig(
                search_alg=asking,
                scheduler=None if race is None else _Race(race),
                num_samples=asking.left,
                reuse_actors=True,
                max_concurrent_trials=at_once,
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=str(self._storage),
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


def _begin(trial: Callable[[], TrialResult]) -> Future[TrialResult]:
    """Run a trial in a thread that keeps neither an interrupt nor the end of the process waiting."""
    under_way: Future[TrialResult] = Future()

    def run() -> None:
        try:
            under_way.set_result(trial())
        except BaseException as error:
            under_way.set_exception(error)

    threading.Thread(target=run, name="trial", daemon=True).start()
    return under_way
