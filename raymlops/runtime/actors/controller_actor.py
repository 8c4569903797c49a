"""The reconcile loop with its eyes and hands on this cluster."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, cast

from raymlops.config.platform import PlatformConfig
from raymlops.control import Controller, ControlStatus, ModelPolicies
from raymlops.control.loop.champion_news import ChampionNews
from raymlops.control.loop.prober import Prober
from raymlops.features.offline.feature_files import FeatureFiles
from raymlops.monitoring.alerts.incidents import Incidents
from raymlops.monitoring.events.event_tables import DeltaEventTables
from raymlops.monitoring.service import MonitorService
from raymlops.records.models import ModelRegistry
from raymlops.runtime.actors.actuator import ClusterObserver, RayActuator, Rescorer
from raymlops.runtime.cluster.clients import ActorProxy, metadata_stores
from raymlops.runtime.cluster.clocks import ClockMoved
from raymlops.runtime.cluster.names import MONITOR
from raymlops.runtime.cluster.platform_clock import build_clock
from raymlops.runtime.cluster.threads import Repeating
from raymlops.runtime.jobs.operators import RunOperator
from raymlops.runtime.jobs.probes import ProbeProcess
from raymlops.runtime.jobs.run_jobs import JobRunner
from raymlops.runtime.serve.endpoint_orders import endpoint_operator
from raymlops.serving.models.model import Model
from raymlops.tables.delta_log import table_rows

if TYPE_CHECKING:
    from raymlops.runtime.actors.monitor_actor import Figures

__all__ = ["ControllerService"]

_WINDOWS_AT_ONCE = 32
"""Windows that one turn closes at most, so that it looks at trials and health in between."""
_CLOCK_LOOK_S = 0.05


class _SharedRescorer(Rescorer):
    """The rescorer for turns that are side by side: what one loads, another may let go."""

    def __init__(self, registry: ModelRegistry) -> None:
        super().__init__(registry)
        self._loading = threading.Lock()

    def _load(self, model: str, version: int) -> Model:
        with self._loading:
            return super()._load(model, version)


def _rows_of_table(config: PlatformConfig, environment: str | None, table: str, version: int | None) -> tuple[int, int]:
    """A version of a feature table, and its number of rows."""
    return table_rows(FeatureFiles.at(config.feature_place(environment)).tables, table, version)


class ControllerService(Controller):
    """The controller with its eyes and hands on this cluster.

    On the system clock it takes turns by itself. On a replay clock the replay calls for each turn, so that a replay
    is the same on a fast machine and on a slow one; and by itself, whenever the clock has moved, where
    ``control.on_replay`` says so.
    """

    def __init__(self, config: PlatformConfig) -> None:
        metadata = metadata_stores(config.cluster.call_timeout.total_seconds())
        clock = build_clock(config)
        jobs = JobRunner(config.home, metadata.runs, clock)
        policies = ModelPolicies(metadata.deployments, config.control, config.environment)
        # reads the monitor's tables in this process: a trial's rows are too many for a call to the actor
        events = MonitorService(DeltaEventTables(config.home / "monitor"), metadata, clock, config.monitoring)
        probing = config.control, lambda model: policies.of(model).config, config.monitoring
        self._prober = Prober(config.home, *probing, metadata, clock, ProbeProcess(config).start)
        observer = ClusterObserver(
            metadata,
            events,
            pipeline_of=policies.pipeline_of,
            window=config.monitoring.window,
            rescore=_SharedRescorer(metadata.models).of,
            probed=self._prober.probed,
            jobs=jobs,
            news=ChampionNews(metadata, policies.bundle_of, partial(_rows_of_table, config), clock),
        )
        actuator = RayActuator(
            RunOperator(config, metadata, jobs, clock),
            partial(endpoint_operator, config),
            policies.pipeline_of,
        )
        super().__init__(
            clock=clock,
            ledger=metadata.ledger,
            observer=observer,
            actuator=actuator,
            config=config.control,
            label_delay=config.monitoring.label_delay,
            policies=policies,
        )
        self._monitor = cast("MonitorService", ActorProxy(MONITOR, part="monitor"))
        self._figures = cast("Figures", ActorProxy(MONITOR, part="figures"))
        self._incidents: dict[str, Incidents] = {}
        self._closes_all = config.clock.kind == "replay"
        self._loop = self._start_loop(config)

    def status(self) -> list[ControlStatus]:
        """Status of each model as of its last turn, with the events that the monitor lost or put aside."""
        nothing = Incidents()
        return [
            status.model_copy(
                update={
                    "dropped_events": self._incidents.get(status.model, nothing).dropped_rows,
                    "dropped_at": self._incidents.get(status.model, nothing).dropped_at,
                    "out_of_bounds_events": self._incidents.get(status.model, nothing).out_of_bounds_rows,
                }
            )
            for status in super().status()
        ]

    def _start_loop(self, config: PlatformConfig) -> Repeating | None:
        if config.clock.kind == "system":
            return Repeating("reconcile", self.start_turns, config.control.every.total_seconds(), pause_max_s=5.0)
        made_by_configuration = config.clock.start is not None
        if (config.control.on_replay or ("advance" if made_by_configuration else "step")) == "step":
            return None
        moved = ClockMoved(self._clock, config.control.every)
        return Repeating("reconcile", lambda: moved() and self.step(), _CLOCK_LOOK_S, pause_max_s=5.0)

    def _loop_problem(self) -> str | None:
        if self._loop is None:
            return None
        return self._loop.problem if self._loop.alive else self._loop.problem or "the loop's thread has ended"

    def _prepare(self, model: str) -> None:
        """Close the windows that are due; on a replay clock all of them, so that a step leaves nothing to the next."""
        now = self._clock.now()
        closed = newly = self._monitor.close_windows(model, now, _WINDOWS_AT_ONCE)
        while self._closes_all and len(newly) == _WINDOWS_AT_ONCE:
            newly = self._monitor.close_windows(model, now, _WINDOWS_AT_ONCE)
        self._prober.look(model, closed=bool(closed))
        if self._closes_all:
            self._prober.settle(model)
        self._incidents[model] = self._figures.incidents(model)
