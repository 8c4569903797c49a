"""Runs and the jobs they run in: what one of the two has without the other is brought to its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from raymlops.errors import RaymlopsError, RunNotFound
from raymlops.records.runs import Run, RunStatus, RunStore, StrayJob

__all__ = ["Jobs", "RunReconciler", "StopJob", "is_of_home", "stops"]

_log = logging.getLogger(__name__)

_SLACK_S = 60.0
"""Seconds beyond its deadline that a run may take: a run ends by itself, and records why."""
_EXIT_S = 60.0
"""How long the job of a run that ended may take to exit."""
_MOST_STRAYS = 20
"""Jobs without a record that are remembered, at most."""


@dataclass(frozen=True)
class StopJob:
    """Stop a job, and fail its run if it has not ended."""

    run_id: str
    reason: str


class Jobs(Protocol):
    """The jobs that runs run in. No call takes for ever."""

    def alive(self) -> Mapping[str, float]:
        """Id of the run of every job of this platform that has not ended -> seconds since it began."""
        ...

    def reconcile(self, run: Run) -> Run:
        """End a run whose job ended without a word."""
        ...

    def end(self, run_id: str, reason: str) -> None:
        """Stop the job of a run, and fail the run if there is a record of it that has not ended."""
        ...


def is_of_home(metadata: Mapping[str, str] | None, runtime_env: Mapping[str, Any] | None, home: Path) -> bool:
    """Whether a job runs a bundle for a home: other people's jobs name no bundle, other platforms' another home."""
    named = ((runtime_env or {}).get("env_vars") or {}).get("RAYMLOPS_HOME", str(home))
    return "bundle" in (metadata or {}) and Path(named).resolve() == home.resolve()


def stops(
    open_runs: Collection[str], alive: Mapping[str, float], lingering: Mapping[str, float], deadline_s: float
) -> list[StopJob]:
    """The jobs that are to be stopped, by id.

    Args:
        open_runs: Ids of the runs that have not ended.
        alive: Id of the run of each job that has not ended -> seconds since it began.
        lingering: Id of each of these runs that has ended -> seconds for which that is known.
        deadline_s: How long a run may take.
    """
    found = []
    for run_id, age_s in sorted(alive.items()):
        if run_id in open_runs:
            if age_s > deadline_s + _SLACK_S:
                found.append(StopJob(run_id, f"it took longer than cluster.run_deadline, {deadline_s:g} s"))
        elif lingering.get(run_id, 0.0) > _EXIT_S:
            found.append(StopJob(run_id, f"its run has been over, or without a record, for more than {_EXIT_S:g} s"))
    return found


class RunReconciler:
    """Brings runs and jobs together, one turn at a time. Not thread-safe.

    Args:
        runs: The run records.
        jobs: The cluster's jobs.
        deadline_s: How long a run may take.
        time_s: Monotonic seconds.
    """

    def __init__(
        self, runs: RunStore, jobs: Jobs, deadline_s: float, time_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._runs = runs
        self._jobs = jobs
        self._deadline_s = deadline_s
        self._time_s = time_s
        self._ended: dict[str, float] = {}
        self._strays: dict[str, StrayJob] = {}

    def strays(self) -> list[StrayJob]:
        """The jobs that were found without a record of their run, since this process started, the newest last."""
        return list(self._strays.values())

    def turn(self) -> list[StopJob]:
        """End runs that lost their jobs, and jobs that outlive their runs or their deadline.

        Trouble with one run does not keep the others waiting.

        Returns:
            What was stopped.

        Raises:
            RaymlopsError: Runs or jobs could not be listed.
        """
        open_runs = [
            run for status in (RunStatus.PENDING, RunStatus.RUNNING) for run in self._runs.list_runs(None, status)
        ]
        alive = self._jobs.alive()
        for run_id, stray in self._strays.items():
            if stray.state == "alive" and run_id not in alive:
                self._strays[run_id] = stray.model_copy(update={"state": "ended", "problem": ""})
        if not open_runs and not alive:
            self._ended = {}
            return []
        for run in open_runs:
            if run.id not in alive:
                self._try(run.id, partial(self._jobs.reconcile, run))
        ids, now_s = {run.id for run in open_runs}, self._time_s()
        ended = {run_id for run_id in alive if run_id not in ids and self._has_ended(run_id)}
        self._ended = {run_id: self._ended.get(run_id, now_s) for run_id in ended}
        lingering = {run_id: now_s - since_s for run_id, since_s in self._ended.items()}
        found = stops(ids, alive, lingering, self._deadline_s)
        for stop in found:
            _log.warning("the job of run %s is stopped: %s", stop.run_id, stop.reason)
            problem = self._try(stop.run_id, partial(self._jobs.end, stop.run_id, stop.reason))
            if (unrecorded := self._strays.get(stop.run_id)) is not None:
                told = {"state": "alive" if problem else "stopped", "problem": problem}
                self._strays[stop.run_id] = unrecorded.model_copy(update=told)
        return found

    def _has_ended(self, run_id: str) -> bool:
        """Whether a run has ended or has no record: then no caller waits for its job."""
        if run_id in self._ended:
            return True
        try:
            return self._runs.get_run(run_id).status.final
        except RunNotFound:
            _log.warning("the job of run %s is ours, and there is no record of the run", run_id)
            self._strays.setdefault(run_id, StrayJob(run_id=run_id, seen_at_s=time.time()))
            while len(self._strays) > _MOST_STRAYS:
                self._strays.pop(next(iter(self._strays)))
            return True

    def _try(self, run_id: str, act: Callable[[], object]) -> str:
        """Carry an action out; returns the error that prevented it, empty where there was none."""
        try:
            act()
        except RaymlopsError as error:
            _log.warning("run %s could not be looked after, next try follows: %s", run_id, error)
            return str(error)
        return ""
