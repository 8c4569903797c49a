"""Probes of served models in a process that gives way to everything else, and stays for a minute after its work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import ray

from raymlops.config.platform import PlatformConfig
from raymlops.errors import RaymlopsError
from raymlops.records.models import ModelVersion
from raymlops.runtime.cluster.clients import task_result
from raymlops.runtime.cluster.niceness import TRAINING_NICENESS, behind_answers, give_way
from raymlops.runtime.cluster.this_node import on_this_node
from raymlops.runtime.jobs.probe_work import prepare, probe
from raymlops.runtime.nodes.feature_readers import open_reader

__all__ = ["ProbeProcess", "ProbeWorker", "RayProbeTask"]

_ANSWER_S = 10.0
"""Deadline of fetching what a task that ended has said."""

_KEPT_S = 60.0
"""A new process imports for seconds, more than most probes take; one that is kept holds some 300 MB."""


class ProbeWorker:
    """The actor that probes; it holds no state."""

    def __init__(self) -> None:
        give_way()

    def probe(self, config: PlatformConfig, champion: ModelVersion, starts: Sequence[datetime], at: datetime) -> str:
        return probe(config, champion, starts, at, open_reader)

    def prepare(self, config: PlatformConfig, champion: ModelVersion, starts: Sequence[datetime]) -> str:
        prepare(config, champion, starts, open_reader)
        return ""


class RayProbeTask:
    """A call to an actor of the cluster this process is attached to.

    Args:
        reference: Of its result.
        end: Ends the actor's process.
    """

    def __init__(self, reference: ray.ObjectRef, end: Callable[[], None]) -> None:
        self._reference = reference
        self._end = end

    def wait(self, timeout_s: float) -> bool:
        return bool(ray.wait([self._reference], timeout=timeout_s)[0])

    def outcome(self) -> str:
        try:
            return str(task_result(self._reference, "a task of probes", _ANSWER_S))
        except RaymlopsError:
            self._end()  # whatever it came to: the next probes start afresh
            raise

    def cancel(self) -> None:
        self._end()


class ProbeProcess:
    """Starts probes of one platform, one task at a time.

    Workers of plain tasks would not do: Ray ends them at once where the driver that started the platform is gone.

    Args:
        config: The platform's.
    """

    def __init__(self, config: PlatformConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._worker: Any = None
        self._timer: threading.Timer | None = None

    def start(
        self, champion: ModelVersion, starts: Sequence[datetime], at: datetime, *, ahead: bool = False
    ) -> RayProbeTask:
        """Start a task that probes some windows, or one that fits the probes of windows that have begun.

        It takes no CPU from what serves or trains, and works when these rest.

        Args:
            champion: The version that serves.
            starts: Of the windows, oldest first.
            at: The present instant.
            ahead: Whether probes are only fitted.
        """
        worker = self._kept()
        if ahead:
            reference = worker.prepare.remote(self._config, champion, tuple(starts))
        else:
            reference = worker.probe.remote(self._config, champion, tuple(starts), at)
        return RayProbeTask(reference, lambda: self._end(worker))

    def _kept(self) -> Any:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            if self._worker is None:
                options: dict[str, Any] = {"num_cpus": 0, "max_restarts": 0}
                options["runtime_env"] = behind_answers(TRAINING_NICENESS)
                # the recorded events, and the files that tell what was probed, are where the controller is
                options["scheduling_strategy"] = on_this_node()
                self._worker = ray.remote(ProbeWorker).options(**options).remote()
            self._timer = threading.Timer(_KEPT_S, self._let_go)
            self._timer.daemon = True
            self._timer.start()
            return self._worker

    def _let_go(self) -> None:
        """Keep it no longer: Ray ends an actor that nobody refers to, after what it is at."""
        with self._lock:
            self._worker = None

    def _end(self, worker: Any) -> None:
        with self._lock:
            if self._worker is worker:
                self._worker = None
        ray.kill(worker)
