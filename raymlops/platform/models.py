"""Models and what serves them, as a user holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from raymlops.platform.subject import Subject
from raymlops.records.alerts import AlertStatus
from raymlops.records.endpoints import EndpointStatus
from raymlops.records.models import AliasChange, ModelVersion
from raymlops.records.plans import ServingPlan, Trial
from raymlops.tables.columns import Reading, as_table

if TYPE_CHECKING:
    import pyarrow as pa

    from raymlops.experiments import Boosting, LearningTask
    from raymlops.features import TrainingSet
    from raymlops.monitoring import MonitorReport
    from raymlops.monitoring.windows.rollup import PeriodProfile

__all__ = ["Endpoints", "Labels", "Models", "Monitor", "TrialLimits"]


class TrialLimits(TypedDict, total=False):
    """What a trial may use, and what it must show."""

    deadline_ms: float
    """After this the caller gets the champion's answer."""
    min_labelled_rows: int
    """Labelled rows of the candidate before it may be promoted."""
    cpus: float
    """Logical CPUs of the candidate's process."""
    memory_bytes: int
    """Memory it may take beyond what it holds once loaded."""


class Models(Subject):
    """The registry."""

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
            estimator: A fitted model of XGBoost, LightGBM or scikit-learn, or the path of an ``.onnx`` file.
            example: Some rows of the model's input columns; gives the signature.
            metrics: What is known of its quality.
            training_set: What it was fitted on; gives the lineage and the drift reference.
        """
        return self._services.models.register(name, estimator, example, dict(metrics or {}), training_set)

    def train_streamed(
        self,
        name: str,
        view: str,
        task: LearningTask,
        boosting: Boosting,
        *,
        version: int | None = None,
        test_from: datetime | None = None,
    ) -> ModelVersion:
        """Train boosted trees on a view's table that need not fit in memory, and register them.

        Ray Data reads the table, XGBoost keeps it in binned pages on disk; the fit runs in this process.

        Args:
            name: The model.
            view: Its columns hold the inputs and the label, all numbers; rows without a label are left out.
            task: What is learned; the model's inputs have the columns' names.
            boosting: How.
            version: Version of the table; the newest by default.
            test_from: Rows from this instant on are judged on and not learned from.
        """
        return self._services.streamed.train(name, view, task, boosting, version=version, test_from=test_from)

    def list(self, name: str) -> list[ModelVersion]:
        """All versions, oldest first."""
        return self._services.metadata.list_versions(name)

    def get(self, name: str, version: int) -> ModelVersion:
        """One version."""
        return self._services.metadata.get_version(name, version)

    def verify(self, name: str, version: int) -> ModelVersion:
        """Check every file of a version against its manifest, then load it and ask it what it was asked when packaged.

        Raises:
            ModelLoadFailed: A file is missing or altered, or the model no longer answers as it did.
        """
        return self._services.models.verify(name, version)

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

    def retire(self, name: str, version: int, *, reason: str = "on demand") -> ModelVersion:
        """See to it that a version is never served again; one that is in service is refused.

        Raises:
            InvalidTransition: It is champion, backup or on trial.
        """
        self._services.endpoints.retire(name, version, reason=reason)
        return self.get(name, version)

    def card(self, name: str, version: int) -> tuple[dict[str, Any], str]:
        """The model card of a version that came out of a run: JSON values, and a page that opens without a network."""
        return self._services.models.card(name, version)

    def lineage(self, name: str, version: int) -> dict[str, Any]:
        """The run, bundle, training set, table versions and parameters behind a version."""
        return self._services.lineages.of_version(name, version)

    def explain(self, request_id: str, model: str | None = None) -> dict[str, Any]:
        """Everything behind the answer to a request: version, run, code, data, and who promoted it and why.

        Args:
            request_id: The ``id`` that the answer carried.
            model: Which model was asked; left out, all prediction logs are looked through.
        """
        return self._services.lineages.of_request(request_id, model)

    def trained_on(self, table: str, version: int | None = None) -> Sequence[ModelVersion]:
        """Versions of any model that were trained on a table, at one version of it or at any."""
        return self._services.lineages.trained_on(table, version)

    def rebuild_mlflow(self) -> int:
        """Bring MLflow up to date from the store, whatever it has lost; returns how much was written."""
        return self._services.by_hand.rebuild_mlflow()


class Endpoints(Subject):
    """What is served."""

    def deploy(
        self,
        name: str,
        version: int,
        *,
        features: str | None = None,
        replicas: int | None = None,
        baseline: float | Sequence[float] | None = None,
        reason: str = "deployed",
    ) -> ServingPlan:
        """Serve a version as champion; returns when every replica answers with it.

        Args:
            name: The model.
            version: Its champion from now on.
            features: Feature service that ``predict`` joins online.
            replicas: How many; as configured where left out.
            baseline: The constant answer where neither champion nor backup can: a regressor's value, a binary
                classifier's probability of its second class, or a probability for each class. It stays declared until
                another is.
            reason: For the ledger.

        Raises:
            UnavailableError: It does not fit: nothing was started. Or it did not answer within
                ``serving.deploy_timeout``: what was planned before is planned again.
            DeploymentError: It did not come up; likewise.
        """
        return self._services.endpoints.deploy(
            name, version, service=features, replicas=replicas, baseline=baseline, reason=reason
        )

    def undeploy(self, name: str, *, reason: str = "on demand") -> ServingPlan:
        """Serve a model no more: its endpoint and its trial end; its versions, plans and history stay.

        Returns:
            A plan by which nothing is served.
        """
        return self._services.endpoints.undeploy(name, reason=reason)

    def status(self) -> list[EndpointStatus]:
        """How each planned endpoint was at the last look: whether it answers, and what is not as planned, and why."""
        return self._services.endpoints.statuses()

    def trial(
        self,
        name: str,
        version: int,
        *,
        mode: Literal["canary", "shadow"] = "canary",
        weight: float = 0.1,
        reason: str = "on demand",
        **limits: Unpack[TrialLimits],
    ) -> ServingPlan:
        """Put a version on trial beside the champion, in a process of its own; the controller judges it like its own.

        An A/B test is a canary of weight 0.5 whose callers send ``X-Sticky-Key``: the same key gets the same version on
        every replica, after restarts too, and ``min_labelled_rows`` says when it may be decided.

        Args:
            name: The model.
            version: The candidate.
            mode: A canary answers its share of the requests; a shadow sees it and answers none.
            weight: The share.
            reason: For the ledger.
            limits: As in ``TrialLimits``; what is left out is as configured.
        """
        configured = TrialLimits(deadline_ms=self._services.config.control.trial.deadline.total_seconds() * 1000)
        trial = Trial(version=version, mode=mode, weight=weight, **{**configured, **limits})
        return self._services.endpoints.start_trial(name, trial, reason=reason)

    def block(self, name: str, version: int, *, reason: str = "on demand") -> ServingPlan:
        """Have a version answer nobody until it is unblocked: the backup answers for it, or the baseline."""
        return self._services.endpoints.block(name, version, reason=reason)

    def unblock(self, name: str, version: int, *, reason: str = "on demand") -> ServingPlan:
        """Let a blocked version answer again."""
        return self._services.endpoints.unblock(name, version, reason=reason)

    def promote(self, name: str, version: int, *, reason: str = "on demand") -> ServingPlan:
        """Make a version the champion; the champion becomes its backup."""
        return self._services.endpoints.promote(name, version, reason=reason)

    def rollback(self, name: str, *, reason: str = "on demand") -> ServingPlan:
        """End the trial; without one, put the backup back."""
        return self._services.endpoints.rollback(name, reason=reason)

    def plan(self, name: str) -> ServingPlan:
        """The present serving plan."""
        return self._services.metadata.get_plan(name)

    def flush(self, name: str) -> int:
        """Hand all prediction events to the monitor now; returns how many."""
        return self._services.endpoints.flush(name)


class Labels(Subject):
    """The truth, when it arrives."""

    def record(self, name: str, table: Any, **reading: Unpack[Reading]) -> int:
        """Record labels: columns ``request_id``, ``row``, ``label``, ``event_time``; the last of a row wins.

        ``table`` is a table or a frame; naive times in it need ``time_zone="Europe/Berlin"``.
        """
        return self._services.record_labels(name, as_table("labels", table, **reading))


class Monitor(Subject):
    """Reports."""

    def report(self, name: str, start: datetime | None = None, end: datetime | None = None) -> MonitorReport:
        """Windows, drift and performance of a model between two instants."""
        return self._services.monitor.report(name, start, end)

    def rollup(
        self,
        name: str,
        start: datetime | None = None,
        end: datetime | None = None,
        every: timedelta | None = None,
    ) -> list[PeriodProfile]:
        """Closed windows added up to days, weeks or the like, without their rows; ``None``: all windows, in one."""
        return self._services.monitor.rollup(name, start, end, every)

    def alerts(self, name: str | None = None) -> list[AlertStatus]:
        """Alerts about a model, or all, oldest first, and who has heard of them."""
        return self._services.alerts(name)
