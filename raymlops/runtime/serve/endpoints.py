"""Every replica of an endpoint, told at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException

from raymlops.config.platform import PlatformConfig
from raymlops.control.reconciling.reconcile import ENDPOINT, POOL, POOL_NAME, endpoint_name
from raymlops.errors import RaymlopsError, SwapFailed, UnavailableError
from raymlops.records.plans import PlanStore, ServingPlan
from raymlops.runtime.cluster.deadlines import within

__all__ = ["EndpointReplicas"]

_log = logging.getLogger(__name__)

_RETRY_S = 0.25
_SLACK_S = 5.0
"""How much longer than the calls themselves a broadcast may take."""


class EndpointReplicas:
    """Reaches all replicas of endpoints. Thread-safe; no call takes much longer than ``serving.swap_timeout``.

    Args:
        config: The platform's configuration.
        plans: Say whether a model is answered by the pool.
    """

    def __init__(self, config: PlatformConfig, plans: PlanStore) -> None:
        self._plans = plans
        self._timeout_s = config.serving.swap_timeout.total_seconds()

    def prepare(self, plan: ServingPlan) -> None:
        self._broadcast(plan, "prepare", plan.model_dump_json())

    def swap(self, plan: ServingPlan) -> float | None:
        started = time.perf_counter()
        try:
            self._broadcast(plan, "swap", plan.model, plan.number)
        except SwapFailed as error:  # the plan is stored: a replica that was not reached finds it by its poll
            _log.warning("plan %d of %s: %s", plan.number, plan.model, error)
            return None
        return round((time.perf_counter() - started) * 1000, 3)

    def flush(self, name: str) -> int:
        """Have every replica hand its prediction events over; returns how many rows still wait."""
        return sum(self._broadcast(self._plans.get_plan(name), "flush", name))

    def _broadcast(self, plan: ServingPlan, method: str, *args: object) -> list[Any]:
        """Call a method of every replica that answers by a plan.

        One that dies meanwhile is left to Serve, and the others are asked again.

        Raises:
            SwapFailed: It did not reach every replica.
        """
        deadline = time.monotonic() + self._timeout_s
        deployment, application = (POOL, POOL_NAME) if plan.pooled else (ENDPOINT, endpoint_name(plan.model))

        def broadcast() -> list[Any]:
            while True:
                try:
                    handle = serve.get_deployment_handle(deployment, application, _check_exists=False)
                    return list(handle.broadcast(method, *args).results(timeout_s=self._timeout_s))
                except (RayActorError, DeploymentUnavailableError):
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_RETRY_S)

        return self._mapped(plan.model, method, broadcast)

    def _mapped(self, name: str, method: str, broadcast: Callable[[], list[Any]]) -> list[Any]:
        try:
            return within(self._timeout_s + _SLACK_S, f"{method} of {name}", broadcast)
        except (RayError, RayServeException, TimeoutError, UnavailableError) as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, RaymlopsError):
                raise cause from None
            raise SwapFailed(f"{method} of {name} did not reach every replica: {cause or error}", name=name) from error
