"""The status of one model, as the controller shows it."""

from __future__ import annotations

from enum import StrEnum

from raymlops.control.loop.turns import TurnReport
from raymlops.control.rollout.ledger_state import Rollout
from raymlops.control.rollout.observation import Observation
from raymlops.control.triggering.policies import RetrainOutcome, RetrainVerdict
from raymlops.records.people.reasons import Reason
from raymlops.records.plans import Trial
from raymlops.records.record import Instant, Record

__all__ = ["ControlStatus", "Phase", "describe", "with_turns"]


class Phase(StrEnum):
    """The phase of a model: what is under way."""

    UNKNOWN = "unknown"
    """No turn has come so far as to look at it."""
    SERVING = "serving"
    RETRAINING = "retraining"
    ON_TRIAL = "on_trial"
    PAUSED = "paused"


class ControlStatus(Record):
    """One model as of the controller's last turn."""

    model: str
    phase: Phase = Phase.UNKNOWN
    champion: int | None = None
    """``None`` as long as the phase is unknown."""
    champion_since: Instant | None = None
    backup: int | None = None
    trial: Trial | None = None
    blocked: tuple[int, ...] = ()
    """Blocked versions, which answer no request until they are unblocked."""
    run_id: str | None = None
    """A run under way."""
    verdict: RetrainVerdict = RetrainVerdict(outcome=RetrainOutcome.QUIET, reason="not looked at yet")
    """The retraining policy's verdict about the champion's windows."""
    reasons: tuple[Reason, ...] = ()
    """All that stands against a retraining now, and what would end it; none where one may start."""
    labels: str = ""
    """How much of the champion's newest window is labelled, and which way that leans; empty before one has closed."""
    below_floor: str = ""
    """The reason why a champion stays whose newest window lies below its floor; empty where it lies above."""
    problem: str | None = None
    """The error that ended the last turn early; a later turn goes on from there."""
    last_turn_at: Instant | None = None
    """The instant when a turn last ended without an error, on the platform's clock."""
    turn_taken_s: float | None = None
    """How long the turn under way has taken; ``None`` where none is."""
    failed_turns: int = 0
    """Turns that ended in an error since the controller's start."""
    dropped_events: int = 0
    """Rows of prediction events that were lost or refused since the monitor's start."""
    dropped_at: Instant | None = None
    """When the last of them were."""
    out_of_bounds_events: int = 0
    """Rows of events and labels since the monitor's start whose event time is no sane one: kept, and in no window."""


def describe(
    state: Rollout,
    seen: Observation,
    verdict: RetrainVerdict,
    reasons: tuple[Reason, ...],
    below_floor: str = "",
) -> ControlStatus:
    """The status of a model as one observation shows it."""
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
        champion_since=seen.champion_since,
        backup=plan.backup,
        trial=plan.trial,
        blocked=plan.blocked,
        run_id=run_id,
        verdict=verdict,
        reasons=reasons,
        labels=labels_of(seen),
        below_floor=below_floor,
    )


def labels_of(seen: Observation) -> str:
    """How much of the champion's newest window is labelled, and which way that leans; empty before one has closed."""
    newest = next(iter(seen.own_windows[::-1]), None)
    performance = None if newest is None else newest.performance.get(seen.plan.champion)
    return "" if performance is None else performance.labels_text


def with_turns(status: ControlStatus, report: TurnReport, loop_problem: str | None) -> ControlStatus:
    """Add the state of the model's turns to a status; a turn that fails is one more reason against a retraining.

    Args:
        status: As an observation showed it.
        report: The model's turns.
        loop_problem: Why no model's turns are taken, where that is so.
    """
    problem = loop_problem or report.problem
    reasons = status.reasons
    if problem is not None:
        remedy = "the turn is taken again by itself; the log of the controller tells more"
        reasons = (Reason(kind="held_up", text=problem, remedy=remedy), *reasons)
    return status.model_copy(
        update={
            "problem": problem,
            "reasons": reasons,
            "last_turn_at": report.done_at,
            "turn_taken_s": report.taken_s,
            "failed_turns": report.failures,
        }
    )
