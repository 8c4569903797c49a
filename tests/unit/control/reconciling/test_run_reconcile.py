"""Runs and jobs: what one has without the other ends, and trouble with one run is no other's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.clock import ManualClock
from raymlops.control.reconciling.run_reconcile import RunReconciler, StopJob, is_of_home, stops
from raymlops.errors import RunNotFound, UnavailableError
from raymlops.records.runs import Run, RunStatus
from raymlops.testing.control_examples import START, example_run

names = st.sampled_from(["a", "b", "c", "d"])
ages = st.dictionaries(names, st.sampled_from([0.0, 59.0, 61.0, 3659.0, 3661.0]))


@given(st.sets(names), ages, ages)
def test_only_what_outlives_its_deadline_or_its_run_is_stopped(
    open_runs: set[str], alive: dict[str, float], lingering: dict[str, float]
) -> None:
    found = stops(open_runs, alive, lingering, 3600.0)
    stopped = [stop.run_id for stop in found]
    assert stopped == sorted(set(stopped))
    assert set(stopped) <= set(alive)
    for run_id, age_s in alive.items():
        overdue = age_s > 3660.0 if run_id in open_runs else lingering.get(run_id, 0.0) > 60.0
        assert (run_id in stopped) == overdue
    assert stops(open_runs, {name: age for name, age in alive.items() if name not in stopped}, lingering, 3600.0) == []


class Cluster:
    """Runs and the jobs they run in."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.jobs: dict[str, float] = {}
        self.broken: set[str] = set()

    def put(self, run_id: str, status: RunStatus, age_s: float | None = None) -> None:
        self.runs[run_id] = example_run(run_id, at=START, status=status)
        if age_s is not None:
            self.jobs[run_id] = age_s

    def list_runs(
        self, pipeline: str | None = None, status: RunStatus | str | None = None, limit: int | None = None
    ) -> list[Run]:
        return [run for run in self.runs.values() if run.status == status]

    def get_run(self, run_id: str) -> Run:
        if run_id not in self.runs:
            raise RunNotFound(run_id)
        return self.runs[run_id]

    def alive(self) -> Mapping[str, float]:
        return self.jobs

    def reconcile(self, run: Run) -> Run:
        if run.id in self.broken:
            raise UnavailableError("the job service does not answer")
        return self._end(run.id, "the job ended")

    def end(self, run_id: str, reason: str) -> None:
        if run_id in self.broken:
            raise UnavailableError("the job service does not answer")
        del self.jobs[run_id]
        if run_id in self.runs and not self.runs[run_id].status.final:
            self._end(run_id, reason)

    def _end(self, run_id: str, reason: str) -> Run:
        changes = {"status": RunStatus.FAILED, "error": reason}
        self.runs[run_id] = self.runs[run_id].model_copy(update=changes)
        return self.runs[run_id]


def test_a_run_without_a_job_and_one_that_never_ends_are_brought_to_their_end() -> None:
    cluster = Cluster()
    cluster.put("broken", RunStatus.RUNNING)
    cluster.put("lost", RunStatus.RUNNING)
    cluster.put("endless", RunStatus.RUNNING, age_s=4000.0)
    cluster.put("working", RunStatus.RUNNING, age_s=100.0)
    cluster.broken = {"broken"}
    found = RunReconciler(cluster, cluster, 3600.0).turn()
    assert found == [StopJob("endless", "it took longer than cluster.run_deadline, 3600 s")]
    assert cluster.runs["lost"].error == "the job ended"
    assert cluster.runs["endless"].error == "it took longer than cluster.run_deadline, 3600 s"
    assert {name for name, run in cluster.runs.items() if not run.status.final} == {"broken", "working"}
    assert set(cluster.jobs) == {"working"}


def test_a_job_that_does_not_exit_is_stopped_a_minute_after_its_run() -> None:
    cluster, clock = Cluster(), [0.0]
    cluster.put("done", RunStatus.SUCCEEDED, age_s=500.0)
    reconciler = RunReconciler(cluster, cluster, 3600.0, lambda: clock[0])
    assert reconciler.turn() == []
    clock[0] = 59.0
    assert reconciler.turn() == []
    clock[0] = 61.0
    assert reconciler.turn() == [StopJob("done", "its run has been over, or without a record, for more than 60 s")]
    assert (cluster.jobs, cluster.runs["done"].status) == ({}, RunStatus.SUCCEEDED)
    assert reconciler.turn() == []


def test_a_job_without_a_record_is_stopped_and_keeps_no_other_from_being_looked_after() -> None:
    """As after the database was put back from a backup: nobody waits for what the job does."""
    cluster, clock = Cluster(), [0.0]
    cluster.jobs["orphan"] = 5.0
    cluster.put("endless", RunStatus.RUNNING, age_s=4000.0)
    reconciler = RunReconciler(cluster, cluster, 3600.0, lambda: clock[0])
    assert [stop.run_id for stop in reconciler.turn()] == ["endless"]
    clock[0] = 61.0
    assert [(stray.run_id, stray.state) for stray in reconciler.strays()] == [("orphan", "alive")]
    cluster.broken = {"orphan"}
    assert [stop.run_id for stop in reconciler.turn()] == ["orphan"]
    (stray,) = reconciler.strays()
    assert "is alive and will be stopped: there is no record of the run; it could not be stopped yet: " in stray.text
    cluster.broken = set()
    assert [stop.run_id for stop in reconciler.turn()] == ["orphan"]
    assert cluster.jobs == {}
    assert [stray.text for stray in reconciler.strays()] == [
        "the job of run orphan was stopped: there is no record of the run"
    ]


def test_a_job_without_a_record_that_ends_by_itself_is_told_of_too() -> None:
    cluster = Cluster()
    cluster.jobs["orphan"] = 5.0
    reconciler = RunReconciler(cluster, cluster, 3600.0, lambda: 0.0)
    reconciler.turn()
    cluster.jobs.clear()
    reconciler.turn()
    assert [(stray.state, stray.seen_at_s > 0) for stray in reconciler.strays()] == [("ended", True)]
    for number in range(30):
        cluster.jobs = {f"orphan-{number:02d}": 5.0}
        reconciler.turn()
    assert len(reconciler.strays()) == 20, "the newest are remembered"
    assert reconciler.strays()[-1].run_id == "orphan-29"


def test_jobs_of_other_people_and_of_other_platforms_are_left_alone(tmp_path: Path) -> None:
    def of(home: Path) -> dict[str, object]:
        return {"working_dir": "gcs://x.zip", "env_vars": {"RAYMLOPS_HOME": str(home)}}

    bundle = {"pipeline": "flights", "bundle": "b" * 64}
    assert is_of_home(bundle, of(tmp_path), tmp_path)
    assert is_of_home(bundle, of(tmp_path / "a" / ".."), tmp_path)
    assert not is_of_home(bundle, of(tmp_path / "another"), tmp_path)
    assert not is_of_home({}, of(tmp_path), tmp_path)
    assert not is_of_home(None, None, tmp_path)


def test_the_clock_of_runs_says_nothing_about_the_age_of_jobs() -> None:
    clock = ManualClock(START)
    cluster = Cluster()
    cluster.put("replayed", RunStatus.RUNNING, age_s=10.0)
    clock.advance_to(START.replace(year=START.year + 10))
    assert RunReconciler(cluster, cluster, 3600.0).turn() == []


def test_a_job_service_that_is_away_ends_nothing() -> None:
    cluster = Cluster()
    cluster.put("working", RunStatus.RUNNING)

    def away() -> Mapping[str, float]:
        raise UnavailableError("the job service does not answer")

    cluster.alive = away  # type: ignore[method-assign]
    with pytest.raises(UnavailableError):
        RunReconciler(cluster, cluster, 3600.0).turn()
    assert not cluster.runs["working"].status.final
