"""Online features on every node: the writer, and the copies that follow it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import ray
from ray.exceptions import ActorUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raymlops.config.platform import PlatformConfig
from raymlops.errors import RaymlopsError, StorageError
from raymlops.features.catalog.layout import online_path
from raymlops.features.online.lmdb import LmdbOnlineStore
from raymlops.features.online.online_store import Watermark
from raymlops.features.online.servers import open_server
from raymlops.features.replication.follower import CopyReport, Follower
from raymlops.features.replication.leader import LeadingStore
from raymlops.features.replication.ports import Leader
from raymlops.runtime.cluster.clients import NAMESPACE, ActorProxy
from raymlops.runtime.cluster.clocks import build_clock
from raymlops.runtime.cluster.names import FEATURES
from raymlops.runtime.cluster.this_node import this_node

__all__ = ["FeaturesActor", "copies", "copy_of", "copy_path"]

_log = logging.getLogger(__name__)

_COPY = "features-copy-"
_NODES_EVERY_S = 2.0
"""How often the writer looks for nodes that joined or left; a node that serves before that starts its own copy."""
_REPORT_TIMEOUT_S = 10.0
_REOPEN_EVERY_S = 1.0


class FeaturesActor(LeadingStore):
    """The one writer of features, and what starts copies on nodes that join."""

    def __init__(self, config: PlatformConfig) -> None:
        # Ray does not try again where a constructor raises: a server that is away must not end a restarted actor
        restarted = ray.get_runtime_context().was_current_actor_reconstructed
        while True:
            try:
                self._open(config)
                break
            except StorageError as error:
                if not restarted:
                    raise
                _log.warning("the feature store cannot be opened yet: %s", error)
                time.sleep(_REOPEN_EVERY_S)

    def _open(self, config: PlatformConfig) -> None:
        root = config.home / "features"
        online = open_server(config.features, writable=True)
        if online is None:
            online = LmdbOnlineStore(online_path(root), writable=True, map_bytes=config.features.online_bytes)
        super().__init__(
            config.features.root_in(config.home),
            clock=build_clock(config),
            history=config.features.history,
            online=online,
            local=root,
            storage_options=config.features.storage_options,
        )
        if config.features.online_server is None:
            threading.Thread(target=_keep_copies, args=(config,), name="copies", daemon=True).start()

    def node_id(self) -> str:
        """Where the writer is."""
        return this_node()


def _keep_copies(config: PlatformConfig) -> None:
    """Have a copy on every other node, and none on those that are gone."""
    here = this_node()
    pause = threading.Event()
    while not pause.wait(_NODES_EVERY_S):
        try:
            alive = _alive_nodes()
            for node in alive - {here}:
                copy_of(config, node)
            for node in _copied_nodes() - alive:
                with contextlib.suppress(ValueError):
                    ray.kill(ray.get_actor(_COPY + node, namespace=NAMESPACE))
        except Exception:
            _log.exception("copies of the online store could not be looked after; they will be, next time")


def _alive_nodes() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def _copied_nodes() -> set[str]:
    named = ray.util.list_named_actors(all_namespaces=True)
    ours = [found["name"] for found in named if found["namespace"] == NAMESPACE]
    return {name.removeprefix(_COPY) for name in ours if name.startswith(_COPY)}


def copy_of(config: PlatformConfig, node: str) -> ActorProxy:
    """The copy of a node, started where none runs. It follows the writer until its node is gone."""
    ray.remote(_CopyActor).options(
        name=_COPY + node,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=32,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
    ).remote(config)
    return ActorProxy(_COPY + node, 2 * config.features.copy_timeout.total_seconds())


def copy_path(config: PlatformConfig, node: str) -> Path:
    """Where a node keeps its copy. By its id: several nodes may share a machine, or a home."""
    return config.home / "features" / f"online-{node}.lmdb"


def _remove_copies_of_the_dead(directory: Path) -> None:
    """Free the disk of copies whose node will not come back: a node that is started again has another id."""
    alive = _alive_nodes()
    for path in directory.glob("online-*.lmdb"):
        if path.stem.removeprefix("online-") not in alive:
            shutil.rmtree(path, ignore_errors=True)


class _CopyActor:
    """A node's copy of the online store, in a thread that asks the writer for news."""

    def __init__(self, config: PlatformConfig) -> None:
        path = copy_path(config, this_node())
        _remove_copies_of_the_dead(path.parent)
        self._online = LmdbOnlineStore(path, writable=True, map_bytes=config.features.online_bytes)
        leader = cast("Leader", ActorProxy(FEATURES, config.cluster.call_timeout.total_seconds()))
        self._follower = Follower(leader, self._online, build_clock(config), config.features.history)
        self._asked = threading.Event()
        every_s = config.features.copy_every.total_seconds()
        threading.Thread(target=self._run, args=(every_s,), name="follow", daemon=True).start()

    def _run(self, every_s: float) -> None:
        while True:
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

    def pid(self) -> int:
        """Its process."""
        return os.getpid()

    def report(self) -> CopyReport:
        """Where the copy stands."""
        return self._follower.report()


def copies(config: PlatformConfig) -> list[dict[str, Any]]:
    """How far each node has each view: one row per node and view, the writer's first.

    Raises:
        UnavailableError: the writer does not answer.
    """
    writer = ActorProxy(FEATURES, config.cluster.call_timeout.total_seconds())
    marks: Mapping[str, Watermark] = writer.progress().watermarks
    rows = [_row(writer.node_id(), "writer", view, mark.sequence, 0, None, None) for view, mark in marks.items()]
    for node in sorted(_copied_nodes() & _alive_nodes()):
        try:
            report: CopyReport = ActorProxy(_COPY + node, _REPORT_TIMEOUT_S).report()
        except (RaymlopsError, ActorUnschedulableError) as error:  # the latter: its node has just gone
            rows.append(_row(node, "copy", None, None, None, None, str(error)))
            continue
        for view, goal in marks.items():
            mark = report.watermarks.get(view)
            behind = goal.sequence + 1 if mark is None else max(goal.sequence - mark.sequence, 0)
            done = None if mark is None else mark.sequence
            rows.append(_row(node, "copy", view, done, behind, report.level_at, report.error))
    return rows


def _row(
    node: str, role: str, view: str | None, row: int | None, behind: int | None, at: datetime | None, error: str | None
) -> dict[str, Any]:
    return {
        "node": node,
        "role": role,
        "view": view,
        "row": row,
        "behind_rows": behind,
        "level_at": None if at is None else at.isoformat(),
        "error": error,
    }
