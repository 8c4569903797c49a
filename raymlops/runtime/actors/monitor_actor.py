"""Prediction events, labels and windows, in a process of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

import pyarrow as pa

from raymlops.clock import Clock
from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConflictError, DataError, UnavailableError
from raymlops.monitoring.alerts.incidents import Episode, Incidents, Losses
from raymlops.monitoring.events.event_tables import DeltaEventTables
from raymlops.monitoring.report.monitor_report import MonitorReport
from raymlops.monitoring.service import MonitorService
from raymlops.records.ledger import Ledger
from raymlops.runtime.actors.metrics_page import platform_page
from raymlops.runtime.actors.metrics_server import MetricsPage, MetricsServer, ReplicaFigures
from raymlops.runtime.actors.notifier_actor import drift_alarm_rules
from raymlops.runtime.actors.upkeep import Upkeep
from raymlops.runtime.cluster.clients import ActorProxy, Parts, metadata_stores
from raymlops.runtime.cluster.clocks import ClockWatch
from raymlops.runtime.cluster.names import CONTROLLER
from raymlops.runtime.cluster.platform_clock import build_clock
from raymlops.runtime.cluster.threads import Repeating
from raymlops.runtime.explain.served_features import ServedFeatureAudit
from raymlops.runtime.nodes.feature_readers import FeatureReaders
from raymlops.serving.answering.aliases import AliasKind
from raymlops.serving.answering.metrics import Family

__all__ = ["Figures", "MonitorActor"]

_log = logging.getLogger(__name__)

_DROPPED = "events_dropped_total"
_CONTROLLER_S = 5.0


class MonitorActor(Parts):
    """The monitor over the home's event tables, with its upkeep and its metrics.

    Its parts: ``monitor`` keeps events, labels and windows, ``figures`` takes what replicas count.
    """

    def __init__(self, config: PlatformConfig) -> None:
        metadata, clock = metadata_stores(), build_clock(config)
        audit = ServedFeatureAudit(metadata.plans, FeatureReaders(config, clock=clock).of)
        rule_of, tables = drift_alarm_rules(config, metadata), DeltaEventTables(config.home / "monitor")
        losses = Losses(partial(_tell, metadata.ledger))
        monitor = _Monitor(tables, metadata, clock, config.monitoring, audit, rule_of)
        monitor.losses = losses
        figures = Figures(monitor, losses, clock, config.monitoring.metrics.aliases)
        self.parts = {"monitor": monitor, "figures": figures}
        watch = ClockWatch(clock) if config.clock.kind == "system" else None
        upkeep = Upkeep(monitor, metadata.plans, clock, watch)
        every_s = config.monitoring.retention.every.total_seconds()
        self._upkeeping = Repeating("upkeep", upkeep.turn, every_s)
        metrics = config.monitoring.metrics
        if metrics.port is not None:
            windows = MetricsPage(metadata, clock, config.monitoring, rule_of)
            page = platform_page(config, metadata, clock, windows=windows.render, replicas=figures.render)
            self._metrics = MetricsServer(metrics.host, metrics.port, page.render)


class _Monitor(MonitorService):
    """The monitor, with what other actors know of its subjects."""

    losses: Losses

    def record_events(self, model: str, table: pa.Table, batch_id: str) -> int:
        """As the core does; refused events are remembered with the reason."""
        try:
            return super().record_events(model, table, batch_id)
        except (DataError, ConflictError) as error:
            self.losses.refused(model, f"{type(error).__name__}: {error}")
            raise

    def report(self, model: str, start: datetime | None = None, end: datetime | None = None) -> MonitorReport:
        """As the core does, with the controller's reasons against a retraining."""
        found = super().report(model, start, end)
        try:
            controller = ActorProxy(CONTROLLER, _CONTROLLER_S)
            status = next((each for each in controller.status() if each.model == model), None)
        except UnavailableError as error:
            _log.warning("the report of %s does not say what stands against a retraining: %s", model, error)
            return found
        return found if status is None else replace(found, reasons=status.reasons)


class Figures:
    """Counts of the replicas for the metrics page, and the events that were lost. Thread-safe.

    Args:
        monitor: Tells which events were put aside.
        losses: Told how many events replicas have dropped.
        clock: Dates what was lost.
        aliases: Other systems under whose names the figures are shown, too.
    """

    def __init__(
        self, monitor: MonitorService, losses: Losses, clock: Clock, aliases: Sequence[AliasKind] = ()
    ) -> None:
        self._monitor = monitor
        self._losses = losses
        self._clock = clock
        self._replicas = ReplicaFigures(aliases=aliases)

    def record(self, model: str, replica: str, families: Sequence[Family]) -> None:
        """Take what a replica has counted, and see whether it has lost events."""
        self._replicas.put(model, replica, families)
        lost = sum(sample.value for family in families if family.name == _DROPPED for sample in family.samples)
        self._losses.counted(model, replica, int(lost), self._clock.now())

    def incidents(self, model: str) -> Incidents:
        """Incidents of a model's events: those that were lost, and those that were put aside."""
        return self._losses.of(model, self._monitor.out_of_bounds_rows(model))

    def render(self) -> str:
        """The figures, as Prometheus has them."""
        return self._replicas.render()


def _tell(ledger: Ledger, episode: Episode) -> None:
    evidence = {"replica": episode.replica, "rows": episode.rows, "refused": episode.refused}
    ledger.append_entry(episode.model, "events_lost", episode.reason, evidence, key=episode.key)
