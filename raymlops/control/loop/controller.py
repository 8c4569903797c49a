"""The reconcile loop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from raymlops.clock import Clock
from raymlops.config.control import ControlConfig
from raymlops.control.loop.folding import ALL_MODELS, FoldedLedger
from raymlops.control.loop.looks import Looks
from raymlops.control.loop.observing import observe, plans_of, windows_of
from raymlops.control.loop.ports import Actuator, Observer
from raymlops.control.loop.reasons import reasons_against
from raymlops.control.loop.status import ControlStatus, describe, with_turns
from raymlops.control.loop.turns import TurnReport, Turns
from raymlops.control.loop.why import History, Why, explain
from raymlops.control.rollout import plans as plan_history
from raymlops.control.rollout.decisions import (
    Abandon,
    Decision,
    Pause,
    PlanDecision,
    Resume,
    RollBack,
    StartRetraining,
    StartTrial,
    decision_of,
)
from raymlops.control.rollout.floor import floor_standing
from raymlops.control.rollout.observation import Observation
from raymlops.control.rollout.plans import Progress
from raymlops.control.rollout.rollout_state import Rollout, decide, own_windows, retrain_verdict
from raymlops.errors import DeploymentError, InvalidTransition, RaymlopsError, StaleWrite
from raymlops.records.ledger import Ledger, LedgerEntry
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import RunStatus

__all__ = ["ALL_MODELS", "Controller"]

_log = logging.getLogger(__name__)

_MAX_TURNS = 16
"""Decisions about one model in one step; more would be two rules that undo each other."""

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_DEPLOY_ATTEMPTS = 3
"""How often a plan is tried that does not come up; a replica that is being restarted is no reason to give up."""


class Controller:
    """Keeps every deployed model right: observes, decides, records, acts.

    Owns nothing but the order of these four: the decision is in the ledger before anything is done about it, so that
    a controller that was killed at any point goes on where it was. What was recorded last and may not be carried out
    is carried out again; keys, run ids and plan numbers make that happen once. A turn of one model is apart from those
    of all others: it may fail, or take long, and they go on. Thread-safe.

    Args:
        clock: The only source of time.
        ledger: Where decisions are recorded, and read from at the start.
        observer: Shows the platform.
        actuator: Carries decisions out.
        config: Triggers, limits and levels.
        label_delay: How long after its end a window closes, and how old a row on trial must be to be compared.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        ledger: Ledger,
        observer: Observer,
        actuator: Actuator,
        config: ControlConfig,
        label_delay: timedelta = timedelta(0),
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._observer = observer
        self._actuator = actuator
        self._config = config
        self._label_delay = label_delay
        self._stepping = threading.Lock()
        self._folded = FoldedLedger(ledger)
        self._looks = Looks(observer, config, label_delay)
        self._carried_out: dict[str, str] = {}
        self._tries: dict[str, int] = {}
        self._statuses: dict[str, ControlStatus] = {}
        self._turns = Turns(
            clock,
            at_once=config.turns_at_once,
            deadline_s=config.turn_deadline.total_seconds(),
            pause_max_s=config.turn_pause_max.total_seconds(),
        )

    def step(self) -> list[Decision]:
        """Take a turn of every model, one after the other by name, until there is nothing left to decide now.

        Trouble with one model does not keep the others waiting: it is logged, shown by ``status``, and tried again by
        the next step.

        Returns:
            The decisions made, in order; all of them are recorded, and carried out unless there was trouble.

        Raises:
            StorageError: The list of models could not be read.
            UnavailableError: Likewise.
        """
        decisions: list[Decision] = []
        with self._stepping:
            for model in self._observer.models():
                self._turns.run(model, partial(self._turn, model, decisions))
        return decisions

    def start_turns(self) -> list[str]:
        """Start the turns that are due, side by side, and wait for none of them.

        Returns:
            The models whose turns were started; a model whose turn is still under way is not among them.

        Raises:
            StorageError: The list of models could not be read.
            UnavailableError: Likewise.
        """
        return self._turns.start_due(self._observer.models(), lambda model: self._turn(model, []))

    def status(self) -> list[ControlStatus]:
        """What the last turns saw, by model."""
        reports, trouble = self._turns.reports(), self._loop_problem()
        return [
            with_turns(self._statuses.get(model, ControlStatus(model=model)), reports.get(model, TurnReport()), trouble)
            for model in sorted({*self._statuses, *reports})
        ]

    def why(self, model: str, at: datetime | None = None) -> Why:
        """What stood about a model at an instant, now by default: its verdict, and all that was against a retraining.

        Raises:
            NotFoundError: The model was not deployed then.
        """
        entries = [*self._ledger.entries(model), *self._ledger.entries(ALL_MODELS)]
        plans = plans_of(self._observer, model)
        history = History(
            entries=tuple(sorted(entries, key=lambda entry: entry.sequence)),
            plans=tuple(plans),
            runs=tuple(self._observer.runs(model)),
            windows=tuple(windows_of(self._observer, model, _LONG_AGO)) if plans else (),
            trainable=self._observer.trainable(model),
        )
        at = at or self._clock.now()
        looks = self._looks.as_of(model, [plan for plan in plans if plan.created_at <= at], at)
        return explain(model, history, at, self._config, label_delay=self._label_delay, looks=looks)

    def pause(self, model: str | None = None, *, reason: str, by: str = "") -> LedgerEntry:
        """Stop deciding about ``model``, or about all. What was recorded before is still carried out.

        Pausing what is paused changes nothing.
        """
        return self._switch(Pause, model, reason, by)

    def resume(self, model: str | None = None, *, reason: str, by: str = "") -> LedgerEntry:
        """Decide again. A model stays paused while all are."""
        return self._switch(Resume, model, reason, by)

    def _switch(self, kind: type[Pause], model: str | None, reason: str, by: str) -> LedgerEntry:
        subject = model or ALL_MODELS
        switches = [entry for entry in self._ledger.entries(subject) if isinstance(decision_of(entry), Pause)]
        if switches and switches[-1].action == kind.action:
            return switches[-1]
        return self._record(kind(model=subject, at=self._clock.now(), reason=reason, count=len(switches), by=by))

    def _prepare(self, model: str) -> None:
        """Called at the start of every turn; what it raises is shown once the rest of the turn is over."""

    def _loop_problem(self) -> str | None:
        """Why no turns are taken, where nobody takes any."""
        return None

    def _turn(self, model: str, decisions: list[Decision]) -> None:
        try:
            self._prepare(model)
        finally:
            self._decide_and_act(model, decisions)

    def _decide_and_act(self, model: str, decisions: list[Decision]) -> None:
        for _ in range(_MAX_TURNS):
            folded = self._folded.catch_up()
            state = self._folded.state(model)
            seen = observe(self._observer, model, state, self._clock.now())
            state = replace(state, paused=state.paused or not self._config.enabled)
            self._statuses[model] = self._describe(state, seen)
            pending = state.pending
            if pending is not None and self._carried_out.get(model) != pending.key:
                decision: Decision | None = self._carry_out(pending, seen)
                if decision is None:
                    continue
            else:
                decision = self._decide(replace(state, pending=None), seen)
            if decision is None:
                return
            if self._record(decision).sequence <= folded:
                raise InvalidTransition(f"decision {decision.key} was taken before and is over", key=decision.key)
            decisions.append(decision)

    def _record(self, decision: Decision) -> LedgerEntry:
        return self._ledger.append_entry(
            decision.model, decision.action, decision.reason, decision.evidence(), key=decision.key
        )

    def _carry_out(self, pending: PlanDecision | StartRetraining, seen: Observation) -> Abandon | None:
        """Carry out what was recorded last; an ``Abandon`` where that is not to be.

        A decision whose plan was made is never given up: the operator of endpoints brings about what that plan says.
        """
        model = pending.model
        try:
            if isinstance(pending, StartRetraining):
                run = next((run for run in seen.runs if run.id == pending.run_id), None)
                if run is None or run.status is RunStatus.PENDING:  # it may be recorded and have no job yet
                    self._actuator.start_run(pending)
            elif not self._serve(pending, seen.plans):
                return self._abandon(pending, seen, "somebody else changed the plan first", superseded=True)
        except StaleWrite:
            raise
        except RaymlopsError as error:
            tries = self._tries[model] = self._tries.get(model, 0) + 1
            limit = _DEPLOY_ATTEMPTS if isinstance(error, DeploymentError) else self._config.act_attempts
            if tries < limit and (error.retryable or isinstance(error, DeploymentError)):
                raise
            made = isinstance(pending, PlanDecision) and plan_history.took_effect(
                pending, plans_of(self._observer, model)
            )
            if not made:
                # A version that must go is never kept for being hard to remove.
                if isinstance(pending, RollBack):
                    raise
                return self._abandon(pending, seen, f"{type(error).__name__}: {error}", superseded=False)
            _log.warning("the plan of %s is made, and what lags behind follows by itself: %s", pending.key, error)
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

    def _abandon(
        self, pending: PlanDecision | StartRetraining, seen: Observation, reason: str, *, superseded: bool
    ) -> Abandon:
        self._tries.pop(pending.model, None)
        counts = isinstance(pending, StartRetraining | StartTrial)
        rejections = self._folded.state(pending.model).rejections_under(seen.plans) if counts else 0
        attempts = pending.attempt if isinstance(pending, StartRetraining) else self._config.retrain.max_attempts
        return Abandon(
            model=pending.model,
            at=self._clock.now(),
            reason=reason,
            decision=pending.key,
            superseded=superseded,
            final=attempts >= self._config.retrain.max_attempts,
            rejections=rejections,
        )

    def _decide(self, state: Rollout, seen: Observation) -> Decision | None:
        if state.paused:
            return None
        looks, trouble = self._looks.due(seen)
        by_kind = {look.kind: look for look in looks}
        looked = replace(
            seen,
            trial_look=by_kind.get("trial"),
            health_look=by_kind.get("health"),
            probation_look=by_kind.get("probation"),
            floor_look=by_kind.get("floor"),
        )
        decision = decide(state, looked, self._config)
        if decision is None:
            for look in looks:
                self._looks.taken(seen.model, look)
            if trouble is not None:
                raise trouble
        return decision

    def _describe(self, state: Rollout, seen: Observation) -> ControlStatus:
        reasons = reasons_against(state, seen, self._config, label_delay=self._label_delay)
        below = floor_standing(seen, own_windows(seen), self._config)
        return describe(state, seen, retrain_verdict(state, seen, self._config), reasons, below)
