"""Prediction events, labels and windows, in a process of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import cast

from raymlops.clock import Clock
from raymlops.config.platform import PlatformConfig
from raymlops.errors import RaymlopsError
from raymlops.metadata import Metadata
from raymlops.monitoring.service import MonitorService
from raymlops.runtime.clients import ActorProxy
from raymlops.runtime.clocks import build_clock
from raymlops.runtime.event_tables import DeltaEventTables
from raymlops.runtime.feature_readers import open_reader
from raymlops.runtime.metrics_server import MetricsPage, MetricsServer, ReplicaFigures
from raymlops.runtime.names import METADATA
from raymlops.runtime.notifier import drift_alarm_rule
from raymlops.runtime.served_features import ServedFeatureAudit
from raymlops.serving.metrics import Family

__all__ = ["MonitorActor"]

_log = logging.getLogger(__name__)


class MonitorActor(MonitorService):
    """The monitor over the home's event tables, with its upkeep and its metrics."""

    def __init__(self, config: PlatformConfig) -> None:
        metadata, clock = cast("Metadata", ActorProxy(METADATA)), build_clock(config)
        audit = ServedFeatureAudit(metadata, partial(open_reader, config, clock=clock))
        rule, tables = drift_alarm_rule(config), DeltaEventTables(config.home / "monitor")
        super().__init__(tables, metadata, clock, config.monitoring, audit, rule)
        threading.Thread(target=self._look_after_tables, args=(metadata, clock), name="upkeep", daemon=True).start()
        metrics = config.monitoring.metrics
        self._figures = ReplicaFigures()
        if metrics.port is not None:
            page = MetricsPage(metadata, clock, config.monitoring, rule)
            self._metrics = MetricsServer(metrics.host, metrics.port, lambda: page.render() + self._figures.render())

    def record_figures(self, model: str, replica: str, families: Sequence[Family]) -> None:
        """Take what a replica has counted, for the metrics page."""
        self._figures.put(model, replica, families)

    def _look_after_tables(self, metadata: Metadata, clock: Clock) -> None:
        """Pack and remove beside what is recorded and asked; a turn that fails is taken again at the next."""
        while True:
            time.sleep(self._config.retention.every.total_seconds())
            try:
                for model in metadata.plan_numbers():
                    self.maintain(model, clock.now())
            except RaymlopsError as error:
                _log.warning("tables of events will be looked after again: %s", error)
