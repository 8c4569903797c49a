"""Pipeline runs as Ray Jobs: submit once, watch, bring an orphaned run to its end."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ray
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from raymlops.clock import Clock
from raymlops.control.reconciling.run_reconcile import is_of_home
from raymlops.delivery.verify import verify_bundle
from raymlops.errors import DeploymentError, InvalidTransition, NotFoundError, RunNotFound, UnavailableError
from raymlops.records.names import check_name
from raymlops.records.runs import Run, RunStatus, RunStore
from raymlops.runtime.cluster.deadlines import within
from raymlops.runtime.cluster.niceness import TRAINING_NICENESS
from raymlops.scoring.left_jobs import end_if_left

__all__ = ["JobRunner"]

_POLL_S = 0.25
_NO_AGENT = "No available agent"
_AGENT_TIMEOUT_S = 30.0
"""How long the node's job agent may take to come up after the head has."""
_ANNOUNCED = "announced"
_SUBMIT_TIMEOUT_S = 300.0
"""How long after it was announced a run must have a job."""
_CALL_S = 30.0
"""Deadline of a call to the job service, which has none of its own."""
_STOP_S = 30.0
"""Seconds that a job may take to end once it is asked to: Ray kills it after some seconds."""
_FINAL = {JobStatus.STOPPED, JobStatus.SUCCEEDED, JobStatus.FAILED}


logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)
"""The job client of Ray logs every upload of a bundle."""


class JobRunner:
    """Submits runs to the cluster's job service and watches them. Stateless: the run's id is the job's id.

    Args:
        home: ``RAYMLOPS_HOME``, where bundles are and where the runs' logs are kept.
        runs: The run records.
        clock: Stamps the end of runs that died without a word.
    """

    def __init__(self, home: Path, runs: RunStore, clock: Clock) -> None:
        self._home = home
        self._runs = runs
        self._clock = clock
        self._client: JobSubmissionClient | None = None

    @property
    def _jobs(self) -> JobSubmissionClient:
        if self._client is None:
            self._client = JobSubmissionClient(ray.get_runtime_context().gcs_address)
        return self._client

    def submit(self, run: Run) -> str:
        """Start the job of a run; a second call for the same run finds it started.

        Returns:
            The job's id.

        Raises:
            DeploymentError: The run's bundle was altered; the run is then recorded as failed.
            UnavailableError: The job service does not answer.
        """
        if run.bundle is None:
            raise ValueError(f"run {run.id} names no bundle to run from")
        bundle = self._home / "bundles" / run.bundle
        deadline = time.monotonic() + _AGENT_TIMEOUT_S
        while self._status(run.id) is None:
            self._verify(run, bundle)
            try:
                self._jobs.submit_job(
                    entrypoint=f"nice -n {TRAINING_NICENESS} {sys.executable} -m raymlops.cli.train --run {run.id}",
                    submission_id=run.id,
                    runtime_env={
                        "working_dir": str(bundle / "bundle.zip"),
                        "env_vars": {"RAYMLOPS_HOME": str(self._home)},
                    },
                    metadata={"pipeline": run.pipeline, "bundle": run.bundle},
                )
            except (RuntimeError, ConnectionError) as error:
                if _NO_AGENT in str(error) and time.monotonic() < deadline:
                    time.sleep(_POLL_S)
                elif self._status(run.id) is None:
                    raise UnavailableError(f"run {run.id} could not be submitted: {error}") from error
        return run.id

    def _verify(self, run: Run, bundle: Path) -> None:
        """Refuse to run from a bundle that was altered; the run is then recorded as failed."""
        try:
            verify_bundle(bundle)
        except (DeploymentError, NotFoundError) as error:
            changes = {"status": RunStatus.FAILED, "ended_at": self._clock.now(), "error": str(error)}
            self._runs.update_run(run.id, **changes)
            raise

    def _status(self, run_id: str) -> JobStatus | None:
        try:
            return within(_CALL_S, f"asking for job {run_id}", lambda: self._jobs.get_job_status(run_id))
        except (RuntimeError, OSError) as error:
            if "does not exist" in str(error):
                return None
            self._client = None  # its successor may have another address
            raise UnavailableError(f"the job service does not answer: {error}") from error

    def announce(self, run_id: str) -> None:
        """Note that a run is about to be submitted, since the process may be killed before the run is recorded."""
        check_name("run", run_id)
        place = self._home / "runs" / run_id
        place.mkdir(parents=True, exist_ok=True)
        (place / _ANNOUNCED).touch()

    def _is_forgotten(self, run_id: str) -> bool:
        """Whether a run was announced long ago, on the wall clock; a run without an announcement is left alone."""
        try:
            at = (self._home / "runs" / run_id / _ANNOUNCED).stat().st_mtime
        except FileNotFoundError:
            return False
        return time.time() - at > _SUBMIT_TIMEOUT_S

    def reconcile(self, run: Run) -> Run:
        """Bring a run to its end whose job ended without saying so (killed, crashed, never started).

        A run without a bundle runs in whatever process asked for it: of batch scoring, the job's lock tells if that
        lives; others are left alone.
        """
        if run.status.final or run.bundle is None:
            return end_if_left(run, self._home, self._runs, self._clock)
        status = self._status(run.id)
        if status is None and run.status == RunStatus.PENDING and not self._is_forgotten(run.id):
            return run
        if status is not None and status not in _FINAL:
            return run
        latest = self._runs.get_run(run.id)
        if latest.status.final:
            return latest
        told = "the job is unknown to the cluster" if status is None else self._jobs.get_job_info(run.id).message
        if status is not None:
            self.keep_logs(run.id)
        final = RunStatus.CANCELED if status == JobStatus.STOPPED else RunStatus.FAILED
        changes = {"status": final, "ended_at": self._clock.now(), "error": f"the job ended: {told}"}
        try:
            return self._runs.update_run(run.id, **changes)
        except InvalidTransition:
            return self._runs.get_run(run.id)  # another process found it, too, or the run reported after all

    def wait(self, run_id: str, timeout_s: float, on_poll: Callable[[Run], None] | None = None) -> Run:
        """Wait until a run is final.

        Raises:
            UnavailableError: It is not, after ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            run = self.reconcile(self._runs.get_run(run_id))
            if on_poll is not None:
                on_poll(run)
            if run.status.final:
                self.keep_logs(run_id)
                return run
            if time.monotonic() > deadline:
                raise UnavailableError(f"run {run_id} is still {run.status} after {timeout_s:g} s")
            time.sleep(_POLL_S)

    def keep_logs(self, run_id: str) -> Path:
        """Copy the job's output into the home, where it outlives the cluster; of a job it does not know, what is there.

        What the steps printed is there already, in ``logs`` beside it: no job that is killed takes it along.
        """
        path = self._home / "runs" / run_id / "driver.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._status(run_id) is not None:
            path.write_text(self._jobs.get_job_logs(run_id))
        return path

    def alive(self) -> dict[str, float]:
        """Id of the run of every job that has not ended -> seconds since it began, on the wall clock.

        Raises:
            UnavailableError: The job service does not answer.
        """
        try:
            jobs: list[JobDetails] = within(_CALL_S, "listing jobs", self._list_jobs)
        except (RuntimeError, OSError) as error:
            self._client = None
            raise UnavailableError(f"the job service does not answer: {error}") from error
        return {
            job.submission_id: time.time() - (job.start_time or time.time() * 1000) / 1000
            for job in jobs
            if job.submission_id and job.status not in _FINAL and is_of_home(job.metadata, job.runtime_env, self._home)
        }

    def _list_jobs(self) -> list[JobDetails]:
        listed: list[JobDetails] = self._jobs.list_jobs()
        return listed

    def end(self, run_id: str, reason: str, ending: RunStatus = RunStatus.FAILED) -> None:
        """Stop the job of a run, and end the run if it has not ended by itself meanwhile.

        Args:
            run_id: The run.
            reason: Why.
            ending: The final state of the run.

        Raises:
            UnavailableError: The job could not be stopped.
        """
        self.stop(run_id)
        deadline = time.monotonic() + _STOP_S
        while (job := self._status(run_id)) is not None and job not in _FINAL:
            if time.monotonic() > deadline:
                raise UnavailableError(f"the job of run {run_id} did not stop within {_STOP_S:g} s")
            time.sleep(_POLL_S)
        self.keep_logs(run_id)
        changes = {"status": ending, "ended_at": self._clock.now(), "error": reason}
        # another process found it ended, too; or it has no record, and its job was stopped for that
        with contextlib.suppress(InvalidTransition, RunNotFound):
            if not self._runs.get_run(run_id).status.final:
                self._runs.update_run(run_id, **changes)

    def stop(self, run_id: str) -> None:
        """Ask the job of a run to stop; one that is not running is left alone."""
        status = self._status(run_id)
        if status is not None and status not in _FINAL:
            self._jobs.stop_job(run_id)
