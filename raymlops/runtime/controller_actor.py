"""The reconcile loop with its eyes and hands on this cluster."""

from __future__ import annotations

import logging
import threading
import time
from typing import cast

from raymlops.config.platform import PlatformConfig
from raymlops.control import Controller
from raymlops.control.decisions import Decision
from raymlops.errors import RaymlopsError
from raymlops.metadata import Metadata
from raymlops.monitoring.service import MonitorService
from raymlops.runtime.actuator import ClusterObserver, RayActuator, Rescorer, pipeline_finder
from raymlops.runtime.clients import ActorProxy, wake_projector
from raymlops.runtime.clocks import build_clock
from raymlops.runtime.endpoint_client import EndpointClient
from raymlops.runtime.event_tables import DeltaEventTables
from raymlops.runtime.jobs import JobRunner
from raymlops.runtime.names import METADATA, MONITOR
from raymlops.runtime.operators import RunOperator

__all__ = ["ControllerService"]

_log = logging.getLogger(__name__)


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
            EndpointClient(config, metadata),
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
