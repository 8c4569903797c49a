"""Functions over the parts of a table, as Ray tasks on all nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from raymlops.config.platform import PlatformConfig
from raymlops.records.scoring import Part
from raymlops.runtime.jobs.parts.join_tasks import RayTasks
from raymlops.scoring.table_profiles import EachPart

__all__ = ["part_tasks"]

S = TypeVar("S")
R = TypeVar("R")


@contextmanager
def part_tasks(config: PlatformConfig, source: str) -> Iterator[EachPart]:
    """``EachPart`` of the cluster: a task for each part, as many at a time as there are CPUs where ``source`` is.

    The result of a part passes through the object store; its rows do not, since the task that counts them reads them.
    """
    with RayTasks(config.batch.profile_timeout.total_seconds(), "profile", [source]) as tasks:

        def each_part(function: Callable[[S, Part], R], shared: S, parts: Sequence[Part], /) -> Iterator[R]:
            handle = tasks.put(shared)
            for _, found in tasks.gather(function, ((handle, part) for part in parts)):
                yield found

        yield each_part
