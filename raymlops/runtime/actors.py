"""The control actors: the whole topology on one screen.

Each is its core, with a constructor that builds what the core needs inside the actor's process. None holds a CPU; each
restarts without limit, on the node that has the home, and is sent unfinished calls again.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import Any, cast

import ray
from ray.exceptions import GetTimeoutError, RayActorError

from raymlops.clock import Clock
from raymlops.config.platform import PlatformConfig
from raymlops.control import Controller
from raymlops.control.decisions import Decision
from raymlops.errors import RaymlopsError, UnavailableError
from raymlops.metadata import Metadata, MetadataService
from raymlops.metadata.mlflow import MlflowProjection
from raymlops.metadata.projector import Projector
from raymlops.monitoring import MonitorService
from raymlops.runtime.actuator import ClusterObserver, RayActuator, Rescorer, pipeline_finder
from raymlops.runtime.clients import NAMESPACE, ActorProxy, wake_projector
from raymlops.runtime.clocks import build_clock
from raymlops.runtime.endpoints import EndpointOperator
from raymlops.runtime.event_tables import DeltaEventTables
from raymlops.runtime.feature_nodes import FeaturesActor, on_this_node
from raymlops.runtime.feature_readers import open_reader
from raymlops.runtime.jobs import JobRunner
from raymlops.runtime.metrics_server import MetricsPage, MetricsServer
from raymlops.runtime.names import CONTROLLER, FEATURES, METADATA, MONITOR, NOTIFIER, PROJECTOR
from raymlops.runtime.notifier import NotifierActor, drift_alarm_rule
from raymlops.runtime.operators import RunOperator
from raymlops.runtime.served_features import ServedFeatureAudit
from raymlops.runtime.trial_log import read_trials
from raymlops.serving.estimators import TRUSTED_TYPES

__all__ = ["ControllerService", "ProjectorService", "rebuild_projection", "start_actor", "start_control_plane"]

_log = logging.getLogger(__name__)

_ROUTER_OF_A_DRIVER = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"}
"""The controller holds handles outside of any replica, so its routers need a loop of their own (facts-ray.md)."""
_CALLERS_AT_ONCE = {FEATURES: 32}
"""Where it is not 8. Writes of features take turns; the nodes' copies, which read, must not queue behind them."""


class _MetadataActor(MetadataService):
    def __init__(self, config: PlatformConfig) -> None:
        super().__init__(
            config.metadata_url, clock=build_clock(config), lock_timeout_s=config.metadata.busy_timeout.total_seconds()
        )


class _MonitorActor(MonitorService):
    def __init__(self, config: PlatformConfig) -> None:
        metadata, clock = cast("Metadata", ActorProxy(METADATA)), build_clock(config)
        audit = ServedFeatureAudit(metadata, partial(open_reader, config, clock=clock))
        super().__init__(DeltaEventTables(config.home / "monitor"), metadata, clock, config.monitoring, audit)
        threading.Thread(target=self._look_after_tables, args=(metadata, clock), name="upkeep", daemon=True).start()
        metrics = config.monitoring.metrics
        if metrics.port is not None:
            page = MetricsPage(metadata, clock, config.monitoring, drift_alarm_rule(config))
            self._metrics = MetricsServer(metrics.host, metrics.port, page.render)

    def _look_after_tables(self, metadata: Metadata, clock: Clock) -> None:
        """Pack and remove beside what is recorded and asked; a turn that fails is taken again at the next."""
        while True:
            time.sleep(self._config.retention.every.total_seconds())
            try:
                for model in metadata.plan_numbers():
                    self.maintain(model, clock.now())
            except RaymlopsError as error:
                _log.warning("tables of events will be looked after again: %s", error)


class ProjectorService(Projector):
    """The projector of this platform's store."""

    def __init__(self, config: PlatformConfig) -> None:
        uri = config.metadata.mlflow_uri or f"sqlite:///{config.home / 'mlflow.db'}"
        projection = MlflowProjection(uri, config.home / "mlflow-artifacts", trusted=sorted(TRUSTED_TYPES))
        super().__init__(cast("Metadata", ActorProxy(METADATA)), projection, partial(read_trials, config.home))


class ControllerService(Controller):
    """The controller with its eyes and hands on this cluster.

    On the system clock it turns by itself. On a replay clock it turns when whoever replays says so, so that a replay
    is the same on a fast machine and on a slow one.
    """

    def __init__(self, config: PlatformConfig) -> None:
        metadata = cast("Metadata", ActorProxy(METADATA, config.cluster.call_timeout.total_seconds()))
        clock = build_clock(config)
        jobs = JobRunner(config.home, metadata, clock)
        find_pipeline = pipeline_finder(metadata, config.environment)
        # reads the monitor's tables in this process: what a trial rests on is too large for a call to the actor
        events = MonitorService(DeltaEventTables(config.home / "monitor"), metadata, clock, config.monitoring)
        observer = ClusterObserver(
            metadata,
            events,
            pipeline_of=find_pipeline,
            window=config.monitoring.window,
            rescore=Rescorer(metadata).of,
            jobs=jobs,
        )
        actuator = RayActuator(
            RunOperator(config, metadata, jobs, clock),
            EndpointOperator(config, metadata, clock),
            find_pipeline,
            wake_projector,
        )
        super().__init__(clock=clock, ledger=metadata, observer=observer, actuator=actuator, config=config.control)
        self._monitor = cast("MonitorService", ActorProxy(MONITOR))
        self._plans = metadata
        if config.clock.kind == "system" and config.control.enabled:
            every_s = config.control.every.total_seconds()
            threading.Thread(target=self._run, args=(every_s,), name="reconcile", daemon=True).start()

    def step(self) -> list[Decision]:
        """Close the windows that are due, then take a turn."""
        for model in self._plans.plan_numbers():
            self._monitor.close_windows(model, self._clock.now())
        return super().step()

    def _run(self, every_s: float) -> None:
        while True:
            try:
                self.step()
            except RaymlopsError as error:
                _log.warning("this turn was held up and will be taken again: %s", error)
            time.sleep(every_s)


def start_control_plane(config: PlatformConfig, timeout_s: float = 120.0) -> None:
    """Start the control actors that do not run yet, and wait until each answers.

    Raises:
        UnavailableError: One did not come up within ``timeout_s``.
    """
    start_actor(METADATA, _MetadataActor, config, timeout_s)
    names = (FEATURES, MONITOR, CONTROLLER)
    kinds = (FeaturesActor, _MonitorActor, ControllerService)
    handles = [_create(name, kind, config) for name, kind in zip(names, kinds, strict=True)]
    for name, handle in zip(names, handles, strict=True):
        _await(name, handle, timeout_s)
    if config.monitoring.alerts.webhooks:
        start_actor(NOTIFIER, NotifierActor, config, timeout_s)
    if config.metadata.mlflow:
        _create(PROJECTOR, ProjectorService, config)


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
            _create(PROJECTOR, ProjectorService, config)


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


def _create(name: str, kind: type, config: PlatformConfig) -> Any:
    environment = _ROUTER_OF_A_DRIVER if name == CONTROLLER else {}
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
            runtime_env={"env_vars": {"OMP_NUM_THREADS": "1", **environment}},
        )
        .remote(config)
    )


def _await(name: str, handle: Any, timeout_s: float) -> None:
    try:
        ray.get(handle.__ray_ready__.remote(), timeout=timeout_s)
    except GetTimeoutError as error:
        raise UnavailableError(f"the {name} actor was not up within {timeout_s:g} s") from error
    except RayActorError as error:
        raise UnavailableError(f"the {name} actor did not start: {error}") from error
