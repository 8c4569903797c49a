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
from raymlops.features.online.online_store import Watermark
from raymlops.features.replication.environments import PerEnvironment
from raymlops.features.replication.follower import CopyReport
from raymlops.features.replication.leader import LeadingStore, open_store, require_definitions, store_options
from raymlops.features.replication.removal import remove_features
from raymlops.runtime.cluster.clients import NAMESPACE, ActorProxy
from raymlops.runtime.cluster.platform_clock import build_clock
from raymlops.runtime.cluster.this_node import this_node
from raymlops.runtime.nodes.feature_writer import feature_writer
from raymlops.runtime.nodes.node_copies import Copy, alive_nodes, copies_there, copy_of, remove_copies

__all__ = ["FeaturesActor", "copies"]

_log = logging.getLogger(__name__)

_NODES_EVERY_S = 2.0
"""How often the writer looks for nodes that joined or left; a node that serves before that starts its own copy."""
_REPORT_TIMEOUT_S = 10.0
_REOPEN_EVERY_S = 1.0


class FeaturesActor(LeadingStore):
    """The one writer of features, and what starts copies on nodes that join.

    It is the store of the platform's own environment; those of other environments are its parts, by their names. Each
    is opened at its first call, which also makes up for what a former process left undone in it.
    """

    def __init__(self, config: PlatformConfig) -> None:
        self._config, clock, place = config, build_clock(config), config.feature_place()
        self._others = PerEnvironment(lambda environment: open_store(config.feature_place(environment), clock))
        # Ray does not try again where a constructor raises: a server that is away must not end a restarted actor
        restarted = ray.get_runtime_context().was_current_actor_reconstructed
        while True:
            try:
                super().__init__(place.root, **store_options(place, clock))
                break
            except StorageError as error:
                if not restarted:
                    raise
                _log.warning("the feature store cannot be opened yet: %s", error)
                time.sleep(_REOPEN_EVERY_S)
        if config.features.online_server is None:
            threading.Thread(target=_keep_copies, args=(config,), name="copies", daemon=True).start()

    def node_id(self) -> str:
        """The node of the writer."""
        return this_node()

    def call_part(self, part: str, method: str, *args: object, **kwargs: object) -> Any:
        """Call a method of the store of another environment than the platform's own.

        ``remove_features`` removes all that the environment has, also on other nodes, and may be called again.

        Raises:
            NotFoundError: Nothing was applied in an environment of this name, and this call does not do so.
        """
        if method == "remove_features":
            remove_copies(part)
            return self._others.drop(part, lambda: remove_features(self._config.feature_place(part)))
        if method != "apply" and not self._others.opened(part):
            require_definitions(self._config.feature_place(part))
        return getattr(self._others.of(part), method)(*args, **kwargs)

    def close(self) -> None:
        """Release the stores of all environments."""
        self._others.close()
        super().close()


def _keep_copies(config: PlatformConfig) -> None:
    """Have a copy on every other node, and none on those that are gone."""
    here = this_node()
    pause = threading.Event()
    while not pause.wait(_NODES_EVERY_S):
        try:
            alive = alive_nodes()
            for node in alive - {here}:
                copy_of(config, node)
            for copy in copies_there():
                if copy.node not in alive:
                    with contextlib.suppress(ValueError):
                        ray.kill(ray.get_actor(copy.actor, namespace=NAMESPACE))
        except Exception:
            _log.exception("copies of the online store could not be looked after; they will be, next time")


def copies(config: PlatformConfig, environment: str | None = None) -> list[dict[str, Any]]:
    """How far each node has each view of an environment: one row per node and view, the writer's first.

    Raises:
        UnavailableError: the writer does not answer.
    """
    marks: Mapping[str, Watermark] = feature_writer(config, environment).progress().watermarks
    here = feature_writer(config).node_id()
    rows = [_row(here, "writer", view, mark.sequence, 0, None, None) for view, mark in marks.items()]
    named = config.feature_place(environment).environment
    alive = alive_nodes()
    for node in sorted(copy.node for copy in copies_there() if copy.environment == named and copy.node in alive):
        try:
            report: CopyReport = ActorProxy(Copy(node, named).actor, _REPORT_TIMEOUT_S).report()
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
