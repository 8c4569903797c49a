"""Prediction events, labels and windows, in a process of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

import pyarrow as pa

from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConflictError, DataError, UnavailableError
from raymlops.monitoring.alerts.incidents import Episode, Incidents, Losses
from raymlops.monitoring.events.event_tables import DeltaEventTables
from raymlops.monitoring.report.monitor_report import MonitorReport
from raymlops.monitoring.service import MonitorService
from raymlops.runtime.actors.metrics_server import MetricsPage, MetricsServer, ReplicaFigures
from raymlops.runtime.actors.notifier_actor import drift_alarm_rule
from raymlops.runtime.actors.upkeep import Upkeep
from raymlops.runtime.cluster.clients import ActorProxy, metadata_stores
from raymlops.runtime.cluster.clocks import ClockWatch, build_clock
from raymlops.runtime.cluster.names import CONTROLLER
from raymlops.runtime.cluster.threads import Repeating
from raymlops.runtime.explain.served_features import ServedFeatureAudit
from raymlops.runtime.nodes.feature_readers import open_reader
from raymlops.serving.answering.metrics import Family

__all__ = ["MonitorActor"]

_log = logging.getLogger(__name__)

_DROPPED = "events_dropped_total"
_CONTROLLER_S = 5.0


class MonitorActor(MonitorService):
    """The monitor over the home's event tables, with its upkeep and its metrics."""

    def __init__(self, config: PlatformConfig) -> None:
        metadata, clock = metadata_stores(), build_clock(config)
        audit = ServedFeatureAudit(metadata, partial(open_reader, config, clock=clock))
        rule, tables = drift_alarm_rule(config), DeltaEventTables(config.home / "monitor")
        super().__init__(tables, metadata, clock, config.monitoring, audit, rule)
        self._ledger = metadata.ledger
        self._losses = Losses(self._tell)
        watch = ClockWatch(clock) if config.clock.kind == "system" else None
        self._upkeep = Upkeep(self, metadata.plans, clock, watch)
        every_s = config.monitoring.retention.every.total_seconds()
        self._upkeeping = Repeating("upkeep", self._upkeep.turn, every_s)
        metrics = config.monitoring.metrics
        self._figures, self._control = ReplicaFigures(), ReplicaFigures("raymlops_control")
        if metrics.port is not None:
            page = MetricsPage(metadata, clock, config.monitoring, rule)
            figures = (self._figures, self._control)
            self._metrics = MetricsServer(
                metrics.host, metrics.port, lambda: page.render() + "".join(each.render() for each in figures)
            )

    def record_events(self, model: str, table: pa.Table, batch_id: str) -> int:
        """As the core does; what is refused is remembered for whoever asks why events are lost."""
        try:
            return super().record_events(model, table, batch_id)
        except (DataError, ConflictError) as error:
            self._losses.refused(model, f"{type(error).__name__}: {error}")
            raise

    def record_figures(self, model: str, replica: str, families: Sequence[Family]) -> None:
        """Take what a replica has counted, for the metrics page, and see whether it has lost events."""
        self._figures.put(model, replica, families)
        lost = sum(sample.value for family in families if family.name == _DROPPED for sample in family.samples)
        self._losses.counted(model, replica, int(lost), self._clock.now())

    def record_control_figures(self, model: str, families: Sequence[Family]) -> None:
        """Take what the controller has counted, for the metrics page."""
        self._control.put(model, "controller", families)

    def report(self, model: str, start: datetime | None = None, end: datetime | None = None) -> MonitorReport:
        """As the core does, with what the controller says stands against a retraining."""
        found = super().report(model, start, end)
        try:
            controller = ActorProxy(CONTROLLER, _CONTROLLER_S)
            status = next((each for each in controller.status() if each.model == model), None)
        except UnavailableError as error:
            _log.warning("the report of %s does not say what stands against a retraining: %s", model, error)
            return found
        return found if status is None else replace(found, reasons=status.reasons)

    def incidents(self, model: str) -> Incidents:
        """What became of a model's events, where that is not as it should be."""
        return self._losses.of(model, self.out_of_bounds_rows(model))

    def _tell(self, episode: Episode) -> None:
        evidence = {"replica": episode.replica, "rows": episode.rows, "refused": episode.refused}
        self._ledger.append_entry(episode.model, "events_lost", episode.reason, evidence, key=episode.key)
