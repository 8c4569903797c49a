"""What the facade delegates to: proxies of the control actors, and the operators that use them."""

from __future__ import annotations

import uuid
from typing import Self, cast

import pyarrow as pa

from raymlops.control import Backtested, RetrainPolicy, backtest
from raymlops.features import FeatureStore
from raymlops.metadata import Metadata
from raymlops.metadata.anchors import verify_against
from raymlops.monitoring import MonitorService
from raymlops.records.alerts import AlertStatus, Delivery
from raymlops.runtime.actors import ControllerService, rebuild_projection
from raymlops.runtime.actuator import Rescorer
from raymlops.runtime.clients import ActorProxy
from raymlops.runtime.clocks import build_clock
from raymlops.runtime.endpoints import EndpointOperator
from raymlops.runtime.event_tables import DeltaEventTables
from raymlops.runtime.feature_catalog import FeatureCatalog
from raymlops.runtime.feature_readers import open_reader
from raymlops.runtime.ingestion import Ingestion
from raymlops.runtime.jobs import JobRunner
from raymlops.runtime.join_tasks import join_tasks
from raymlops.runtime.lineage import Lineages
from raymlops.runtime.names import CONTROLLER, FEATURES, METADATA, MONITOR
from raymlops.runtime.operators import DeliveryOperator, ModelOperator, RunOperator
from raymlops.runtime.session import Session

__all__ = ["Services"]

_COMMIT_TIMEOUTS = 60
"""Deadline of the commit of many blocks, in deadlines of an ordinary call."""


class Services:
    """Everything one process holds of the platform.

    Args:
        session: The connection.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.config = config = session.config
        self.clock = build_clock(config)
        timeout_s = config.cluster.call_timeout.total_seconds()
        self.metadata = cast("Metadata", ActorProxy(METADATA, timeout_s))
        self.store = cast("FeatureStore", ActorProxy(FEATURES, timeout_s))
        self.monitor = cast("MonitorService", ActorProxy(MONITOR, timeout_s))
        # a turn of the loop may load models on every replica and start deployments
        self.controller = cast("ControllerService", ActorProxy(CONTROLLER, 10 * timeout_s))
        self.reader = open_reader(config, clock=self.clock, join_tasks=join_tasks(config.features))
        self.ingestion = Ingestion(timeout_s, _COMMIT_TIMEOUTS * timeout_s)
        self.features = FeatureCatalog(self.reader, self.metadata, config.home / "monitor")
        self.endpoints = EndpointOperator(config, self.metadata, self.clock)
        self.jobs = JobRunner(config.home, self.metadata, self.clock)
        self.models = ModelOperator(config.home, self.metadata, self.clock)
        self.lineages = Lineages(self.metadata, DeltaEventTables(config.home / "monitor"))
        self.runs = RunOperator(config, self.metadata, self.jobs, self.clock)
        self.delivery = DeliveryOperator(config, self.metadata, self.clock)

    @classmethod
    def of(cls, session: Session) -> Self:
        """The services of a session, which is closed where they cannot be had."""
        try:
            return cls(session)
        except BaseException:
            session.close()
            raise

    def record_labels(self, name: str, table: pa.Table) -> int:
        """Hand labels to the monitor."""
        return self.monitor.record_labels(name, table, uuid.uuid4().hex)

    def verify_ledger(self) -> int:
        """Check the ledger, also against the hashes kept outside of its database; returns how many entries hold."""
        return verify_against(self.metadata, self.config.home / "ledger-anchors.jsonl")

    def rebuild_mlflow(self) -> int:
        """Bring MLflow up to date from the store alone; returns how many runs, versions and aliases were written."""
        return rebuild_projection(self.config)

    def alerts(self, model: str | None) -> list[AlertStatus]:
        """Alerts and their deliveries, oldest first."""
        deliveries: dict[str, list[Delivery]] = {}
        for delivery in self.metadata.list_deliveries(model):
            deliveries.setdefault(delivery.alert.key, []).append(delivery)
        found = self.metadata.list_alerts(model)
        return [AlertStatus(alert=alert, deliveries=tuple(deliveries.get(alert.key, ()))) for alert in found]

    def backtest(self, model: str) -> list[Backtested]:
        """The configured policy over the model's stored windows."""
        policy = RetrainPolicy(self.config.control)
        windows = self.metadata.list_windows(model)
        return backtest(windows, policy, label_delay=self.config.monitoring.label_delay)

    def rescore(self, name: str, version: int) -> dict[str, float]:
        """Scores of a version for the inputs of every logged request."""
        events = DeltaEventTables(self.config.home / "monitor").read(f"predictions/{name}", None, None, "served_at")
        if not events.num_rows:
            return {}
        scores = Rescorer(self.metadata).of(name)(version, events)
        return dict(zip(events["request_id"].to_pylist(), scores.tolist(), strict=True))
