"""Changes what is served, by way of the reconciler."""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from raymlops.records.endpoints import EndpointStatus
from raymlops.records.orders import Order
from raymlops.records.plans import ServingPlan, Trial
from raymlops.runtime.cluster.clients import ActorProxy
from raymlops.runtime.cluster.names import CONTROLLER, RECONCILER

if TYPE_CHECKING:
    from raymlops.config.platform import PlatformConfig
    from raymlops.control import ModelStatus
    from raymlops.metadata import Metadata
    from raymlops.runtime.actors.reconciler_actor import ReconcilerActor

__all__ = ["EndpointClient", "reconciler_timeout_s"]

_STATUS_S = 15.0
"""Deadline of what only tells what is known."""


def reconciler_timeout_s(config: PlatformConfig) -> float:
    """Deadline of an order: it may wait for another one, then for processes, then for a swap."""
    serving = config.serving
    waits = 2 * serving.deploy_timeout + serving.swap_timeout + config.cluster.call_timeout
    return waits.total_seconds()


class EndpointClient:
    """Gives orders to the reconciler, which carries them out whatever becomes of who gave them. Thread-safe.

    Args:
        config: The platform's configuration.
        metadata: Versions and plans.
    """

    def __init__(self, config: PlatformConfig, metadata: Metadata) -> None:
        self._config = config
        self._metadata = metadata

    def deploy(
        self,
        name: str,
        version: int,
        *,
        service: str | None,
        replicas: int | None,
        baseline: float | Sequence[float] | None = None,
        reason: str = "deployed",
    ) -> ServingPlan:
        """As ``EndpointOperator.deploy``; what does not load is found out before anything is asked for."""
        from raymlops.serving.plans.baseline import declare_baseline

        found = self._metadata.get_version(name, version)
        found.require_blessed()
        declared = None if baseline is None else declare_baseline(found.manifest.signature, baseline)
        plan = self._metadata.find_plan(name)
        if plan is None or not plan.served:  # where replicas run, it is they who try it
            from raymlops.runtime.serve.model_fetching import model_files
            from raymlops.serving.plans.loader import load_version

            load_version(self._metadata, name, version, model_files(self._config))
        return self._reconciler.deploy(_order(reason), name, version, service, replicas, declared)

    def start_trial(self, name: str, trial: Trial, *, reason: str) -> ServingPlan:
        """As ``EndpointOperator.start_trial``."""
        return self._reconciler.start_trial(_order(reason), name, trial)

    def promote(self, name: str, version: int, *, reason: str) -> ServingPlan:
        """As ``EndpointOperator.promote``."""
        return self._reconciler.promote(_order(reason), name, version)

    def rollback(self, name: str, *, reason: str, trial_only: bool = False) -> ServingPlan:
        """As ``EndpointOperator.rollback``."""
        return self._reconciler.rollback(_order(reason), name, trial_only)

    def block(self, name: str, version: int, *, reason: str) -> ServingPlan:
        """As ``EndpointOperator.block``."""
        return self._reconciler.block(_order(reason), name, version)

    def unblock(self, name: str, version: int, *, reason: str) -> ServingPlan:
        """As ``EndpointOperator.unblock``."""
        return self._reconciler.unblock(_order(reason), name, version)

    def undeploy(self, name: str, *, reason: str) -> ServingPlan:
        """As ``EndpointOperator.undeploy``."""
        return self._reconciler.undeploy(_order(reason), name)

    def retire(self, name: str, version: int, *, reason: str) -> None:
        """As ``EndpointOperator.retire``."""
        self._reconciler.retire(_order(reason), name, version)

    def carry_out(self, plan: ServingPlan) -> ServingPlan:
        """As ``EndpointOperator.carry_out``."""
        return self._reconciler.carry_out(plan)

    def flush(self, name: str) -> int:
        """Have every replica hand its prediction events over; returns how many rows still wait."""
        return int(self._reconciler.flush(name))

    def statuses(self) -> list[EndpointStatus]:
        """How each planned endpoint was at the last look, by model."""
        return list(ActorProxy(RECONCILER, _STATUS_S).statuses())

    def model_statuses(self) -> list[ModelStatus]:
        """What the controller and the reconciler know of each model that is served, by model."""
        from raymlops.control import join_statuses

        return join_statuses(ActorProxy(CONTROLLER, _STATUS_S).status(), self.statuses())

    @property
    def _reconciler(self) -> ReconcilerActor:
        # looked up at each order: an order is rare, and the actor may be another one by then
        return cast("ReconcilerActor", ActorProxy(RECONCILER, reconciler_timeout_s(self._config)))


def _order(reason: str) -> Order:
    return Order(request=uuid.uuid4().hex, by=getpass.getuser(), reason=reason)
