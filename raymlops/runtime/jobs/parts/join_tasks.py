"""The tasks of a large join, as Ray tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

import ray
from ray.exceptions import OutOfDiskError, RayError, RayTaskError

from raymlops.config.platform import PlatformConfig
from raymlops.errors import StorageError, UnavailableError
from raymlops.features.offline.service_join import JoinTasks
from raymlops.runtime.cluster.clients import domain_error
from raymlops.runtime.nodes.file_places import place_for
from raymlops.tables.files import Root

__all__ = ["RayTasks", "join_tasks"]

_RETRIES = 3


class RayTasks:
    """Runs tasks on the cluster this process is attached to.

    A task takes one CPU, and no more are in flight than the cluster has. Tables pass through Ray's object store, which
    keeps on disk what its memory cannot hold and frees what nothing refers to any more; so nodes need to share no
    directory but the tables' own; where they do not share that, this node does all of it. A task whose worker dies is
    run again, and so are the tasks whose tables were lost with a node.

    Args:
        timeout_s: Deadline of all, waiting for free CPUs included.
        what: The purpose of the tasks, for errors.
        roots: What they read.
    """

    def __init__(self, timeout_s: float, what: str = "join", roots: Sequence[Root] = ()) -> None:
        self._timeout_s = timeout_s
        self._what = what
        self._roots = roots
        self._deadline = 0.0
        self._running: dict[Any, int] = {}

    def __enter__(self) -> Self:
        self._deadline = time.monotonic() + self._timeout_s
        place = place_for(self._roots)
        self._slots = place.cpus
        self._options: dict[str, Any] = {"num_cpus": 1, "scheduling_strategy": place.strategy}
        return self

    def __exit__(self, *failure: object) -> None:
        for first in self._running:
            ray.cancel(first, force=True)
        self._running.clear()

    def put(self, table: Any) -> Any:
        return ray.put(table)

    def scatter(
        self, function: Callable[..., Sequence[Any]], calls: Iterable[Sequence[Any]], parts: int
    ) -> list[list[Any]]:
        task = ray.remote(_with_receipt).options(max_retries=_RETRIES, num_returns=parts + 1, **self._options)
        held: dict[int, list[Any]] = {}

        def submit(call: Sequence[Any]) -> Any:
            receipt, *tables = task.remote(function, *call)
            held[len(held)] = tables
            return receipt

        for _ in self._ended(submit, calls):
            pass
        return [held[place] for place in range(len(held))]

    def gather(self, function: Callable[..., Any], calls: Iterable[Sequence[Any]]) -> Iterator[tuple[int, Any]]:
        task = ray.remote(function).options(max_retries=_RETRIES, **self._options)
        yield from self._ended(lambda call: task.remote(*call), calls)

    def _ended(
        self, submit: Callable[[Sequence[Any]], Any], calls: Iterable[Sequence[Any]]
    ) -> Iterator[tuple[int, Any]]:
        """Submit the calls, at most so many at a time, and yield the place and the value of each as it ends."""
        waiting = enumerate(calls)
        more = True
        while more or self._running:
            while more and len(self._running) < self._slots:
                place, call = next(waiting, (-1, ()))
                more = place >= 0
                if more:
                    self._running[submit(call)] = place
            if self._running:
                reference = self._next_ended()
                yield self._running.pop(reference), self._value(reference)

    def _next_ended(self) -> Any:
        left = max(self._deadline - time.monotonic(), 0.0)
        ended, _ = ray.wait(list(self._running), num_returns=1, timeout=left)
        if not ended:
            message = f"{self._what}: {len(self._running)} tasks had not ended after {self._timeout_s:g} s"
            raise UnavailableError(message, timeout_s=self._timeout_s)
        return ended[0]

    def _value(self, reference: Any) -> Any:
        try:
            return ray.get(reference, timeout=max(self._deadline - time.monotonic(), 1.0))
        except RayTaskError as error:
            raise domain_error(error) from error
        except OutOfDiskError as error:
            raise StorageError(f"{self._what}: no room for its tables: {error}") from error
        except RayError as error:
            raise UnavailableError(f"{self._what}: a task could not be completed: {error}") from error


def _with_receipt(function: Callable[..., Sequence[Any]], *arguments: Any) -> tuple[Any, ...]:
    """The function's result, after a small value that is fetched only to see whether the task succeeded."""
    return None, *function(*arguments)


def join_tasks(config: PlatformConfig) -> JoinTasks:
    """How the configuration wants large joins to run."""
    settings, root = config.features, config.feature_place().root
    timeout_s = settings.join_timeout.total_seconds()
    return JoinTasks(pool=lambda: RayTasks(timeout_s, roots=[root]), from_rows=settings.join_tasks_from_rows)
