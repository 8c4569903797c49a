"""Labels, reports, decisions and the ledger, as a user holds them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from raymlops import control, laboratory, monitoring, runtime, tables
from raymlops.errors import DeploymentNotFound, ModelVersionNotFound
from raymlops.laboratory.report.kept import keep_report, report_path
from raymlops.metadata.anchors import verify_against
from raymlops.platform.evidence import score_of
from raymlops.records.ledger import Ledger as LedgerStore
from raymlops.records.ledger import LedgerEntry
from raymlops.records.models import ModelRegistry, trained_at
from raymlops.records.people.alerts import AlertStatus, AlertStore, Delivery
from raymlops.records.plans import PlanStore, ServingPlan
from raymlops.records.serving.orders import Order
from raymlops.records.shown import Listed
from raymlops.runtime.cluster.names import CONTROLLER, MONITOR
from raymlops.runtime.cluster.people import acting_user

if TYPE_CHECKING:
    from raymlops.control import Backtested, Decision, ModelPolicy, ModelStatus, Why
    from raymlops.laboratory import LabReport
    from raymlops.laboratory.comparison import LoopComparison
    from raymlops.monitoring import MonitorReport, MonitorService
    from raymlops.monitoring.windows.rollup import PeriodProfile
    from raymlops.platform import Platform
    from raymlops.runtime.actors.controller_actor import ControllerService
    from raymlops.scorecard.card import ScoreCard
    from raymlops.tables.columns import Reading

__all__ = ["Control", "Labels", "Ledger", "Monitor"]

_STATUS_S = 15.0
"""Deadline of what only tells what is known."""


class Labels:
    """The truth, when it arrives.

    Args:
        plans: Tell which version is served.
        models: Tell its classes.
        timeout_s: Deadline of one call.
    """

    def __init__(self, plans: PlanStore, models: ModelRegistry, timeout_s: float) -> None:
        self._plans = plans
        self._models = models
        self._timeout_s = timeout_s

    def record(
        self, name: str, table: Any, *, classes: Mapping[Any, Any] | None = None, **reading: Unpack[Reading]
    ) -> int:
        """Record labels: columns ``request_id``, ``row``, ``label``, ``event_time``; the last of a row wins.

        Args:
            name: The model.
            table: A table or a frame. Its ``label`` names a class of the model: ``1``, ``1.0``, ``True`` and ``"1"``
                are the same one. A regressor's is a number.
            classes: What other labels stand for, such as ``{"yes": 1, "no": 0}``.
            reading: Naive times in it need ``time_zone="Europe/Berlin"``.

        Raises:
            ModelVersionNotFound: There is no such model.
            DataError: A label names no class.
        """
        plan, models = self._plans.find_plan(name), self._models
        versions = models.list_versions(name) if plan is None else [models.get_version(name, plan.champion)]
        if not versions:
            raise ModelVersionNotFound.of(name)
        named = monitoring.name_labels(
            tables.as_table("labels", table, **reading), versions[-1].manifest.signature, classes
        )
        return int(_actor(MONITOR, self._timeout_s, "monitor").record_labels(name, named, uuid.uuid4().hex))


class Monitor:
    """Reports.

    Args:
        alerts: Alerts, and who has heard of them.
        timeout_s: Deadline of one call.
    """

    def __init__(self, alerts: AlertStore, timeout_s: float) -> None:
        self._alerts = alerts
        self._timeout_s = timeout_s

    def report(self, name: str, start: datetime | None = None, end: datetime | None = None) -> MonitorReport:
        """Windows, drift and performance of a model between two instants."""
        return self._monitor.report(name, start, end)

    def rollup(
        self,
        name: str,
        start: datetime | None = None,
        end: datetime | None = None,
        every: timedelta | None = None,
    ) -> Listed[PeriodProfile]:
        """Closed windows added up to days, weeks or the like, without their rows; ``None``: all windows, in one."""
        return Listed(self._monitor.rollup(name, start, end, every))

    def alerts(self, name: str | None = None) -> Listed[AlertStatus]:
        """Alerts about a model, or all, oldest first, and who has heard of them."""
        deliveries: dict[str, list[Delivery]] = {}
        for delivery in self._alerts.list_deliveries(name):
            deliveries.setdefault(delivery.alert.key, []).append(delivery)
        found = self._alerts.list_alerts(name)
        statuses = [AlertStatus(alert=alert, deliveries=tuple(deliveries.get(alert.key, ()))) for alert in found]
        return Listed(statuses)

    @property
    def _monitor(self) -> MonitorService:
        return cast("MonitorService", _actor(MONITOR, self._timeout_s, "monitor"))


class Control:
    """Decisions.

    Args:
        platform: Whose models are decided about.
    """

    def __init__(self, platform: Platform) -> None:
        self._config = platform.config
        self._windows = platform.metadata.windows
        self._plans = platform.metadata.plans
        self._platform = platform

    def step(self) -> Listed[Decision]:
        """One turn of the reconcile loop, now: closes the windows that are due, then decides and acts."""
        return Listed(self._controller.step())

    def status(self) -> Listed[ModelStatus]:
        """What the controller's last turn saw, by model, and whether its endpoint answers."""
        return Listed(control.join_statuses(_actor(CONTROLLER, _STATUS_S).status(), runtime.endpoint_statuses()))

    def why(self, model: str, at: datetime | None = None) -> Why:
        """Tell what was served at an instant, what the policy said, and what stood against a retraining.

        Args:
            model: Name of the model.
            at: The instant; now, if left out.

        Raises:
            NotFoundError: The model had no serving plan yet.
        """
        return self._controller.why(model, at)

    def policy(self, model: str) -> ModelPolicy:
        """The policy in force for a model: its project's, over the platform's, over the defaults.

        Args:
            model: Name of a model; one that no deployed bundle trains has the platform's.
        """
        policies = control.ModelPolicies(
            self._platform.metadata.deployments, self._config.control, environment=self._config.environment
        )
        policies.refresh()
        return policies.of(model)

    def retrain(self, model: str, *, reason: str = "on demand", key: str | None = None) -> LedgerEntry:
        """Ask the controller for a retraining, which it starts once nothing else is under way for the model.

        Cooldown, broken data and a lack of labels do not hold it back; a budget does, and a run under way does what
        ``retrain.when_running`` says. ``platform.runs.start`` trains at once, without the controller.

        Args:
            model: A deployed model.
            reason: For the ledger, which names it as what started the run.
            key: Names the order, so that it may be given again and counts once.

        Returns:
            The ledger entry that asks for it.

        Raises:
            DeploymentNotFound: The model is not served.
        """
        plan = self._plans.find_plan(model)
        if plan is None or not plan.served:
            raise DeploymentNotFound.of(model)
        order = Order(request=key or uuid.uuid4().hex, by=acting_user(), reason=reason)
        return self._platform.metadata.ledger.append_entry(**order.for_retraining(model, "platform"))

    def pause(self, model: str | None = None, *, reason: str = "on demand") -> LedgerEntry:
        """Decide nothing more about a model, or about all, until resumed."""
        return self._controller.pause(model, reason=reason, by=acting_user())

    def resume(self, model: str | None = None, *, reason: str = "on demand") -> LedgerEntry:
        """Decide again."""
        return self._controller.resume(model, reason=reason, by=acting_user())

    def promote(self, model: str, *, whole: bool = False, reason: str = "on demand") -> ServingPlan:
        """Give the version on trial its next share of the traffic now, without waiting for evidence.

        Args:
            model: Name of the model.
            whole: Leave out what is left of the ramp: it becomes champion.
            reason: For the ledger.

        Raises:
            InvalidTransition: No version is on trial.
        """
        plan = self._plans.get_plan(model)
        step = control.next_share(plan)
        if step is not None and not whole:
            return self._platform.endpoints.start_trial(model, step, reason=reason)
        assert plan.trial is not None
        return self._platform.endpoints.promote(model, plan.trial.version, reason=reason)

    def abort(self, model: str, *, reason: str = "on demand") -> ServingPlan:
        """End the trial; the champion stays.

        Raises:
            InvalidTransition: No version is on trial.
        """
        return self._platform.endpoints.rollback(model, reason=reason, trial_only=True)

    def retry(self, model: str, *, reason: str = "on demand") -> ServingPlan:
        """Try the version again whose trial ended last, from the first share on.

        Raises:
            InvalidTransition: A version is on trial, or the last trial made its version champion.
        """
        plans = self._plans.list_plans(model)
        if not plans:
            raise DeploymentNotFound.of(model)
        return self._platform.endpoints.start_trial(model, control.trial_to_retry(plans), reason=reason)

    def score(self, model: str) -> ScoreCard:
        """The ML Test Score of a model, and the level-2 checklist, from what is recorded.

        Raises:
            NotFoundError: No version of the model is registered.
            UnavailableError: An actor does not answer.
        """
        return score_of(self._platform, model)

    def backtest(self, model: str) -> Listed[Backtested]:
        """When the policy in force for a model would have retrained it, over the stored windows."""
        windows = self._windows.list_windows(model)
        policy = control.RetrainPolicy(self.policy(model).config)
        probed = self._controller.probed(model)
        delay = self._config.monitoring.label_delay
        return Listed(control.backtest(windows, policy, label_delay=delay, probed=probed))

    def comparison(self, model: str) -> LoopComparison | None:
        """What the champions of a model lost, beside never retraining, a calendar, and the best schedules in hindsight.

        Every policy is told by the probes' account of the windows that closed; see ``compare_loop``.

        Returns:
            ``None`` where too little was probed.

        Raises:
            DeploymentNotFound: The model is not deployed.
        """
        plans = self._plans.list_plans(model)
        if not plans:
            raise DeploymentNotFound.of(model)
        changes = [after for before, after in pairwise([None, *plans]) if _champion_of(before) != _champion_of(after)]
        versions = self._platform.metadata.models
        served = [
            laboratory.ServedModel(
                since=plan.created_at, trained_at=trained_at(versions.get_version(model, plan.champion))
            )
            for plan in changes
            if plan is not None
        ]
        regret = self.policy(model).config.triggers.regret
        price = laboratory.DEFAULT_PRICE if regret is None else regret.price
        return laboratory.compare_loop(self._controller.probed(model).windows, served, price=price)

    @property
    def _controller(self) -> ControllerService:
        # a turn of the loop may load models on every replica and start deployments
        return cast("ControllerService", _actor(CONTROLLER, 10 * self._config.cluster.call_timeout.total_seconds()))

    def laboratory(self, model: str, *, price: float = laboratory.DEFAULT_PRICE) -> LabReport:
        """What retraining was worth on the rows this model was asked about, by policy.

        A model is fitted at the start of each window by the champion's recipe, on the inputs and labels that were
        recorded, and scored on all later windows. The console shows the newest report of a model.

        Args:
            model: A deployed model.
            price: Of a retraining, in losses of one window.

        Raises:
            ConfigError: The price is negative.
            NotEnoughRows: Too few labelled rows or windows were recorded.
        """
        laboratory.check_price(price)
        window = self._config.monitoring.window
        matrix = runtime.build_recorded(model, self._platform.metadata, self._config.home, window=window)
        starts = matrix.facts.starts
        decided = [each.at for each in self.backtest(model) if each.outcome == "retrain"]
        windows = sorted({next((k for k, start in enumerate(starts) if start >= at), matrix.end) for at in decided})
        configured = laboratory.Schedule(tuple(windows), name="the configured triggers")
        title = f"{model}: what retraining was worth"
        report = laboratory.compare_policies(matrix, price=price, own=[configured], title=title)
        keep_report(report, report_path(self._config.home, model), self._platform.clock.now())
        return report


class Ledger:
    """What was done, and why.

    Args:
        ledger: The ledger.
        anchors: File of the hashes that checks keep outside of the database.
    """

    def __init__(self, ledger: LedgerStore, anchors: Path) -> None:
        self._ledger = ledger
        self._anchors = anchors

    def entries(self, subject: str | None = None) -> Listed[LedgerEntry]:
        """Entries, oldest first."""
        return Listed(self._ledger.entries(subject))

    def verify(self) -> int:
        """Check the hash chain, and the hashes that earlier checks kept outside of the database.

        Returns:
            How many entries hold.

        Raises:
            LedgerBroken: An entry was altered, removed or reordered, or the ledger is no longer the one checked before.
        """
        return verify_against(self._ledger, self._anchors)


def _champion_of(plan: ServingPlan | None) -> int | None:
    return None if plan is None else plan.champion


def _actor(name: str, timeout_s: float, part: str | None = None) -> Any:
    return runtime.ActorProxy(name, timeout_s, part)
