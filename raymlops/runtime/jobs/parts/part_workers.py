"""Parts scored on the cluster by actors, which end with the last part, or when the caller asks for no more."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any, Self

import ray
from ray.exceptions import RayError, RayTaskError

from raymlops.config.platform import PlatformConfig
from raymlops.errors import UnavailableError
from raymlops.records.models import ModelVersion
from raymlops.records.scoring import Part, PartReceipt
from raymlops.runtime.cluster.clients import domain_error
from raymlops.runtime.cluster.free_cpus import await_free_cpus, describe_cpus
from raymlops.runtime.cluster.niceness import give_way
from raymlops.runtime.jobs.parts.join_tasks import join_tasks
from raymlops.runtime.nodes.file_places import place_for
from raymlops.runtime.nodes.model_fetching import model_files
from raymlops.scoring.opening import ScorerSetting, open_scorer

__all__ = ["score_on_cluster"]

_log = logging.getLogger(__name__)

_RESTARTS = 2
"""A worker that dies is started again so often; one that its model kills each time must not go on for ever."""
_END_S = 10.0
"""How long the process of a worker may take to end once it is killed."""
_POLL_S = 0.02


class BatchWorker:
    """Scores parts one by one. What it reads and writes passes through no other process."""

    def __init__(self, setting: ScorerSetting, version: ModelVersion, config: PlatformConfig, as_tasks: bool) -> None:
        give_way()
        here = replace(setting, directory=model_files(config).directory(version))
        self._scorer = open_scorer(here, join_tasks(config) if as_tasks else None)

    def process(self) -> tuple[str, int]:
        """The node and the process of the worker; the answer shows that the worker is ready."""
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def score(self, part: Part) -> PartReceipt:
        """As ``PartScorer.score``."""
        return self._scorer.score(part)


def score_on_cluster(
    setting: ScorerSetting, version: ModelVersion, config: PlatformConfig, parts: Sequence[Part], *, as_tasks: bool
) -> Generator[PartReceipt, None, None]:
    """Score parts by as many workers as there are free CPUs, and yield each part as soon as it is done.

    They are on the nodes that have the source, the output and the features' tables.

    Args:
        setting: The setting with which workers open their scorers.
        version: The model version that scores; a node that lacks its files fetches them.
        config: The platform's configuration.
        parts: To be scored.
        as_tasks: Features are joined by tasks: these take the CPUs, so one worker hands out the work and takes none.

    Raises:
        UnavailableError: No CPU got free in time, nothing went on for too long, or workers died again and again.
        RaymlopsError: As ``PartScorer.score`` does.
    """
    timeout_s = config.cluster.free_cpus_timeout.total_seconds()
    place = place_for([setting.plan.source.uri, setting.plan.output, *([setting.root] if setting.plan.service else [])])
    free = int(await_free_cpus(1.0, timeout_s, place.node))
    workers = 1 if as_tasks else min(config.batch.workers or free, free, len(parts))
    made = ray.remote(BatchWorker).options(
        num_cpus=0 if as_tasks else 1,
        max_restarts=_RESTARTS,
        max_task_retries=_RESTARTS,
        scheduling_strategy=place.strategy,
    )
    with _Workers([made.remote(setting, version, config, as_tasks) for _ in range(workers)]) as pool:
        yield from pool.score(parts, timeout_s, config.batch.no_progress_timeout.total_seconds())


class _Workers:
    """Actors that hold their CPUs no longer than the block in which they are used, however it is left.

    Args:
        actors: That were just made; none may be ready yet.
    """

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = actors
        self._processes: dict[Any, tuple[str, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        for actor in self._actors:
            ray.kill(actor)
        own = [pid for node, pid in self._processes.values() if node == ray.get_runtime_context().get_node_id()]
        deadline = time.monotonic() + _END_S
        while any(map(_runs, own)):  # a part that is about to be removed must not be written after that
            if time.monotonic() > deadline:
                _log.warning("workers %s did not end within %g s", own, _END_S)
                return
            time.sleep(_POLL_S)

    def score(self, parts: Sequence[Part], start_s: float, progress_s: float) -> Generator[PartReceipt, None, None]:
        """Score parts, one at a time per worker, on the workers that are ready.

        Args:
            parts: To be scored.
            start_s: How long the first worker may take to be ready.
            progress_s: How long nothing may go on after that.
        """
        waiting = deque(parts)
        asked: dict[Any, Any] = {actor.process.remote(): actor for actor in self._actors}
        started: set[Any] = set(asked)
        left = len(parts)
        while left:
            timeout_s = progress_s if self._processes else start_s
            ended, _ = ray.wait(list(asked), num_returns=1, timeout=timeout_s)
            if not ended:
                raise UnavailableError(
                    f"the parts could not be scored: nothing went on for {timeout_s:g} s; {describe_cpus()}"
                )
            actor = asked.pop(ended[0])
            told = _value(ended[0])
            if ended[0] in started:
                self._processes[actor] = told
            else:
                left -= 1
                yield told
            if waiting:
                asked[actor.score.remote(waiting.popleft())] = actor


def _value(reference: Any) -> Any:
    """The answer of a worker; its exception is raised unchanged.

    Raises:
        UnavailableError: It died again and again.
        RaymlopsError: Of the worker.
    """
    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise domain_error(error) from error
    except RayError as error:
        raise UnavailableError(f"the parts could not be scored: {' '.join(str(error).split())[:2000]}") from error


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
