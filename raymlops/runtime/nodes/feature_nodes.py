"""The writer of online features, and the copies that it keeps on the other nodes."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import ray
from ray.exceptions import ActorUnschedulableError

from raymlops.config.platform import PlatformConfig
from raymlops.errors import RaymlopsError, StorageError
from raymlops.features.catalog.layout import online_path
from raymlops.features.online.lmdb import LmdbOnlineStore
from raymlops.features.online.online_store import Watermark
from raymlops.features.online.servers import open_server
from raymlops.features.replication.follower import CopyReport
from raymlops.features.replication.leader import LeadingStore
from raymlops.runtime.cluster.clients import NAMESPACE, ActorProxy
from raymlops.runtime.cluster.clocks import build_clock
from raymlops.runtime.cluster.names import FEATURES
from raymlops.runtime.cluster.this_node import this_node
from raymlops.runtime.nodes.node_copies import COPY, alive_nodes, copied_nodes, copy_of

__all__ = ["FeaturesActor", "copies"]

_log = logging.getLogger(__name__)

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
        """The node of the writer."""
        return this_node()


def _keep_copies(config: PlatformConfig) -> None:
    """Have a copy on every other node, and none on those that are gone."""
    here = this_node()
    pause = threading.Event()
    while not pause.wait(_NODES_EVERY_S):
        try:
            alive = alive_nodes()
            for node in alive - {here}:
                copy_of(config, node)
            for node in copied_nodes() - alive:
                with contextlib.suppress(ValueError):
                    ray.kill(ray.get_actor(COPY + node, namespace=NAMESPACE))
        except Exception:
            _log.exception("copies of the online store could not be looked after; they will be, next time")


def copies(config: PlatformConfig) -> list[dict[str, Any]]:
    """How far each node has each view: one row per node and view, the writer's first.

    Raises:
        UnavailableError: the writer does not answer.
    """
    writer = ActorProxy(FEATURES, config.cluster.call_timeout.total_seconds())
    marks: Mapping[str, Watermark] = writer.progress().watermarks
    rows = [_row(writer.node_id(), "writer", view, mark.sequence, 0, None, None) for view, mark in marks.items()]
    for node in sorted(copied_nodes() & alive_nodes()):
        try:
            report: CopyReport = ActorProxy(COPY + node, _REPORT_TIMEOUT_S).report()
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
