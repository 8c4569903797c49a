"""The facade a user holds: it delegates, and implements nothing.

Example::

    import raymlops as rml

    with rml.connect() as platform:
        platform.apply(customer, spending, churn_features)
        platform.features.ingest("spending", table)
        version = platform.models.register("churn", estimator, example=X)
        platform.endpoints.deploy("churn", version.version, features="churn_features")
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from raymlops.config.loader import load_config
from raymlops.config.platform import PlatformConfig
from raymlops.records.bundles import BundleManifest, Deployment
from raymlops.records.features import ApplyReport, ConsistencyReport, IngestReceipt, MaterializeReceipt
from raymlops.records.ledger import LedgerEntry
from raymlops.records.models import AliasChange, ModelVersion
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run, RunStatus

if TYPE_CHECKING:
    import pyarrow as pa

    from raymlops.control import Backtested, ControlStatus, Decision
    from raymlops.features import Definition, TrainingSet
    from raymlops.monitoring import MonitorReport
    from raymlops.runtime.services import Services

__all__ = ["Platform", "connect"]


def connect(
    address: str | None = None, config: PlatformConfig | Path | str | None = None, *, start: bool = True
) -> Platform:
    """Attach to the platform, or start one on this machine.

    Args:
        address: ``host:port`` of a Ray cluster; left out, the cluster noted in the home, or a new one.
        config: The configuration, or the file that holds it; left out, the defaults and ``RAYMLOPS_*``. A platform
            that runs keeps the one it was started with.
        start: Whether to start a platform where none runs.

    Returns:
        The platform, a context manager; ``close`` stops what this call started.

    Raises:
        ConfigError: A port is taken, the disk is full, versions differ: nothing is left running.
        UnavailableError: The cluster does not answer, or did not come up in time.
    """
    settings = config if isinstance(config, PlatformConfig) else load_config(config)
    from raymlops.runtime.services import Services
    from raymlops.runtime.session import open_session

    return Platform(Services.of(open_session(settings, address, start=start)))


class Platform:
    """Everything the platform does, by subject. Thread-safe.

    Attributes:
        features: Ingest, materialise, read, training sets, audit.
        models: The registry.
        endpoints: What is served.
        labels: The truth, when it arrives.
        monitor: Reports.
        runs: Pipelines.
        control: Decisions.
        delivery: Bundles and environments.
        ledger: What was done, and why.
        url: Where the platform answers HTTP.
        lacking: Fast settings that the cluster, which somebody else started, does not have.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self.config = services.config
        self.clock = services.clock
        self.url = services.session.url
        self.lacking = services.session.lacking
        self.features = _Features(services)
        self.models = _Models(services)
        self.endpoints = _Endpoints(services)
        self.labels = _Labels(services)
        self.monitor = _Monitor(services)
        self.runs = _Runs(services)
        self.control = _Control(services)
        self.delivery = _Delivery(services)
        self.ledger = _Ledger(services)

    def apply(self, *definitions: Definition) -> ApplyReport:
        """Add entities, views and services, all or none.

        Raises:
            AlreadyRegistered: A definition differs from the one applied under its name and version.
        """
        return self._services.store.apply(*definitions)

    def close(self) -> None:
        """Disconnect, and stop what ``connect`` started."""
        self._services.session.close()

    def detach(self) -> None:
        """Disconnect, and leave running what ``connect`` started."""
        self._services.session.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Subject:
    def __init__(self, services: Services) -> None:
        self._services = services


class _Features(_Subject):
    def ingest(self, view: str, table: pa.Table, *, ingest_id: str | None = None) -> IngestReceipt:
        """Append rows to a view's table; durable when it returns, idempotent by ``ingest_id``."""
        return self._services.store.ingest(view, table, ingest_id=ingest_id)

    def push(self, view: str, table: pa.Table, *, ingest_id: str | None = None) -> IngestReceipt:
        """Ingest, and materialise every view that reads the table."""
        return self._services.store.push(view, table, ingest_id=ingest_id or uuid.uuid4().hex)

    def materialize(self, view: str | None = None) -> list[MaterializeReceipt]:
        """Bring the online store up to the newest table versions, of one view or of all."""
        return self._services.store.materialize(view)

    def online(self, service: str, entities: pa.Table, at: datetime | None = None) -> pa.Table:
        """The features of N entities as of ``at`` (now), in their order; the TTL rule is the offline one."""
        return self._services.reader.online(service, entities, at)

    def training_set(self, service: str, spine: pa.Table, *, name: str, knowledge_cutoff: bool = False) -> TrainingSet:
        """A point-in-time training set, pinned to the present table versions."""
        return self._services.reader.training_set(service, spine, name=name, knowledge_cutoff=knowledge_cutoff)

    def table(self, view: str, version: int | None = None) -> pa.Table:
        """Rows of a view's table, at a version of the table; the newest by default."""
        return self._services.reader.table(view, version)

    def audit(self, service: str) -> ConsistencyReport:
        """Recompute what the models on a service were given, as of then, and compare value by value."""
        return self._services.audit(service)

    def describe(self) -> list[dict[str, Any]]:
        """What is applied, sorted by kind and name."""
        return self._services.describe_features()


class _Models(_Subject):
    def register(
        self,
        name: str,
        estimator: object,
        *,
        example: pa.Table,
        metrics: Mapping[str, float] | None = None,
        training_set: TrainingSet | None = None,
    ) -> ModelVersion:
        """Package a fitted estimator and register it as the next version.

        Args:
            name: The model.
            estimator: A scikit-learn estimator or pipeline, or an XGBoost model.
            example: Some rows of the model's input columns; gives the signature.
            metrics: What is known of its quality.
            training_set: What it was fitted on; gives the lineage and the drift reference.
        """
        return self._services.models.register(name, estimator, example, dict(metrics or {}), training_set)

    def list(self, name: str) -> list[ModelVersion]:
        """All versions, oldest first."""
        return self._services.metadata.list_versions(name)

    def get(self, name: str, version: int) -> ModelVersion:
        """One version."""
        return self._services.metadata.get_version(name, version)

    def history(self, name: str) -> Sequence[AliasChange]:
        """Every change of the aliases ``champion`` and ``backup``, oldest first."""
        return self._services.metadata.alias_history(name)

    def serving_at(self, name: str, when: datetime) -> int | None:
        """The version that was champion at an instant."""
        return self._services.metadata.serving_at(name, when)

    def rescore(self, name: str, version: int) -> dict[str, float]:
        """What a version would have answered to everything that was asked of the model: request id -> score.

        Requests of one row only; of several events of a request, the last one counts.
        """
        return self._services.rescore(name, version)

    def lineage(self, name: str, version: int) -> dict[str, Any]:
        """The run, bundle, training set, table versions and parameters behind a version."""
        return self._services.models.lineage(name, version)


class _Endpoints(_Subject):
    def deploy(
        self, name: str, version: int, *, features: str | None = None, replicas: int | None = None
    ) -> ServingPlan:
        """Serve a version as champion; returns when every replica answers with it."""
        count = replicas or self._services.config.serving.replicas
        return self._services.endpoints.deploy(name, version, service=features, replicas=count)

    def trial(
        self,
        name: str,
        version: int,
        *,
        mode: Literal["canary", "shadow"] = "canary",
        weight: float = 0.1,
        reason: str = "on demand",
    ) -> ServingPlan:
        """Put a version on trial beside the champion; the controller judges it like its own."""
        return self._services.endpoints.start_trial(name, version, mode=mode, weight=weight, reason=reason)

    def promote(self, name: str, version: int) -> ServingPlan:
        """Make a version the champion; the champion becomes its backup."""
        return self._services.endpoints.promote(name, version, reason="on demand")

    def rollback(self, name: str) -> ServingPlan:
        """End the trial; without one, put the backup back."""
        return self._services.endpoints.rollback(name, reason="on demand")

    def plan(self, name: str) -> ServingPlan:
        """The present serving plan."""
        return self._services.metadata.get_plan(name)

    def flush(self, name: str) -> int:
        """Hand all prediction events to the monitor now; returns how many."""
        return self._services.endpoints.flush(name)


class _Labels(_Subject):
    def record(self, name: str, table: pa.Table) -> int:
        """Record labels: columns ``request_id``, ``row``, ``label``, ``event_time``; the last of a row wins."""
        return self._services.record_labels(name, table)


class _Monitor(_Subject):
    def report(self, name: str, start: datetime | None = None, end: datetime | None = None) -> MonitorReport:
        """Windows, drift and performance of a model between two instants."""
        return self._services.monitor.report(name, start, end)


class _Runs(_Subject):
    def start(
        self,
        pipeline: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        reason: str = "on-demand",
        wait: bool = True,
        timeout_s: float = 3600.0,
    ) -> Run:
        """Run the deployed bundle of a pipeline as a Ray Job."""
        return self._services.runs.start(
            pipeline, dict(parameters or {}), reason, timeout_s=timeout_s if wait else None
        )

    def wait(self, run_id: str, *, timeout_s: float = 3600.0) -> Run:
        """Wait for the end of a run.

        Raises:
            UnavailableError: It has not ended after ``timeout_s``.
        """
        return self._services.jobs.wait(run_id, timeout_s)

    def list(self, pipeline: str | None = None, status: RunStatus | str | None = None) -> list[Run]:
        """Runs, newest first."""
        return self._services.metadata.list_runs(pipeline, status)

    def get(self, run_id: str) -> Run:
        """One run."""
        return self._services.metadata.get_run(run_id)

    def compare(self, run_ids: Sequence[str]) -> pa.Table:
        """Parameters, results and metrics of some runs, one row each."""
        return self._services.runs.compare(run_ids)

    def resume(self, run_id: str, *, wait: bool = True, timeout_s: float = 3600.0) -> Run:
        """Run a failed run again from its last good step, as a new run."""
        return self._services.runs.resume(run_id, timeout_s if wait else None)

    def logs(self, run_id: str) -> str:
        """What the run printed."""
        return self._services.runs.logs(run_id)


class _Control(_Subject):
    def step(self) -> list[Decision]:
        """One turn of the reconcile loop, now: closes the windows that are due, then decides and acts."""
        return self._services.controller.step()

    def status(self) -> list[ControlStatus]:
        """What the last turn saw, by model."""
        return self._services.controller.status()

    def pause(self, model: str | None = None, *, reason: str = "on demand") -> LedgerEntry:
        """Decide nothing more about a model, or about all, until resumed."""
        return self._services.controller.pause(model, reason=reason)

    def resume(self, model: str | None = None, *, reason: str = "on demand") -> LedgerEntry:
        """Decide again."""
        return self._services.controller.resume(model, reason=reason)

    def backtest(self, model: str) -> list[Backtested]:
        """When the configured policy would have retrained, over the stored windows."""
        return self._services.backtest(model)


class _Delivery(_Subject):
    def build(self, project: Path | str) -> BundleManifest:
        """Test a project and build its immutable bundle."""
        return self._services.delivery.build(Path(project))

    def verify(self, bundle: str) -> BundleManifest:
        """Check every hash of a bundle."""
        return self._services.delivery.verify(bundle)

    def deploy(self, bundle: str, environment: str | None = None, *, reason: str = "") -> Deployment:
        """Make a bundle what an environment runs."""
        return self._services.delivery.deploy(bundle, environment, reason)

    def approve(self, bundle: str, environment: str | None = None, *, by: str) -> LedgerEntry:
        """Record that somebody approves a bundle for an environment."""
        return self._services.delivery.approve(bundle, environment, by)

    def environments(self) -> list[Deployment]:
        """What is live, by environment and pipeline."""
        return self._services.delivery.environments()


class _Ledger(_Subject):
    def entries(self, subject: str | None = None) -> list[LedgerEntry]:
        """Entries, oldest first."""
        return self._services.metadata.entries(subject)

    def verify(self) -> int:
        """Check the hash chain; returns how many entries hold.

        Raises:
            LedgerBroken: An entry was altered, removed or reordered.
        """
        return self._services.metadata.verify_ledger()
