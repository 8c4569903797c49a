"""The reconciler with its eyes and hands on this cluster, and what changes endpoints, in a process of their own.

Apart from the controller, so that a call to Serve that hangs keeps no decision waiting, and no decision an endpoint.
"""

from __future__ import annotations

import logging
import threading
from functools import partial

from raymlops.config.platform import PlatformConfig
from raymlops.control.endpoints.operator import EndpointOperator
from raymlops.control.endpoints.pool_moves import PoolMoves
from raymlops.control.reconciling.reconciler import Reconciler
from raymlops.control.reconciling.run_reconcile import RunReconciler
from raymlops.runtime.actors.source_watch import SourceWatch
from raymlops.runtime.cluster.clients import Parts, metadata_stores, wake_projector
from raymlops.runtime.cluster.platform_clock import build_clock
from raymlops.runtime.cluster.threads import Repeating
from raymlops.runtime.jobs.delivery_operator import DeliveryOperator
from raymlops.runtime.jobs.run_jobs import JobRunner
from raymlops.runtime.nodes.feature_writer import feature_writer
from raymlops.runtime.nodes.online_views import materialise_lost
from raymlops.runtime.serve.applications import Applications, Builders
from raymlops.runtime.serve.draining import trouble_of_drain
from raymlops.runtime.serve.endpoints import EndpointReplicas
from raymlops.runtime.supervision.home_note import note_drained, noted_drained, stopping
from raymlops.runtime.supervision.supervisor import keep_supervisor

__all__ = ["ReconcilerActor"]

_log = logging.getLogger(__name__)
_RECORDS_EVERY_S = 2.0
_FEATURES_EVERY_S = 10.0
_SUPERVISOR_EVERY_S = 2.0
_MOVES_EVERY_S = 1.0
_DEPLOYMENTS_EVERY_S = 10.0
_STOP_EVERY_S = 0.2
"""Seconds that a stop of the platform waits, at most, until replicas are asked to hand over their events."""
_MATERIALISE_S = 600.0
"""Deadline of bringing one view back: it may be large."""


class ReconcilerActor(Parts):
    """Keeps endpoints, candidates and runs as they are planned, and takes orders about them.

    Its parts: ``operator`` takes orders, ``replicas`` reaches what serves, ``reconciler`` tells how endpoints are,
    ``runs`` which jobs have no record, ``source`` how it stands with the watched repository.
    """

    def __init__(self, config: PlatformConfig, builders: Builders) -> None:
        timeout_s = config.cluster.call_timeout.total_seconds()
        metadata = metadata_stores(timeout_s)
        clock = build_clock(config)
        self._config = config
        self._metadata = metadata
        self._reconciler = Reconciler(metadata.plans, Applications(config, builders), config.serving)
        replicas = EndpointReplicas(config, metadata.plans)
        self._operator = EndpointOperator(
            config.serving, metadata, clock, self._reconciler, replicas, settled=wake_projector
        )
        deadline_s = config.cluster.run_deadline.total_seconds()
        self._moves = PoolMoves(self._reconciler, self._operator)
        self._runs = RunReconciler(metadata.runs, JobRunner(config.home, metadata.runs, clock), deadline_s)
        self.parts = {
            "operator": self._operator,
            "replicas": replicas,
            "reconciler": self._reconciler,
            "runs": self._runs,
            "source": SourceWatch(config, metadata, clock),
        }
        threading.Thread(target=self._reconciler.run, name="reconcile", daemon=True).start()
        self._upkeep = [
            Repeating("records", self._keep_records, _RECORDS_EVERY_S),
            Repeating("features", self._keep_features, _FEATURES_EVERY_S),
            Repeating("runs", self._runs.turn, _RECORDS_EVERY_S),
            Repeating("supervisor", partial(keep_supervisor, config.home), _SUPERVISOR_EVERY_S),
            Repeating("stop", self._stop_if_asked, _STOP_EVERY_S),
            Repeating("pool", self._moves.turn, _MOVES_EVERY_S),
            Repeating("deployments", DeliveryOperator(config, metadata, clock).settle, _DEPLOYMENTS_EVERY_S),
        ]

    def _stop_if_asked(self) -> None:
        """Drain the replicas where the platform is being stopped; they are not started again meanwhile."""
        if stopping(self._config.home) and noted_drained(self._config.home) is None:
            self._reconciler.rest()
            note_drained(self._config.home, trouble_of_drain())

    def _keep_records(self) -> None:
        self._operator.catch_up()

    def _keep_features(self) -> None:
        plans = self._metadata.plans.served_plans().values()
        if back := materialise_lost(plans, partial(feature_writer, self._config, timeout_s=_MATERIALISE_S)):
            _log.warning("online features were lost and are back: %s", ", ".join(back))
