"""Probes of served models as Ray tasks, which give way to everything else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import ray

from raymlops.config.platform import PlatformConfig
from raymlops.records.models import ModelVersion
from raymlops.runtime.cluster.clients import task_result
from raymlops.runtime.cluster.niceness import TRAINING_NICENESS, behind_answers, give_way
from raymlops.runtime.jobs.probe_work import prepare, probe
from raymlops.runtime.nodes.feature_readers import open_reader

__all__ = ["RayProbeTask", "start_probes"]

_ANSWER_S = 10.0
"""Deadline of fetching what a task that ended has said."""


class RayProbeTask:
    """A task on the cluster this process is attached to.

    Args:
        reference: Of its result.
    """

    def __init__(self, reference: ray.ObjectRef) -> None:
        self._reference = reference

    def wait(self, timeout_s: float) -> bool:
        return bool(ray.wait([self._reference], timeout=timeout_s)[0])

    def outcome(self) -> str:
        return str(task_result(self._reference, "a task of probes", _ANSWER_S))

    def cancel(self) -> None:
        ray.cancel(self._reference, force=True)


def start_probes(
    config: PlatformConfig, champion: ModelVersion, starts: Sequence[datetime], at: datetime, *, ahead: bool = False
) -> RayProbeTask:
    """Start a task that probes some windows, or one that fits the probes of windows that have begun.

    It takes no CPU from what serves or trains, and works when these rest.

    Args:
        config: The platform's.
        champion: The version that serves.
        starts: Of the windows, oldest first.
        at: The present instant.
        ahead: Whether probes are only fitted.
    """
    named = {"name": f"probes of {champion.name}", "runtime_env": behind_answers(TRAINING_NICENESS)}
    return RayProbeTask(_TASK.options(**named).remote(config, champion, tuple(starts), at, ahead))


def _work(config: PlatformConfig, champion: ModelVersion, starts: Sequence[datetime], at: datetime, ahead: bool) -> str:
    give_way()
    if ahead:
        prepare(config, champion, starts, open_reader)
        return ""
    return probe(config, champion, starts, at, open_reader)


_TASK = ray.remote(num_cpus=0, max_retries=0)(_work)
"""One remote function for both: its next task gets the warm worker at once, one of another function a new process."""
