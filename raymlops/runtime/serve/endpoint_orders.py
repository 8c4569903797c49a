"""Orders of users about endpoints, sent to the operator in the reconciler's actor."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Literal, TypedDict, Unpack, cast

from raymlops.config.platform import PlatformConfig
from raymlops.control.endpoints.operator import EndpointOperator
from raymlops.control.triggering.model_policies import ModelPolicies
from raymlops.metadata import Metadata
from raymlops.records.models import ModelVersion
from raymlops.records.plans import Baseline, ServingPlan, Trial
from raymlops.records.serving.endpoints import EndpointStatus
from raymlops.records.serving.orders import Order
from raymlops.records.shown import Listed
from raymlops.runtime.cluster.clients import ActorProxy
from raymlops.runtime.cluster.names import RECONCILER
from raymlops.runtime.cluster.people import acting_user
from raymlops.runtime.nodes.model_fetching import model_files
from raymlops.serving.plans.baseline import declare_baseline
from raymlops.serving.plans.loader import load_version

__all__ = ["EndpointOrders", "TrialLimits", "endpoint_operator", "endpoint_statuses", "reconciler_timeout_s"]

_STATUS_S = 15.0
"""Deadline of what only tells what is known."""


def reconciler_timeout_s(config: PlatformConfig) -> float:
    """Deadline of an order: it may wait for another one, then for processes, then for a swap."""
    serving = config.serving
    waits = 2 * serving.deploy_timeout + serving.swap_timeout + config.cluster.call_timeout
    return waits.total_seconds()


def endpoint_operator(config: PlatformConfig) -> EndpointOperator:
    """The operator in the reconciler's actor; looked up for each order, since the actor may be another one by then."""
    return cast("EndpointOperator", ActorProxy(RECONCILER, reconciler_timeout_s(config), "operator"))


class TrialLimits(TypedDict, total=False):
    """Options of a trial: its resources, and its rules."""

    deadline_ms: float
    """After this the caller gets the champion's answer."""
    min_labelled_rows: int
    """Labelled rows that must be compared before it may be promoted."""
    ramp: tuple[float, ...]
    """Shares that follow, each as a canary, once it has passed at the one before; then it is promoted."""
    cpus: float
    """Logical CPUs of the candidate's process."""
    memory_bytes: int
    """Memory it may take beyond what it holds once loaded."""


class EndpointOrders:
    """Endpoints, and orders about them. An order is carried out even if the process that gave it dies. Thread-safe.

    Args:
        config: The platform's configuration.
        metadata: Versions and plans.
    """

    def __init__(self, config: PlatformConfig, metadata: Metadata) -> None:
        self._config = config
        self._models = metadata.models
        self._plans = metadata.plans
        self._deployments = metadata.deployments

    def deploy(
        self,
        name: str,
        version: int,
        *,
        features: str | None = None,
        replicas: int | None = None,
        baseline: float | Sequence[float] | None = None,
        pooled: bool | None = None,
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
            pooled: Whether the pool answers for it, a process that it shares with other models; left out, as it does
                now, or else by its size (``serving.pool.below_bytes``).
            reason: For the ledger.

        Raises:
            UnavailableError: It does not fit: nothing was started. Or it did not answer within
                ``serving.deploy_timeout``: what was planned before is planned again.
            DeploymentError: It did not come up; likewise.
        """
        found = self._models.get_version(name, version)
        found.require_blessed()
        declared = None if baseline is None else declare_baseline(found.manifest.signature, baseline)
        return self._deploy(_order(reason), name, version, features, replicas, declared, pooled)

    def serve(
        self, order: Order, name: str, version: int, *, features: str | None = None, replicas: int | None = None
    ) -> ServingPlan:
        """Serve a version as champion by an order that may be given again; as ``deploy``."""
        self._models.get_version(name, version).require_blessed()
        return self._deploy(order, name, version, features, replicas, None, None)

    def withdraw(self, order: Order, name: str) -> bool:
        """See to it that an order to serve is carried out no more; returns whether it was before."""
        return self._operator.withdraw(order, name)

    def undeploy(self, name: str, *, reason: str = "on demand") -> ServingPlan:
        """Serve a model no more: its endpoint and its trial end; its versions, plans and history stay.

        Returns:
            A plan by which nothing is served.
        """
        return self._operator.undeploy(_order(reason), name)

    def status(self) -> Listed[EndpointStatus]:
        """How each planned endpoint was at the last look: whether it answers, and what is not as planned, and why."""
        return Listed(endpoint_statuses())

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
        every replica, after restarts too, and ``min_labelled_rows`` says when it may be promoted.

        Args:
            name: The model.
            version: The candidate.
            mode: A canary answers its share of the requests; a shadow sees it and answers none.
            weight: The share.
            reason: For the ledger.
            limits: As in ``TrialLimits``; what is left out is as the model's policy says.
        """
        policies = ModelPolicies(self._deployments, self._config.control, self._config.environment)
        policies.refresh()
        configured = TrialLimits(deadline_ms=policies.of(name).config.trial.deadline.total_seconds() * 1000)
        trial = Trial(version=version, mode=mode, weight=weight, **{**configured, **limits})
        return self.start_trial(name, trial, reason=reason)

    def start_trial(self, name: str, trial: Trial, *, reason: str = "on demand") -> ServingPlan:
        """Start or change the trial of a version: its mode, weight and limits are those of ``trial``."""
        return self._operator.start_trial(_order(reason), name, trial)

    def block(self, name: str, version: int, *, reason: str = "on demand") -> ServingPlan:
        """Block a version: until it is unblocked, the backup or the baseline answers instead."""
        return self._operator.block(_order(reason), name, version)

    def unblock(self, name: str, version: int, *, reason: str = "on demand") -> ServingPlan:
        """Let a blocked version answer again."""
        return self._operator.unblock(_order(reason), name, version)

    def promote(self, name: str, version: int, *, reason: str = "on demand") -> ServingPlan:
        """Make a version the champion; the champion becomes its backup."""
        return self._operator.promote(_order(reason), name, version)

    def rollback(self, name: str, *, trial_only: bool = False, reason: str = "on demand") -> ServingPlan:
        """End the trial; without one, put the backup back, or with ``trial_only`` refuse."""
        return self._operator.rollback(_order(reason), name, trial_only=trial_only)

    def retire(self, name: str, version: int, *, reason: str = "on demand") -> ModelVersion:
        """See to it that a version is never served again; as ``platform.models.retire``."""
        self._operator.retire(_order(reason), name, version)
        return self._models.get_version(name, version)

    def plan(self, name: str) -> ServingPlan:
        """The present serving plan."""
        return self._plans.get_plan(name)

    def flush(self, name: str) -> int:
        """Hand all prediction events to the monitor now; returns how many."""
        return int(ActorProxy(RECONCILER, reconciler_timeout_s(self._config), "replicas").flush(name))

    def _deploy(
        self,
        order: Order,
        name: str,
        version: int,
        features: str | None,
        replicas: int | None,
        baseline: Baseline | None,
        pooled: bool | None,
    ) -> ServingPlan:
        plan = self._plans.find_plan(name)
        if plan is None or not plan.served:  # where replicas run, they rehearse it
            load_version(self._models, name, version, model_files(self._config))
        return self._operator.deploy(order, name, version, features, replicas, baseline, pooled)

    @property
    def _operator(self) -> EndpointOperator:
        return endpoint_operator(self._config)


def endpoint_statuses() -> list[EndpointStatus]:
    """How each planned endpoint was at the reconciler's last look, by model."""
    return list(ActorProxy(RECONCILER, _STATUS_S, "reconciler").statuses())


def _order(reason: str) -> Order:
    return Order(request=uuid.uuid4().hex, by=acting_user(), reason=reason)
