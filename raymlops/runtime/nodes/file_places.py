"""Which nodes can work on files: all of them where every node has the files, else this one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raymlops.runtime.cluster.this_node import this_node
from raymlops.tables.files import Root, parse_root

__all__ = ["ANYWHERE", "Place", "place_for"]

_log = logging.getLogger(__name__)
_LOOK_S = 30.0
_Seen = list[tuple[str, int, int, int]]


class Place(NamedTuple):
    """Where tasks and actors may be.

    Attributes:
        node: The one node; ``None``: any.
    """

    node: str | None = None

    @property
    def strategy(self) -> NodeAffinitySchedulingStrategy | Literal["DEFAULT"]:
        """As Ray takes it."""
        return "DEFAULT" if self.node is None else NodeAffinitySchedulingStrategy(self.node, soft=False)

    @property
    def labels(self) -> dict[str, str] | None:
        """As Ray Data takes it: labels that the node must have."""
        return None if self.node is None else {"ray.io/node-id": self.node}

    @property
    def cpus(self) -> int:
        """Logical CPUs there, one at least."""
        nodes = [node for node in ray.nodes() if node["Alive"] and self.node in (None, node["NodeID"])]
        return max(int(sum(node["Resources"].get("CPU", 0) for node in nodes)), 1)


ANYWHERE = Place()


def place_for(roots: Iterable[Root]) -> Place:
    """Where work on files can be done. Object stores are reached from everywhere.

    A directory of this node counts as shared where every other node has the same one, by its inode and the instant of
    its last change; a path that is not there, as of an output, where they have the same directory above it.

    Args:
        roots: What is read and written.
    """
    paths = sorted(path for root in roots if isinstance(path := parse_root(root), Path))
    here = this_node()
    others = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    if not paths or not others:
        return ANYWHERE
    look = ray.remote(num_cpus=0, max_retries=0)(_look)
    asked = [look.options(scheduling_strategy=Place(node).strategy).remote(paths) for node in others]
    try:
        same = all(found == _look(paths) for found in ray.get(asked, timeout=_LOOK_S))
    except (RayError, TimeoutError) as error:
        _log.warning("not every node tells whether it has %s: %s", paths, error)
        same = False
    return ANYWHERE if same else Place(here)


def _look(paths: Sequence[Path]) -> _Seen:
    return [_identity(path) for path in paths]


def _identity(path: Path) -> tuple[str, int, int, int]:
    """What tells a path from another machine's; of the directory above it where it is not there."""
    there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    found = there.stat()
    return str(there), found.st_ino, found.st_size, found.st_mtime_ns
