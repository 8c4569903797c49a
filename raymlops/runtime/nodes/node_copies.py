"""A node's copy of the online store, which follows the writer."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raymlops.config.platform import PlatformConfig
from raymlops.errors import RaymlopsError
from raymlops.features.online.lmdb import LmdbOnlineStore
from raymlops.features.online.online_store import Watermark
from raymlops.features.replication.follower import CopyReport, Follower
from raymlops.features.replication.ports import Leader
from raymlops.runtime.cluster.clients import NAMESPACE, ActorProxy
from raymlops.runtime.cluster.platform_clock import build_clock
from raymlops.runtime.cluster.this_node import this_node
from raymlops.runtime.nodes.feature_writer import feature_writer

__all__ = ["Copy", "alive_nodes", "copies_there", "copy_of", "copy_path"]

_log = logging.getLogger(__name__)

_REMOVE_S = 60.0
"""Deadline of removing a copy: a step of it may be under way."""
_COPY = "features-copy-"
"""Begins the name of a copy's actor; the id of its node follows, then ``@`` and another environment than the own."""


class Copy(NamedTuple):
    """A node's copy of the online store of an environment.

    Attributes:
        node: Id of the node.
        environment: ``None``: the platform's own.
    """

    node: str
    environment: str | None = None

    @property
    def actor(self) -> str:
        """Name of its actor."""
        return f"{_COPY}{self.node}" + ("" if self.environment is None else f"@{self.environment}")


def alive_nodes() -> set[str]:
    """Ids of the nodes that are up."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def copies_there() -> set[Copy]:
    """All copies, those of nodes that are gone among them."""
    named = ray.util.list_named_actors(all_namespaces=True)
    ours = [found["name"] for found in named if found["namespace"] == NAMESPACE]
    parts = [name.removeprefix(_COPY).partition("@") for name in ours if name.startswith(_COPY)]
    return {Copy(node, environment or None) for node, _, environment in parts}


def copy_of(config: PlatformConfig, node: str, environment: str | None = None) -> ActorProxy:
    """The copy of a node, started where none runs. It follows the writer until its node is gone."""
    copy = Copy(node, config.feature_place(environment).environment)
    ray.remote(_CopyActor).options(
        name=copy.actor,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=32,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
    ).remote(config, copy.environment)
    return ActorProxy(copy.actor, 2 * config.features.copy_timeout.total_seconds())


def remove_copies(environment: str) -> None:
    """End the copies of an environment, each with its file. That of a node which is gone goes when it is found there.

    Raises:
        RaymlopsError: A node that is up does not answer.
    """
    alive = alive_nodes()
    for copy in copies_there():
        if copy.environment != environment:
            continue
        if copy.node in alive:
            ActorProxy(copy.actor, _REMOVE_S).remove()
        with contextlib.suppress(ValueError):  # it has ended already
            ray.kill(ray.get_actor(copy.actor, namespace=NAMESPACE))


def copy_path(config: PlatformConfig, node: str, environment: str | None = None) -> Path:
    """Where a node keeps its copy. By its id: several nodes may share a machine, or a home."""
    return config.feature_place(environment).local / f"online-{node}.lmdb"


def _remove_copies_of_the_dead(directory: Path) -> None:
    """Free the disk of copies whose node will not come back: a node that is started again has another id."""
    alive = alive_nodes()
    for path in chain(directory.glob("online-*.lmdb"), directory.glob("environments/*/online-*.lmdb")):
        if path.stem.removeprefix("online-") not in alive:
            shutil.rmtree(path, ignore_errors=True)


class _CopyActor:
    """A node's copy of the online store, in a thread that asks the writer for news."""

    def __init__(self, config: PlatformConfig, environment: str | None) -> None:
        path = copy_path(config, this_node(), environment)
        _remove_copies_of_the_dead(config.feature_place().local)  # those of environments that are gone among them
        self._online = LmdbOnlineStore(path, writable=True, map_bytes=config.features.online_bytes)
        leader = cast("Leader", feature_writer(config, environment))
        self._follower = Follower(leader, self._online, build_clock(config), config.features.history)
        self._asked = threading.Event()
        every_s = config.features.copy_every.total_seconds()
        self._removed = threading.Event()
        self._follows = threading.Thread(target=self._run, args=(every_s,), name="follow", daemon=True)
        self._follows.start()

    def _run(self, every_s: float) -> None:
        while not self._removed.is_set():
            try:
                self._follower.step()
            except Exception as error:  # the thread must outlive it; the copy's report, and a reader's wait, tell of it
                unknown = not isinstance(error, RaymlopsError)
                _log.warning("the copy could not be brought up to date, next try follows: %s", error, exc_info=unknown)
            self._asked.wait(every_s)
            self._asked.clear()

    def reach(self, goals: Mapping[str, Watermark], timeout_s: float) -> None:
        """Wait until the copy is as far as some watermarks, as ``Follower.reach`` does."""
        self._asked.set()
        self._follower.reach(goals, timeout_s)

    def remove(self) -> None:
        """Follow the writer no more, and remove the copy; its process is to be ended then."""
        self._removed.set()
        self._asked.set()
        self._follows.join()
        self._online.remove()

    def pid(self) -> int:
        """The id of the copy's process."""
        return os.getpid()

    def report(self) -> CopyReport:
        """The watermarks of the copy."""
        return self._follower.report()
