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
from raymlops.control.loop.carrying_out import DecisionExecutor
from raymlops.control.loop.explaining.reasons import reasons_against
from raymlops.control.loop.explaining.status import ControlStatus, describe, with_turns
from raymlops.control.loop.explaining.why import SHOWN_DECISIONS, History, Why, explain
from raymlops.control.loop.fleet import Fleet
from raymlops.control.loop.folding import ALL_MODELS, FoldedLedger
from raymlops.control.loop.looks import Looks
from raymlops.control.loop.observing import news_of, observe, plans_of, windows_of
from raymlops.control.loop.policy_notes import PoliciesInForce
from raymlops.control.loop.ports import Actuator, Observer, Policies
from raymlops.control.loop.turns import TurnReport, Turns
from raymlops.control.rollout.decisions import (
    Decision,
    Pause,
    Resume,
    StartRetraining,
    decision_of,
)
from raymlops.control.rollout.floor import floor_standing
from raymlops.control.rollout.ledger_state import Rollout
from raymlops.control.rollout.observation import Observation
from raymlops.control.rollout.plan_history import champion_since
from raymlops.control.rollout.rollout_state import decide, instead_of_retraining, retrain_request
from raymlops.control.triggering.policies import RetrainPolicy, RetrainVerdict
from raymlops.errors import InvalidTransition
from raymlops.laboratory.probed import Probed
from raymlops.records.ledger import Ledger, LedgerEntry
from raymlops.records.plans import ServingPlan
from raymlops.records.windows import WindowRecord

__all__ = ["ALL_MODELS", "Controller"]

_log = logging.getLogger(__name__)

_MAX_TURNS = 16
"""Decisions about one model in one step; more would be two rules that undo each other."""

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Controller:
    """Keeps every deployed model right: observes, decides, records, acts.

    Owns nothing but the order of these four: the decision is in the ledger before anything is done about it, so that
    a controller that was killed at any point goes on where it was. What was recorded last and may not be carried out
    is carried out again; keys, run ids and plan numbers make that happen once. A turn of one model is apart from those
    of all others: it may fail, or take long, and they go on. Thread-safe.

    Args:
        clock: The only source of time.
        ledger: Decisions are recorded in it, and read from it at the start.
        observer: Shows the platform.
        actuator: Carries decisions out.
        config: The loop, and the triggers, limits and levels of the models that have no policy of their own.
        label_delay: How long after its end a window closes, and how old a row on trial must be to be compared.
        policies: The policy of each model; left out, all have that of ``config``.
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
        policies: Policies | None = None,
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._observer = observer
        self._executor = DecisionExecutor(clock, observer, actuator)
        self._config = config
        self._policies = PoliciesInForce(config, policies, ledger)
        self._fleet = Fleet(config.fleet)
        self._label_delay = label_delay
        self._stepping = threading.Lock()
        self._folded = FoldedLedger(ledger)
        self._looks = Looks(observer, label_delay)
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
            StorageError: The list of models, or of their policies, could not be read.
            UnavailableError: Likewise.
        """
        decisions: list[Decision] = []
        with self._stepping:
            for model in self._models():
                self._turns.run(model, partial(self._turn, model, decisions))
            made = -1
            while made < len(decisions) and (admitted := self._fleet.next_in_line(self._clock.now(), self._folded)):
                made = len(decisions)
                self._models()
                for model in admitted:
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
        return self._turns.start_due(self._models(), lambda model: self._turn(model, []))

    def status(self) -> list[ControlStatus]:
        """Status of each model, as of its last turn."""
        reports, trouble, now = self._turns.reports(), self._loop_problem(), self._clock.now()
        found = []
        for model in sorted({*self._statuses, *reports}):
            status = self._statuses.get(model, ControlStatus(model=model))
            waits = self._fleet.reason(model, now, self._folded)
            if waits is not None:
                status = status.model_copy(update={"reasons": (*status.reasons, waits)})
            found.append(with_turns(status, reports.get(model, TurnReport()), trouble))
        return found

    def why(self, model: str, at: datetime | None = None) -> Why:
        """Verdict about a model at an instant (default: now), with every reason against a retraining.

        Raises:
            NotFoundError: The model was not deployed then.
        """
        instant = at or self._clock.now()
        self._policies.refresh()
        self._folded.catch_up()
        plans = plans_of(self._observer, model)
        then = [plan for plan in plans if plan.created_at <= instant]
        probed = self._observer.probed(model, then[-1].champion) if then else Probed()
        history = History(
            plans=tuple(plans),
            runs=tuple(self._observer.runs(model)),
            windows=tuple(self._windows(model, then, instant)),
            trainable=self._observer.trainable(model),
            probed=probed if at is None else probed.model_copy(update={"problem": ""}),
        )
        config = self._policies.config_at(model, self._folded.policy_notes(model), at)
        waits = self._fleet.reason(model, instant, self._folded)
        if at is None and plans:
            data, code = news_of(self._observer, model, plans[-1].champion, config.triggers)
            history = history.model_copy(update={"data": data, "code": code})
        looks, unreadable = self._looks.as_of(model, then, instant, config)
        found = explain(
            model,
            history,
            instant,
            config,
            state=self._folded.state_at(model, instant),
            decisions=self._ledger.newest_entries([model, ALL_MODELS], SHOWN_DECISIONS, until=instant),
            label_delay=self._label_delay,
            looks=looks,
        )
        found = found.model_copy(update={"unreadable": tuple(unreadable)})
        return found.model_copy(update={"reasons": (*found.reasons, waits)}) if at is None and waits else found

    def _windows(self, model: str, then: Sequence[ServingPlan], at: datetime) -> list[WindowRecord]:
        """The windows since the champion of an instant took over; all, where none of its own had closed by then."""
        if not then:
            return []
        found = windows_of(self._observer, model, min(champion_since(then), at))
        if any(each.champion == then[-1].champion and at - each.end >= self._label_delay for each in found):
            return found
        return windows_of(self._observer, model, _LONG_AGO)

    def probed(self, model: str) -> Probed:
        """Results of the probes of a model beside its present champion; empty where it is not deployed."""
        plans = plans_of(self._observer, model)
        return self._observer.probed(model, plans[-1].champion) if plans else Probed()

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
        """The error that keeps the loop from taking turns; ``None`` while it takes them."""
        return None

    def _turn(self, model: str, decisions: list[Decision]) -> None:
        with self._fleet.turn(model):
            try:
                self._prepare(model)
            finally:
                self._decide_and_act(model, decisions)

    def _decide_and_act(self, model: str, decisions: list[Decision]) -> None:
        for _ in range(_MAX_TURNS):
            folded = self._folded.catch_up()
            self._policies.note(model, next(reversed(self._folded.policy_notes(model)), None))
            config = self._policies.config_of(model)
            state = self._folded.state(model)
            seen = observe(self._observer, model, state, self._clock.now(), config.triggers)
            state = replace(state, paused=state.paused or not self._config.enabled)
            self._fleet.see(state, seen)
            request = retrain_request(state, seen)
            verdict = RetrainPolicy(config).evaluate(request)
            reasons = reasons_against(
                state, seen, config, label_delay=self._label_delay, request=request, verdict=verdict
            )
            below = floor_standing(seen, seen.own_windows, config)
            self._statuses[model] = describe(state, seen, verdict, reasons, below)
            pending = state.pending
            if pending is not None and not self._executor.done(pending):
                rejections = state.rejections_under(seen.plans)
                given_up = self._executor.carry_out(pending, seen, config, rejections=rejections)
                if given_up is None:
                    continue
                decided: tuple[Decision, LedgerEntry] | None = given_up, self._record(given_up)
            else:
                decided = self._decide(replace(state, pending=None), seen, config, verdict)
            if decided is None:
                return
            decision, entry = decided
            if entry.sequence <= folded:
                raise InvalidTransition(f"decision {decision.key} was taken before and is over", key=decision.key)
            decisions.append(decision)

    def _record_in_turn(
        self, decision: Decision, seen: Observation, config: ControlConfig
    ) -> tuple[Decision, LedgerEntry | None, bool]:
        """Record a decision, with what it was let through by.

        Returns:
            The decision, its entry, ``None`` where it is a retraining that must wait for others, and whether that may
            take long.
        """
        if not isinstance(decision, StartRetraining):
            return decision, self._record(decision), False
        with self._fleet.asking():
            self._folded.catch_up()  # the model that asked before has recorded its place
            place = self._fleet.ask(decision, seen, config.triggers, self._folded)
            if not place.granted:
                return decision, None, place.full
            told = decision.model_copy(update={"facts": {**decision.facts, **place.facts}})
            return told, self._record(told), False

    def _record(self, decision: Decision) -> LedgerEntry:
        return self._ledger.append_entry(
            decision.model, decision.action, decision.reason, decision.evidence(), key=decision.key
        )

    def _decide(
        self, state: Rollout, seen: Observation, config: ControlConfig, verdict: RetrainVerdict
    ) -> tuple[Decision, LedgerEntry] | None:
        """Decide, and record it; ``None`` where there is nothing to decide now, or a retraining waits for others."""
        if state.paused:
            return None
        looks, trouble = self._looks.due(seen, config)
        by_kind = {look.kind: look for look in looks}
        looked = replace(
            seen,
            trial_look=by_kind.get("trial"),
            health_look=by_kind.get("health"),
            probation_look=by_kind.get("probation"),
            floor_look=by_kind.get("floor"),
        )
        decision = decide(state, looked, config, verdict)
        entry, full = None, False
        if decision is not None:
            decision, entry, full = self._record_in_turn(decision, seen, config)
        waits = decision is not None and entry is None
        if full:  # it may take long until there is a place for it
            decision = instead_of_retraining(state, looked, config)
            entry = None if decision is None else self._record(decision)
        if decision is not None and entry is not None:
            return decision, entry
        for look in looks if full or not waits else ():  # where its place is near, they are taken again
            self._looks.taken(seen.model, look)
        if trouble is not None:
            raise trouble
        return None

    def _models(self) -> Sequence[str]:
        """The deployed models of a round of turns, after the policies in force were read."""
        self._policies.refresh()
        models = self._observer.models()
        self._fleet.begin_round(models)
        return models
