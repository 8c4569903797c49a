"""The clock that a process of the platform runs on, wherever it is."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raymlops.clock import Clock, ReplayClock
from raymlops.config.platform import PlatformConfig
from raymlops.errors import UnavailableError
from raymlops.runtime.cluster.clients import NAMESPACE, ActorProxy
from raymlops.runtime.cluster.clocks import clock_path, own_clock
from raymlops.runtime.cluster.names import METADATA
from raymlops.runtime.cluster.this_node import this_node

__all__ = ["ClusterClock", "build_clock"]

_log = logging.getLogger(__name__)

_NODE_CLOCK = "clock-"
"""Begins the name of the actor that moves a node's clock on; the node's id follows."""
_NODE_S = 60.0
"""How long a node may take to move its clock on; of one that was killed, Ray knows so within some 20 s."""


def build_clock(config: PlatformConfig) -> Clock:
    """The clock of this process, which may be on any node.

    A replay clock is a file on the node of the control actors. Every other node has a copy of it, which begins at the
    present instant and is moved on by ``ClusterClock``.

    Raises:
        ConfigError: There is no replay clock, and none can be made.
        UnavailableError: The metadata actor does not tell the present instant.
    """
    path = clock_path(config)
    if config.clock.kind == "system" or path.exists() or not ray.is_initialized() or not _platform_is_up():
        return own_clock(config)
    path = _path_on(path, this_node())
    return ReplayClock.opened(path, None if path.exists() else ActorProxy(METADATA).now())


def _path_on(path: Path, node: str) -> Path:
    """Where another node has its copy. By its id: the copy of a node that was there before stands still."""
    return path.with_name(f"{path.name}-{node}")


def _platform_is_up() -> bool:
    try:
        ray.get_actor(METADATA, namespace=NAMESPACE)
    except ValueError:
        return False
    return True


class ClusterClock:
    """The replay clock of a platform, as the process that replays moves it: on its own node, then on every other.

    Args:
        config: The platform's.
    """

    def __init__(self, config: PlatformConfig) -> None:
        self._path = clock_path(config)
        self._clock = ReplayClock(self._path)

    def now(self) -> datetime:
        return self._clock.now()

    def advance_to(self, instant: datetime) -> None:
        """Move forward to ``instant``; every node that is up has it when this returns.

        Raises:
            ValueError: ``instant`` lies before the present one.
            UnavailableError: A node that is up did not follow.
        """
        self._clock.advance_to(instant)
        here = this_node()
        # listed after the clock has moved: a node that joins later begins at the new instant
        others = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
        told = {node: self._of(node).advance_to.remote(instant) for node in others}
        for node, moved in told.items():
            try:
                ray.get(moved, timeout=_NODE_S)
            except (RayError, TimeoutError) as error:
                if any(each["NodeID"] == node and each["Alive"] for each in ray.nodes()):
                    raise UnavailableError(f"the clock of node {node} could not be moved on: {error}") from error
                _log.info("node %s left while its clock was moved on", node)

    def _of(self, node: str) -> Any:
        place = NodeAffinitySchedulingStrategy(node, soft=False)
        options: dict[str, Any] = {"num_cpus": 0, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
        actor = ray.remote(_NodeClock).options(name=f"{_NODE_CLOCK}{node}", scheduling_strategy=place, **options)
        return actor.remote(self._path)


class _NodeClock:
    """Moves on the copy of the clock on its node; there is none where the node has the clock itself."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def advance_to(self, instant: datetime) -> None:
        if self._path.exists():
            return
        clock = ReplayClock.opened(_path_on(self._path, this_node()), instant)
        if clock.now() < instant:
            clock.advance_to(instant)
