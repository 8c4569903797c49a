"""Why the controller did, or did not do, something about a model at an instant. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from pydantic import Field

from raymlops.config.control import ControlConfig
from raymlops.control.loop.explaining.reasons import reasons_against
from raymlops.control.loop.explaining.status import Phase, describe
from raymlops.control.rollout.floor import floor_standing
from raymlops.control.rollout.guards import Standing, standing_of
from raymlops.control.rollout.judge import judge_probation
from raymlops.control.rollout.ledger_state import Rollout
from raymlops.control.rollout.observation import Look, Observation
from raymlops.control.rollout.rollout_state import retrain_verdict
from raymlops.control.rollout.trial_decisions import judge_look, limits_of
from raymlops.control.triggering.news import NewCode, NewData
from raymlops.control.triggering.policies import RetrainVerdict
from raymlops.errors import InvalidTransition, NotFoundError
from raymlops.laboratory.probed import Probed
from raymlops.records.ledger import LedgerEntry
from raymlops.records.people.reasons import Reason
from raymlops.records.plans import ServingPlan
from raymlops.records.record import Instant, Record
from raymlops.records.runs import Run, RunStatus
from raymlops.records.windows import WindowRecord

__all__ = ["SHOWN_DECISIONS", "History", "Why", "explain"]

SHOWN_DECISIONS = 10
"""Newest entries of the ledger that an answer holds."""


class Why(Record):
    """State of a model at an instant: the plan, the policy's verdict, and the reasons against a retraining."""

    model: str
    at: Instant
    phase: Phase
    champion: int
    champion_since: Instant
    verdict: RetrainVerdict
    reasons: tuple[Reason, ...]
    """All that stood against a retraining; none where one could start."""
    below_floor: str = ""
    """The reason why the champion stayed although its newest window lay below its floor."""
    standings: tuple[Standing, ...] = ()
    """How the version on trial, and the champion on probation, stood, by the labels that are known today."""
    unreadable: tuple[str, ...] = ()
    """Problems that kept parts of the trial and the probation out of ``standings``."""
    window: WindowRecord | None
    """The newest window of the champion that had closed, as it is known today: labels may have come since."""
    decisions: tuple[LedgerEntry, ...]
    """The newest decisions up to then, oldest first."""


class History(Record):
    """The stored records of one model, its ledger aside."""

    plans: tuple[ServingPlan, ...]
    """Oldest first."""
    runs: tuple[Run, ...]
    windows: tuple[WindowRecord, ...]
    """Oldest first."""
    trainable: bool
    """Whether a deployed bundle trains the model, today."""
    probed: Probed = Field(default_factory=Probed)
    """Results of probes up to the instant asked about."""
    data: NewData | None = None
    """New rows in the tables of the present champion; not known for an earlier instant."""
    code: NewCode | None = None
    """How the deployed bundle differs from the one of today's champion."""


def explain(
    model: str,
    history: History,
    at: datetime,
    config: ControlConfig,
    *,
    state: Rollout,
    decisions: Sequence[LedgerEntry],
    label_delay: timedelta,
    looks: Sequence[Look] = (),
) -> Why:
    """Look at a model as it stood at ``at``.

    Args:
        model: Name of the model.
        history: All that is stored about it; what came later is left out.
        at: The instant.
        config: Triggers and limits, as they are today.
        state: The fold of the ledger up to then.
        decisions: The newest entries up to then, oldest first.
        label_delay: How long after its end a window closes.
        looks: Looks at the traffic of its trial and its probation up to then.

    Raises:
        NotFoundError: The model had no serving plan yet.
    """
    plans = [plan for plan in history.plans if plan.created_at <= at]
    if not plans:
        raise NotFoundError(f"model {model!r} was not deployed at {at.isoformat()}", model=model)
    state = replace(state, paused=state.paused or not config.enabled)
    seen = Observation(
        model=model,
        now=at,
        plans=plans,
        runs=[_as_of(run, at) for run in history.runs if run.created_at <= at],
        windows=[window for window in history.windows if at - window.end >= label_delay],
        trainable=history.trainable,
        probed=history.probed,
        data=history.data,
        code=history.code,
    )
    verdict = retrain_verdict(state, seen, config)
    shown = describe(state, seen, verdict, reasons_against(state, seen, config, label_delay=label_delay))
    own = [window for window in seen.windows if window.champion == plans[-1].champion]
    return Why(
        model=model,
        at=at,
        phase=shown.phase,
        champion=plans[-1].champion,
        champion_since=shown.champion_since or at,
        verdict=verdict,
        reasons=shown.reasons,
        below_floor=floor_standing(seen, seen.own_windows, config),
        standings=tuple(_standing(look, state, seen, config) for look in looks),
        window=own[-1] if own else None,
        decisions=tuple(decisions),
    )


def _standing(look: Look, state: Rollout, seen: Observation, config: ControlConfig) -> Standing:
    plan, limits = seen.plan, config.trial
    if look.kind == "probation" and look.trial is not None and plan.backup is not None:
        judged, version, other = judge_probation(look.trial, limits), plan.champion, plan.backup
        return standing_of(
            "probation", judged, limits, version=version, compared_with=other, since=look.since, look_at=look.at
        )
    if plan.trial is None:
        raise InvalidTransition(f"plan {plan.number} of {plan.model} has no trial", model=plan.model)
    limits = limits_of(plan.trial, limits)
    judged, version = judge_look(seen, look, plan.trial, limits, asked=state.asked), plan.trial.version
    return standing_of(
        "trial", judged, limits, version=version, compared_with=plan.champion, since=look.since, look_at=look.at
    )


def _as_of(run: Run, at: datetime) -> Run:
    """A run as it stood: one that ended later was under way."""
    if run.ended_at is None or run.ended_at <= at:
        return run
    return run.model_copy(update={"status": RunStatus.RUNNING, "result": {}, "ended_at": None, "error": None})
