"""Carries recorded decisions out, until it is done or they are given up."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from raymlops.clock import Clock
from raymlops.config.control import ControlConfig
from raymlops.control.loop.observing import plans_of
from raymlops.control.loop.ports import Actuator, Observer
from raymlops.control.rollout.decisions import Abandon, PlanDecision, RollBack, StartRetraining, StartTrial
from raymlops.control.rollout.observation import Observation
from raymlops.control.rollout.plans import Progress, next_plan, progress, took_effect
from raymlops.errors import DeploymentError, RaymlopsError, StaleWrite
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import RunStatus

__all__ = ["DecisionExecutor"]

_log = logging.getLogger(__name__)

_DEPLOY_ATTEMPTS = 3
"""How often a plan is tried that does not come up; a replica that is being restarted is no reason to give up."""


class DecisionExecutor:
    """Carries out the newest recorded decision about each model. One caller at a time for each model.

    Args:
        clock: Dates decisions that are given up.
        observer: Reads the plans.
        actuator: Changes the platform.
    """

    def __init__(self, clock: Clock, observer: Observer, actuator: Actuator) -> None:
        self._clock = clock
        self._observer = observer
        self._actuator = actuator
        self._carried_out: dict[str, str] = {}
        self._tries: dict[str, int] = {}

    def done(self, pending: PlanDecision | StartRetraining) -> bool:
        """Whether this process has carried a decision out."""
        return self._carried_out.get(pending.model) == pending.key

    def carry_out(
        self, pending: PlanDecision | StartRetraining, seen: Observation, config: ControlConfig, *, rejections: int = 0
    ) -> Abandon | None:
        """Carry out what was recorded last; an ``Abandon`` where that is not to be.

        A decision whose plan was made is never given up: the operator of endpoints brings about what that plan says.

        Args:
            pending: The decision.
            seen: The platform.
            config: How often it is tried.
            rejections: Candidates in a row that did not help before, since the champion took over.
        """
        model = pending.model
        try:
            if isinstance(pending, StartRetraining):
                run = next((run for run in seen.runs if run.id == pending.run_id), None)
                if run is None or run.status is RunStatus.PENDING:  # it may be recorded and have no job yet
                    self._actuator.start_run(pending)
            elif not self._serve(pending, seen.plans):
                reason = "somebody else changed the plan first"
                return self._abandon(pending, reason, config, rejections, superseded=True)
        except StaleWrite:
            raise
        except RaymlopsError as error:
            tries = self._tries[model] = self._tries.get(model, 0) + 1
            limit = _DEPLOY_ATTEMPTS if isinstance(error, DeploymentError) else config.act_attempts
            if tries < limit and (error.retryable or isinstance(error, DeploymentError)):
                raise
            made = isinstance(pending, PlanDecision) and took_effect(pending, plans_of(self._observer, model))
            if not made:
                # A version that must go is never kept for being hard to remove.
                if isinstance(pending, RollBack):
                    raise
                reason = f"{type(error).__name__}: {error}"
                return self._abandon(pending, reason, config, rejections, superseded=False)
            _log.warning("the plan of %s is made, and what lags behind follows by itself: %s", pending.key, error)
        self._tries.pop(model, None)
        self._carried_out[model] = pending.key
        return None

    def _serve(self, pending: PlanDecision, plans: Sequence[ServingPlan]) -> bool:
        """Bring the plan that ``pending`` asks for into service; ``False`` where another one came first."""
        match progress(pending, plans):
            case Progress.SUPERSEDED:
                return False
            case Progress.OPEN | Progress.CURRENT:
                base = next(plan for plan in reversed(plans) if plan.number == pending.plan)
                self._actuator.serve(next_plan(base, pending), pending)
        return True

    def _abandon(
        self,
        pending: PlanDecision | StartRetraining,
        reason: str,
        config: ControlConfig,
        rejections: int,
        *,
        superseded: bool,
    ) -> Abandon:
        self._tries.pop(pending.model, None)
        most = config.retrain.max_attempts
        attempts = pending.attempt if isinstance(pending, StartRetraining) else most
        return Abandon(
            model=pending.model,
            at=self._clock.now(),
            reason=reason,
            decision=pending.key,
            superseded=superseded,
            final=attempts >= most,
            rejections=rejections if isinstance(pending, StartRetraining | StartTrial) else 0,
        )
