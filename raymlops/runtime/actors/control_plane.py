"""The control actors: how they are started, and what each may take.

Each is its core, with a constructor that builds what the core needs inside the actor's process; in a module of its
own, so that no process imports what only the others need. None holds a CPU; each restarts without limit, on the node
that has the home, and is sent unfinished calls again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError

from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError, UnavailableError
from raymlops.runtime.actors.metadata_actor import MetadataActor
from raymlops.runtime.actors.notifier_actor import NotifierActor
from raymlops.runtime.actors.projector_actor import ProjectorActor, ProjectorService
from raymlops.runtime.cluster.clients import NAMESPACE
from raymlops.runtime.cluster.names import FEATURES, METADATA, MONITOR, NOTIFIER, PROJECTOR, RECONCILER
from raymlops.runtime.cluster.niceness import behind_answers
from raymlops.runtime.cluster.this_node import on_this_node
from raymlops.runtime.serve.applications import Builders

__all__ = ["rebuild_projection", "start_actor", "start_control_plane"]

_log = logging.getLogger(__name__)

_ROUTER_OF_A_DRIVER = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"}
"""The reconciler holds handles outside of any replica, so its routers need a loop of their own."""
_CALLERS_AT_ONCE = {FEATURES: 32, MONITOR: 32, RECONCILER: 32}
"""Actor -> calls at once, where they are not the default of 8. Writes of features take turns; the nodes' copies, which
read, must not queue behind them. Batches of events that wait together share a commit. An order about one model must not
delay those about others."""

_BEFORE_ANSWERS = frozenset({METADATA, FEATURES, RECONCILER})
"""The actors that replicas need to start."""


def start_control_plane(
    config: PlatformConfig, kinds: Mapping[str, type], builders: Builders, timeout_s: float = 120.0
) -> None:
    """Start the control actors that do not run yet, and wait until each answers.

    Args:
        config: The platform's configuration.
        kinds: Name -> class of the actors that run beside the metadata actor, in the order in which they start.
        builders: Functions with which the reconciler describes applications to Serve.
        timeout_s: How long each may take.

    Raises:
        UnavailableError: One did not come up within ``timeout_s``.
    """
    start_actor(METADATA, MetadataActor, config, timeout_s)
    _require_own_platform(config, timeout_s)
    more = {RECONCILER: (builders,)}
    handles = {name: _create(name, kind, config, *more.get(name, ())) for name, kind in kinds.items()}
    for name, handle in handles.items():
        _await(name, handle, timeout_s)
    if config.monitoring.alerts.webhooks:
        start_actor(NOTIFIER, NotifierActor, config, timeout_s)
    if config.metadata.mlflow:
        _create(PROJECTOR, ProjectorActor, config)


def _require_own_platform(config: PlatformConfig, timeout_s: float) -> None:
    """Refuse a cluster that holds the platform of another home."""
    found = ray.get(ray.get_actor(METADATA, namespace=NAMESPACE).home.remote(), timeout=timeout_s)
    if found != str(config.home):
        raise ConfigError(f"the cluster holds the platform of {found} already, and can hold one", home=found)


def rebuild_projection(config: PlatformConfig, timeout_s: float = 30.0) -> int:
    """Bring MLflow up to date in this process, while no actor writes to it.

    An actor that has its database open would go on with the file that was removed under it.

    Returns:
        How many runs, versions and aliases were written.

    Raises:
        StorageError: MLflow fails.
        UnavailableError: The projector's actor does not end within ``timeout_s``.
    """
    try:
        ray.kill(ray.get_actor(PROJECTOR, namespace=NAMESPACE))
    except ValueError:
        _log.info("no projector runs")
    try:
        _await_gone(PROJECTOR, timeout_s)
        return ProjectorService(config).sync()
    finally:
        if config.metadata.mlflow:
            _create(PROJECTOR, ProjectorActor, config)


def _await_gone(name: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            ray.get_actor(name, namespace=NAMESPACE)
        except ValueError:
            return
        if time.monotonic() > deadline:
            raise UnavailableError(f"the {name} actor did not end within {timeout_s:g} s")
        time.sleep(0.05)


def start_actor(name: str, kind: type, config: PlatformConfig, timeout_s: float) -> None:
    """Start one control actor where it does not run yet, on this node, and wait until it answers.

    Raises:
        UnavailableError: It did not come up within ``timeout_s``.
    """
    _await(name, _create(name, kind, config), timeout_s)


def _create(name: str, kind: type, config: PlatformConfig, *more: object) -> Any:
    priority = {} if name in _BEFORE_ANSWERS else behind_answers()
    environment = _ROUTER_OF_A_DRIVER if name == RECONCILER else {}
    return (
        ray.remote(kind)
        .options(
            name=name,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=_CALLERS_AT_ONCE.get(name, 8),
            scheduling_strategy=on_this_node(),
            runtime_env={"env_vars": {"OMP_NUM_THREADS": "1", **environment}, **priority},
        )
        .remote(config, *more)
    )


def _await(name: str, handle: Any, timeout_s: float) -> None:
    try:
        ray.get(handle.__ray_ready__.remote(), timeout=timeout_s)
    except GetTimeoutError as error:
        raise UnavailableError(f"the {name} actor was not up within {timeout_s:g} s") from error
    except RayActorError as error:
        raise UnavailableError(f"the {name} actor did not start: {error}") from error
