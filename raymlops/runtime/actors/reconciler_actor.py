"""The reconciler with its eyes and hands on this cluster, and what changes endpoints, in a process of their own.

Apart from the controller, so that a call to Serve that hangs keeps no decision waiting, and no decision an endpoint.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import Any, cast

from raymlops.config.platform import PlatformConfig
from raymlops.control.endpoints.operator import EndpointOperator
from raymlops.control.reconciling.reconciler import Reconciler
from raymlops.control.reconciling.run_reconcile import RunReconciler
from raymlops.metadata import Metadata
from raymlops.records.endpoints import EndpointStatus
from raymlops.records.orders import Order
from raymlops.records.plans import Baseline, ServingPlan, Trial
from raymlops.runtime.cluster.clients import ActorProxy, wake_projector
from raymlops.runtime.cluster.clocks import build_clock
from raymlops.runtime.cluster.names import FEATURES, METADATA, MONITOR
from raymlops.runtime.cluster.threads import Repeating
from raymlops.runtime.jobs.run_jobs import JobRunner
from raymlops.runtime.nodes.online_views import materialise_lost
from raymlops.runtime.serve.applications import Applications
from raymlops.runtime.serve.endpoints import EndpointReplicas
from raymlops.runtime.supervision.supervisor import keep_supervisor
from raymlops.serving.answering.metrics import Family, family_of

__all__ = ["ReconcilerActor"]

_log = logging.getLogger(__name__)
_RECORDS_EVERY_S = 2.0
_FEATURES_EVERY_S = 10.0
_SUPERVISOR_EVERY_S = 2.0
_MATERIALISE_S = 600.0
"""Deadline of bringing one view back: it may be large."""
_REPLICA = "reconciler"
"""Stands for a replica's name beside the figures of what was looked at from outside."""


class ReconcilerActor:
    """Keeps endpoints, candidates and runs as they are planned, and takes orders about them."""

    def __init__(self, config: PlatformConfig) -> None:
        timeout_s = config.cluster.call_timeout.total_seconds()
        metadata = cast("Metadata", ActorProxy(METADATA, timeout_s))
        clock = build_clock(config)
        self._config = config
        self._metadata = metadata
        self._reconciler = Reconciler(metadata, Applications(config), config.serving)
        self._replicas = EndpointReplicas(config)
        self._operator = EndpointOperator(config.serving, metadata, clock, self._reconciler, self._replicas)
        deadline_s = config.cluster.run_deadline.total_seconds()
        self._runs = RunReconciler(metadata, JobRunner(config.home, metadata, clock), deadline_s)
        threading.Thread(target=self._reconciler.run, name="reconcile", daemon=True).start()
        self._upkeep = [
            Repeating("records", self._keep_records, _RECORDS_EVERY_S),
            Repeating("features", self._keep_features, _FEATURES_EVERY_S),
            Repeating("runs", self._runs.turn, _RECORDS_EVERY_S),
            Repeating("supervisor", partial(keep_supervisor, config.home), _SUPERVISOR_EVERY_S),
        ]

    def deploy(
        self,
        order: Order,
        name: str,
        version: int,
        service: str | None,
        replicas: int | None,
        baseline: Baseline | None,
    ) -> ServingPlan:
        """As ``EndpointOperator.deploy``."""
        return self._told(
            self._operator.deploy(order, name, version, service=service, replicas=replicas, baseline=baseline)
        )

    def start_trial(self, order: Order, name: str, trial: Trial) -> ServingPlan:
        """As ``EndpointOperator.start_trial``."""
        return self._told(self._operator.start_trial(order, name, trial))

    def promote(self, order: Order, name: str, version: int) -> ServingPlan:
        """As ``EndpointOperator.promote``."""
        return self._told(self._operator.promote(order, name, version))

    def rollback(self, order: Order, name: str, trial_only: bool = False) -> ServingPlan:
        """As ``EndpointOperator.rollback``."""
        return self._told(self._operator.rollback(order, name, trial_only=trial_only))

    def block(self, order: Order, name: str, version: int) -> ServingPlan:
        """As ``EndpointOperator.block``."""
        return self._told(self._operator.block(order, name, version))

    def unblock(self, order: Order, name: str, version: int) -> ServingPlan:
        """As ``EndpointOperator.unblock``."""
        return self._told(self._operator.unblock(order, name, version))

    def undeploy(self, order: Order, name: str) -> ServingPlan:
        """As ``EndpointOperator.undeploy``."""
        return self._told(self._operator.undeploy(order, name))

    def retire(self, order: Order, name: str, version: int) -> None:
        """As ``EndpointOperator.retire``."""
        self._operator.retire(order, name, version)

    def carry_out(self, plan: ServingPlan) -> ServingPlan:
        """As ``EndpointOperator.carry_out``."""
        return self._operator.carry_out(plan)

    def flush(self, name: str) -> int:
        """Have every replica hand its prediction events over; returns how many rows still wait."""
        return self._replicas.flush(name)

    def statuses(self) -> list[EndpointStatus]:
        """How each planned endpoint was at the last look, by model."""
        return self._reconciler.statuses()

    def _told(self, plan: ServingPlan) -> ServingPlan:
        wake_projector()
        return plan

    def _keep_records(self) -> None:
        self._operator.catch_up()
        if self._config.monitoring.metrics.port is not None:
            monitor: Any = ActorProxy(MONITOR)
            for status in self._reconciler.statuses():
                monitor.record_figures(status.model, _REPLICA, _families(status))

    def _keep_features(self) -> None:
        plans = self._metadata.served_plans().values()
        if back := materialise_lost(plans, ActorProxy(FEATURES, _MATERIALISE_S)):
            _log.warning("online features were lost and are back: %s", ", ".join(back))


def _families(status: EndpointStatus) -> list[Family]:
    levels = {
        "endpoint_answers": ("Whether callers of the model get answers.", status.answers),
        "endpoint_as_planned": ("Whether every replica serves the newest plan.", status.as_planned),
        "endpoint_planned_replicas": ("Replicas that the newest plan names.", status.replicas),
        "endpoint_answering_replicas": ("Replicas that serve the newest plan.", status.answering),
    }
    return [family_of(name, "gauge", text, float(value)) for name, (text, value) in levels.items()]
