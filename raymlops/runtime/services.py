"""What the facade delegates to: proxies of the control actors, and the operators that use them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from raymlops.records.alerts import AlertStatus, Delivery
from raymlops.runtime.cluster.clients import ActorProxy
from raymlops.runtime.cluster.clocks import build_clock
from raymlops.runtime.cluster.names import CONTROLLER, FEATURES, METADATA, MONITOR

if TYPE_CHECKING:
    import pyarrow as pa

    from raymlops.control import Backtested
    from raymlops.features import FeatureReader, FeatureStore
    from raymlops.laboratory import LabReport
    from raymlops.metadata import Metadata
    from raymlops.monitoring import MonitorService
    from raymlops.runtime.actors.controller_actor import ControllerService
    from raymlops.runtime.by_hand import ByHand
    from raymlops.runtime.explain.feature_catalog import FeatureCatalog
    from raymlops.runtime.explain.lineage import Lineages
    from raymlops.runtime.jobs.batch import BatchOperator
    from raymlops.runtime.jobs.operators import DeliveryOperator, ModelOperator, RunOperator
    from raymlops.runtime.jobs.run_jobs import JobRunner
    from raymlops.runtime.jobs.streamed_training import StreamedTraining
    from raymlops.runtime.nodes.ingestion import Ingestion
    from raymlops.runtime.serve.endpoint_client import EndpointClient
    from raymlops.runtime.session import Session

__all__ = ["Services"]

T = TypeVar("T")

_COMMIT_TIMEOUTS = 60
"""Deadline of the commit of many blocks, in deadlines of an ordinary call."""


class _MadeOnce:
    """What is made when it is first asked for. Thread-safe."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._making = threading.RLock()

    def _once(self, name: str, make: Callable[[], T]) -> T:
        with self._making:
            if name not in self._made:
                self._made[name] = make()
            return cast("T", self._made[name])


class Services(_MadeOnce):
    """Everything one process holds of the platform. Thread-safe.

    Operators are made when they are first asked for: a command that lists runs does not wait for what serves models.

    Args:
        session: The connection.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.config = config = session.config
        self.clock = build_clock(config)
        self._timeout_s = timeout_s = config.cluster.call_timeout.total_seconds()
        self.metadata = cast("Metadata", ActorProxy(METADATA, timeout_s))
        self.store = cast("FeatureStore", ActorProxy(FEATURES, timeout_s))
        self.monitor = cast("MonitorService", ActorProxy(MONITOR, timeout_s))
        # a turn of the loop may load models on every replica and start deployments
        self.controller = cast("ControllerService", ActorProxy(CONTROLLER, 10 * timeout_s))

    @property
    def reader(self) -> FeatureReader:
        """Reads features on this node."""
        from raymlops.runtime.jobs.join_tasks import join_tasks
        from raymlops.runtime.nodes.feature_readers import open_reader

        def opened() -> FeatureReader:
            reader = open_reader(self.config, clock=self.clock, join_tasks=join_tasks(self.config.features))
            return self.session.opened.enter_context(closing(reader))

        return self._once("reader", opened)

    @property
    def ingestion(self) -> Ingestion:
        """Hands rows to the writer."""
        from raymlops.runtime.nodes.ingestion import Ingestion

        return self._once("ingestion", lambda: Ingestion(self._timeout_s, _COMMIT_TIMEOUTS * self._timeout_s))

    @property
    def features(self) -> FeatureCatalog:
        """Describes what is in the feature store."""
        from raymlops.runtime.explain.feature_catalog import FeatureCatalog

        events = self.config.home / "monitor"
        return self._once("features", lambda: FeatureCatalog(self.reader, self.metadata, events))

    @property
    def by_hand(self) -> ByHand:
        """Does what people ask for, recorded first."""
        from raymlops.runtime.by_hand import ByHand

        return self._once("by_hand", lambda: ByHand(self.config, self.metadata, self.store, self.clock))

    @property
    def endpoints(self) -> EndpointClient:
        """Changes what is served."""
        from raymlops.runtime.serve.endpoint_client import EndpointClient

        return self._once("endpoints", lambda: EndpointClient(self.config, self.metadata))

    @property
    def jobs(self) -> JobRunner:
        """Submits runs."""
        from raymlops.runtime.jobs.run_jobs import JobRunner

        return self._once("jobs", lambda: JobRunner(self.config.home, self.metadata, self.clock))

    @property
    def models(self) -> ModelOperator:
        """Registers models."""
        from raymlops.runtime.jobs.operators import ModelOperator

        return self._once("models", lambda: ModelOperator(self.config.home, self.metadata, self.clock))

    @property
    def lineages(self) -> Lineages:
        """Tells what is behind a request or a table."""
        from raymlops.monitoring.events.event_tables import DeltaEventTables
        from raymlops.runtime.explain.lineage import Lineages

        events = self.config.home / "monitor"
        return self._once("lineages", lambda: Lineages(self.metadata, DeltaEventTables(events)))

    @property
    def streamed(self) -> StreamedTraining:
        """Trains on tables that do not fit in memory."""
        from raymlops.runtime.jobs.streamed_training import StreamedTraining

        config = self.config
        free_cpus_timeout_s = config.cluster.free_cpus_timeout.total_seconds()
        return self._once(
            "streamed",
            lambda: StreamedTraining(
                self.reader, self.models, config.home / "runs" / "streamed", free_cpus_timeout_s=free_cpus_timeout_s
            ),
        )

    @property
    def batch(self) -> BatchOperator:
        """Scores tables."""
        from raymlops.runtime.jobs.batch import BatchOperator

        return self._once("batch", lambda: BatchOperator(self.config, self.metadata, self.clock))

    @property
    def runs(self) -> RunOperator:
        """Starts runs."""
        from raymlops.runtime.jobs.operators import RunOperator

        return self._once("runs", lambda: RunOperator(self.config, self.metadata, self.jobs, self.clock))

    @property
    def delivery(self) -> DeliveryOperator:
        """Builds and deploys bundles."""
        from raymlops.runtime.jobs.operators import DeliveryOperator

        return self._once("delivery", lambda: DeliveryOperator(self.config, self.metadata, self.clock))

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
        from raymlops.metadata.anchors import verify_against

        return verify_against(self.metadata, self.config.home / "ledger-anchors.jsonl")

    def alerts(self, model: str | None) -> list[AlertStatus]:
        """Alerts and their deliveries, oldest first."""
        deliveries: dict[str, list[Delivery]] = {}
        for delivery in self.metadata.list_deliveries(model):
            deliveries.setdefault(delivery.alert.key, []).append(delivery)
        found = self.metadata.list_alerts(model)
        return [AlertStatus(alert=alert, deliveries=tuple(deliveries.get(alert.key, ()))) for alert in found]

    def backtest(self, model: str) -> list[Backtested]:
        """The configured policy over the model's stored windows."""
        from raymlops.control import RetrainPolicy, backtest

        policy = RetrainPolicy(self.config.control)
        windows = self.metadata.list_windows(model)
        return backtest(windows, policy, label_delay=self.config.monitoring.label_delay)

    def laboratory(self, model: str, price: float) -> LabReport:
        """What retraining was worth on a served model's own record, by policy; the configured triggers among them."""
        from raymlops.laboratory import Schedule, compare_policies
        from raymlops.runtime.jobs.laboratory import build_recorded

        matrix = build_recorded(model, self.metadata, self.config.home, window=self.config.monitoring.window)
        starts = matrix.facts.starts
        decided = [each.at for each in self.backtest(model) if each.outcome == "retrain"]
        windows = sorted({next((k for k, start in enumerate(starts) if start >= at), matrix.end) for at in decided})
        configured = Schedule(tuple(windows), name="the configured triggers")
        return compare_policies(matrix, price=price, own=[configured], title=f"{model}: what retraining was worth")

    def rescore(self, name: str, version: int) -> dict[str, float]:
        """Scores of a version for the inputs of every logged request."""
        from raymlops.monitoring.events.event_tables import DeltaEventTables
        from raymlops.runtime.actors.actuator import Rescorer

        events = DeltaEventTables(self.config.home / "monitor").read(f"predictions/{name}", None, None, "served_at")
        if not events.num_rows:
            return {}
        scores = Rescorer(self.metadata).of(name)(version, events)
        return dict(zip(events["request_id"].to_pylist(), scores.tolist(), strict=True))
