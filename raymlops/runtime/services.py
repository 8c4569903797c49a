"""What the facade delegates to: proxies of the control actors, and the operators that use them."""

from __future__ import annotations

import uuid
from typing import Any, Self, cast

import pyarrow as pa

from raymlops.control import Backtested, RetrainPolicy, backtest
from raymlops.features import FeatureReader, FeatureStore, audit
from raymlops.metadata import Metadata
from raymlops.monitoring import MonitorService
from raymlops.records.features import ConsistencyReport
from raymlops.runtime.actors import ControllerService
from raymlops.runtime.actuator import Rescorer
from raymlops.runtime.clients import ActorProxy
from raymlops.runtime.clocks import build_clock
from raymlops.runtime.endpoints import EndpointOperator
from raymlops.runtime.event_tables import DeltaEventTables, served_rows
from raymlops.runtime.jobs import JobRunner
from raymlops.runtime.names import CONTROLLER, FEATURES, METADATA, MONITOR
from raymlops.runtime.operators import DeliveryOperator, ModelOperator, RunOperator
from raymlops.runtime.session import Session

__all__ = ["Services"]


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
        self.reader = FeatureReader(config.home / "features", clock=self.clock)
        self.endpoints = EndpointOperator(config, self.metadata, self.clock)
        self.jobs = JobRunner(config.home, self.metadata, self.clock)
        self.models = ModelOperator(config.home, self.metadata, self.clock)
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

    def audit(self, service: str) -> ConsistencyReport:
        """Recompute what every model on a service was given, as of then, and compare value by value."""
        ref = self.reader.service(service).ref
        tables = DeltaEventTables(self.config.home / "monitor")
        parts = []
        for model in self.metadata.plan_numbers():
            plan = self.metadata.get_plan(model)
            if plan.service is not None and self.reader.service(plan.service).ref == ref:
                events = tables.read(f"predictions/{model}", None, None, "served_at")
                parts += [served_rows(events)] if events.num_rows else []
        served = pa.concat_tables(parts, promote_options="default") if parts else None
        if served is None or not served.num_rows:
            return ConsistencyReport(service=ref, rows=0, features={})
        return audit(ref, served, self.reader)

    def describe_features(self) -> list[dict[str, Any]]:
        """What is applied, sorted by kind and name."""
        return self.reader.describe()

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
