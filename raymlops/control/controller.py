"""The reconcile loop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

from raymlops.clock import Clock
from raymlops.config.control import ControlConfig
from raymlops.control import plans as plan_history
from raymlops.control.decisions import (
    Abandon,
    Decision,
    Pause,
    PlanDecision,
    Resume,
    RollBack,
    StartRetraining,
    decision_of,
)
from raymlops.control.plans import Progress
from raymlops.control.policies import RetrainVerdict
from raymlops.control.ports import Actuator, Ledger, Observer
from raymlops.control.rollout import Look, Observation, Rollout, decide, retrain_verdict
from raymlops.errors import DeploymentError, InvalidTransition, RaymlopsError, StaleWrite
from raymlops.records.ledger import LedgerEntry
from raymlops.records.plans import ServingPlan, Trial
from raymlops.records.record import Instant, Record

__all__ = ["ALL_MODELS", "ControlStatus", "Controller", "Phase"]

ALL_MODELS = "*"
"""Subject of the ledger entries that pause and resume the loop for all models."""

_MAX_TURNS = 16
"""Decisions about one model in one step; more would be two rules that undo each other."""

_DEPLOY_ATTEMPTS = 3
"""How often a plan is tried that does not come up; a replica that is being restarted is no reason to give up."""

_log = logging.getLogger(__name__)


class Phase(StrEnum):
    """What is under way for a model."""

    SERVING = "serving"
    RETRAINING = "retraining"
    ON_TRIAL = "on_trial"
    PAUSED = "paused"


class ControlStatus(Record):
    """What the controller sees of one model, as of its last turn."""

    model: str
    phase: Phase
    champion: int
    champion_since: Instant
    backup: int | None
    trial: Trial | None
    blocked: tuple[int, ...] = ()
    """Versions that answer nobody until they are unblocked."""
    run_id: str | None
    """A run under way."""
    verdict: RetrainVerdict
    """What the retraining policy says about the champion's windows."""
    problem: str | None = None
    """Why the last turn came to no end; it is taken up again by the next one."""


class Controller:
    """Keeps every deployed model right: observes, decides, records, acts.

    Owns nothing but the order of these four: the decision is in the ledger before anything is done about it, so that
    a controller that was killed at any point goes on where it was. What was recorded last and may not be carried out
    is carried out again; keys, run ids and plan numbers make that happen once. Thread-safe; steps run one at a time,
    and the other methods do not wait for them.

    Args:
        clock: The only source of time.
        ledger: Where decisions are recorded, and read from at the start.
        observer: Shows the platform.
        actuator: Carries decisions out.
        config: Triggers, limits and levels.
    """

    def __init__(
        self, *, clock: Clock, ledger: Ledger, observer: Observer, actuator: Actuator, config: ControlConfig
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._observer = observer
        self._actuator = actuator
        self._config = config
        self._lock = threading.Lock()
        self._sequence = 0
        self._rollouts: dict[str, Rollout] = {}
        self._carried_out: dict[str, str] = {}
        self._tries: dict[str, int] = {}
        self._looks: dict[tuple[str, str], tuple[datetime, datetime]] = {}
        self._statuses: dict[str, ControlStatus] = {}
        self._problems: dict[str, str] = {}

    def step(self) -> list[Decision]:
        """Take turns until there is nothing left to decide now.

        Trouble with one model does not keep the others waiting: it is logged, shown by ``status``, and tried again by
        the next step.

        Returns:
            The decisions made, in order; all of them are recorded, and carried out unless there was trouble.

        Raises:
            StorageError: The list of models could not be read.
            UnavailableError: Likewise.
        """
        decisions: list[Decision] = []
        with self._lock:
            for model in self._observer.models():
                try:
                    self._step_model(model, decisions)
                except RaymlopsError as error:
                    self._problems[model] = f"{type(error).__name__}: {error}"
                    _log.warning("control of %s is held up: %s", model, self._problems[model])
                else:
                    self._problems.pop(model, None)
        return decisions

    def status(self) -> list[ControlStatus]:
        """What the last step saw, by model."""
        return [
            status.model_copy(update={"problem": self._problems.get(model)})
            for model, status in sorted(self._statuses.items())
        ]

    def pause(self, model: str | None = None, *, reason: str) -> LedgerEntry:
        """Stop deciding about ``model``, or about all. What was recorded before is still carried out.

        Pausing what is paused changes nothing.
        """
        return self._switch(Pause, model, reason)

    def resume(self, model: str | None = None, *, reason: str) -> LedgerEntry:
        """Decide again. A model stays paused while all are."""
        return self._switch(Resume, model, reason)

    def _switch(self, kind: type[Pause], model: str | None, reason: str) -> LedgerEntry:
        subject = model or ALL_MODELS
        switches = [entry for entry in self._ledger.entries(subject) if isinstance(decision_of(entry), Pause)]
        if switches and switches[-1].action == kind.action:
            return switches[-1]
        return self._record(kind(model=subject, at=self._clock.now(), reason=reason, count=len(switches)))

    def _step_model(self, model: str, decisions: list[Decision]) -> None:
        for _ in range(_MAX_TURNS):
            self._catch_up()
            state, seen = self._state(model), self._observe(model)
            self._statuses[model] = self._describe(state, seen)
            pending = state.pending
            if pending is not None and self._carried_out.get(model) != pending.key:
                decision: Decision | None = self._carry_out(pending, seen)
                if decision is None:
                    continue
            else:
                decision = self._decide(state, seen)
            if decision is None:
                return
            if self._record(decision).sequence <= self._sequence:
                raise InvalidTransition(f"decision {decision.key} was taken before and is over", key=decision.key)
            decisions.append(decision)

    def _catch_up(self) -> None:
        """Fold what the ledger holds beyond what was folded, whoever wrote it."""
        for entry in self._ledger.entries(after=self._sequence):
            decision = decision_of(entry)
            if decision is not None:
                self._rollouts[entry.subject] = self._rollouts.get(entry.subject, Rollout()).apply(decision)
            self._sequence = entry.sequence

    def _state(self, model: str) -> Rollout:
        state = self._rollouts.get(model, Rollout())
        everything = self._rollouts.get(ALL_MODELS, Rollout())
        return replace(state, paused=state.paused or everything.paused or not self._config.enabled)

    def _record(self, decision: Decision) -> LedgerEntry:
        return self._ledger.append_entry(
            decision.model, decision.action, decision.reason, decision.evidence(), key=decision.key
        )

    def _carry_out(self, pending: PlanDecision | StartRetraining, seen: Observation) -> Abandon | None:
        """Carry out what was recorded last; an ``Abandon`` where that is not to be."""
        model = pending.model
        try:
            if isinstance(pending, StartRetraining):
                if not any(run.id == pending.run_id and run.status.final for run in seen.runs):
                    self._actuator.start_run(pending)
            elif not self._serve(pending, seen.plans):
                return self._abandon(pending, "somebody else changed the plan first", superseded=True)
        except StaleWrite:
            raise
        except RaymlopsError as error:
            tries = self._tries[model] = self._tries.get(model, 0) + 1
            # A version that must go is never kept for being hard to remove.
            limit = _DEPLOY_ATTEMPTS if isinstance(error, DeploymentError) else self._config.act_attempts
            again = tries < limit and (error.retryable or isinstance(error, DeploymentError))
            if again or isinstance(pending, RollBack):
                raise
            self._tries.pop(model)
            return self._abandon(pending, f"{type(error).__name__}: {error}", superseded=False)
        self._tries.pop(model, None)
        self._carried_out[model] = pending.key
        return None

    def _serve(self, pending: PlanDecision, plans: Sequence[ServingPlan]) -> bool:
        """Bring the plan that ``pending`` asks for into service; ``False`` where another one came first."""
        match plan_history.progress(pending, plans):
            case Progress.SUPERSEDED:
                return False
            case Progress.OPEN | Progress.CURRENT:
                base = next(plan for plan in reversed(plans) if plan.number == pending.plan)
                self._actuator.serve(plan_history.next_plan(base, pending), pending)
        return True

    def _abandon(self, pending: PlanDecision | StartRetraining, reason: str, *, superseded: bool) -> Abandon:
        attempts = pending.attempt if isinstance(pending, StartRetraining) else self._config.retrain.max_attempts
        return Abandon(
            model=pending.model,
            at=self._clock.now(),
            reason=reason,
            decision=pending.key,
            superseded=superseded,
            final=attempts >= self._config.retrain.max_attempts,
        )

    def _decide(self, state: Rollout, seen: Observation) -> Decision | None:
        if state.paused:
            return None
        trial_look, health_look = self._look_at_trial(seen), self._look_at_health(seen)
        decision = decide(state, replace(seen, trial_look=trial_look, health_look=health_look), self._config)
        if decision is None:
            for look in (trial_look, health_look):
                if look is not None:
                    self._looks[seen.model, look.kind] = look.since, look.at
        return decision

    def _observe(self, model: str) -> Observation:
        plans = self._observer.plans(model)
        return Observation(
            model=model,
            now=self._clock.now(),
            plans=plans,
            runs=self._observer.runs(model),
            windows=self._observer.windows(model, plan_history.champion_since(plans)),
        )

    def _look_at_trial(self, seen: Observation) -> Look | None:
        if seen.plan.trial is None:
            return None
        config = self._config.trial
        since = plan_history.trial_since(seen.plans)
        at = self._due(seen, "trial", since, config.look_every)
        if at is None:
            return None
        evidence = self._observer.trial_evidence(
            seen.plan, since=since, until=at, labelled_until=max(since, at - config.label_delay)
        )
        return Look(kind="trial", since=since, at=at, trial=evidence)

    def _look_at_health(self, seen: Observation) -> Look | None:
        if seen.plan.backup is None:
            return None
        config = self._config.health
        since = plan_history.champion_since(seen.plans)
        at = self._due(seen, "health", since, config.look_every)
        if at is None:
            return None
        health = self._observer.health(seen.plan, since=max(since, at - config.window), until=at)
        return Look(kind="health", since=since, at=at, health=health)

    def _due(self, seen: Observation, kind: str, since: datetime, every: timedelta) -> datetime | None:
        """The newest instant of the grid ``since + n * every`` that nobody looked at yet."""
        at = since + (seen.now - since) // every * every
        return at if at > since and self._looks.get((seen.model, kind)) != (since, at) else None

    def _describe(self, state: Rollout, seen: Observation) -> ControlStatus:
        plan = seen.plan
        run_id = next((run.id for run in seen.runs if not run.status.final), None)
        if state.paused:
            phase = Phase.PAUSED
        elif plan.trial is not None:
            phase = Phase.ON_TRIAL
        else:
            phase = Phase.SERVING if run_id is None and state.open_retraining is None else Phase.RETRAINING
        return ControlStatus(
            model=seen.model,
            phase=phase,
            champion=plan.champion,
            champion_since=plan_history.champion_since(seen.plans),
            backup=plan.backup,
            trial=plan.trial,
            blocked=plan.blocked,
            run_id=run_id,
            verdict=retrain_verdict(state, seen, self._config),
        )
