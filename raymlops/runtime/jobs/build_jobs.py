"""Commits on their way to an environment, as Ray Jobs: outside, what starts and ends them; inside, what they do."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import ray
from ray.job_submission import JobStatus, JobSubmissionClient

from raymlops.config.platform import PlatformConfig
from raymlops.delivery.git.remote import RemoteRepository
from raymlops.errors import ConfigError, RaymlopsError, UnavailableError
from raymlops.metadata import Metadata
from raymlops.records.delivering.pushes import BUILD, DEPLOYED, FAILED, Push, push_subject
from raymlops.runtime.cluster.deadlines import within
from raymlops.runtime.cluster.niceness import TRAINING_NICENESS
from raymlops.runtime.jobs.delivery_operator import DeliveryOperator

__all__ = ["JobBuilds", "build_and_deploy"]

T = TypeVar("T")

_log = logging.getLogger(__name__)
_CALL_S = 30.0
_FINAL = {JobStatus.STOPPED, JobStatus.SUCCEEDED, JobStatus.FAILED}


class JobBuilds:
    """Starts and watches the jobs that build commits.

    Args:
        home: ``RAYMLOPS_HOME`` of the platform.
    """

    def __init__(self, home: Path) -> None:
        self._home = home

    def start(self, push: Push) -> None:
        if self._status(push) is None:
            command = [sys.executable, "-m", "raymlops.cli.build_commit", str(push.sequence)]
            entrypoint = f"nice -n {TRAINING_NICENESS} {shlex.join(command)}"
            variables = {"RAYMLOPS_HOME": str(self._home)}
            self._call(
                f"starting job {push.job}",
                lambda jobs: jobs.submit_job(
                    entrypoint=entrypoint,
                    submission_id=push.job,
                    runtime_env={"env_vars": variables},
                    metadata={"commit": push.commit},
                ),
            )

    def end_of(self, push: Push) -> str | None:
        status = self._status(push)
        if status is None:
            return "its job is unknown to the cluster"
        if status not in _FINAL:
            return None
        told = self._call(f"asking about job {push.job}", lambda jobs: jobs.get_job_info(push.job).message)
        return f"its job is {str(status.value).lower()}: {' '.join(str(told).split())[:300]}"

    def stop(self, push: Push) -> None:
        self._call(f"stopping job {push.job}", lambda jobs: jobs.stop_job(push.job))

    def _status(self, push: Push) -> JobStatus | None:
        try:
            return self._call(f"asking for job {push.job}", lambda jobs: jobs.get_job_status(push.job))
        except UnavailableError as error:
            if "does not exist" in str(error):
                return None
            raise

    def _call(self, what: str, call: Callable[[JobSubmissionClient], T]) -> T:
        """Raises ``UnavailableError`` where the job service does not answer."""
        try:
            return within(_CALL_S, what, lambda: call(JobSubmissionClient(ray.get_runtime_context().gcs_address)))
        except (RuntimeError, OSError) as error:
            raise UnavailableError(f"{what}: {' '.join(str(error).split())[:300]}") from error


def build_and_deploy(config: PlatformConfig, metadata: Metadata, delivery: DeliveryOperator, sequence: int) -> bool:
    """Clone, build and deploy a commit, and write into the ledger what came of it.

    Args:
        config: The platform's configuration.
        metadata: The ledger.
        delivery: Builds and deploys.
        sequence: Of the ledger entry that says that the commit is built.

    Returns:
        Whether it is deployed.

    Raises:
        ConfigError: There is no such entry, or no repository is watched.
    """
    entry = next(iter(metadata.ledger.entries(after=sequence - 1)), None)
    if entry is None or entry.sequence != sequence or entry.action != BUILD or config.delivery.source is None:
        raise ConfigError(f"entry {sequence} of the ledger names no commit that is to be built")
    push, bundle = Push.of(entry), None
    subject = push_subject(push.branch)
    with _scratch(config.home) as scratch:
        try:
            repository = RemoteRepository(config.delivery.source, os.environ)
            project = repository.clone(push.branch, push.commit, scratch / "checkout")
            # what was pushed runs in processes that inherit the variables of this one, and may print them
            os.environ.pop(config.delivery.source.password_env, None)
            bundle = delivery.build(project).digest
            live = delivery.deploy(bundle, push.environment, reason=f"commit {push.commit[:12]} of {push.branch}")
        except RaymlopsError as error:
            told = " ".join(str(error).split())
            metadata.ledger.append_entry(subject, FAILED, told, push.ending(bundle), key=push.ending_key)
            _log.error("commit %s of %s: %s", push.commit, push.branch, told)
            return False
    reason = f"bundle {bundle[:12]} is live in {push.environment}"
    metadata.ledger.append_entry(subject, DEPLOYED, reason, push.ending(bundle, live.version), key=push.ending_key)
    return True


@contextlib.contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """A directory for one build, of its owner alone; what a killed build left is removed: one goes on at a time."""
    place = home / "builds"
    place.mkdir(mode=0o700, exist_ok=True)
    for left in place.iterdir():
        shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(dir=place))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
