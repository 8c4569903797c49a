"""How a serving plan follows from the last one, and how far a decision about it has come. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from raymlops.control.rollout.decisions import FallBack, PlanDecision, Promote, Ramp, RollBack, StartTrial
from raymlops.records.plans import ServingPlan

__all__ = [
    "Progress",
    "next_plan",
    "progress",
    "took_effect",
]


def next_plan(plan: ServingPlan, decision: PlanDecision) -> ServingPlan:
    """The plan that carries ``decision`` out; equal arguments give equal plans, its instant included.

    Args:
        plan: The plan the decision was made on.
        decision: What was decided.
    """
    changes: dict[str, object] = {"number": decision.plan + 1, "reason": decision.reason, "created_at": decision.at}
    if isinstance(decision, StartTrial | Ramp):
        changes["trial"] = decision.trial
    elif isinstance(decision, Promote):
        changes |= {"champion": decision.version, "backup": plan.champion, "trial": None}
    elif isinstance(decision, RollBack):
        changes["trial"] = None
        if decision.cause == "health":
            # it answers no request until a person unblocks it
            blocked = tuple(sorted({*plan.blocked, decision.version}))
            changes |= {"champion": decision.to, "backup": None, "blocked": blocked}
        elif decision.cause == "probation":
            changes |= {"champion": decision.to, "backup": None}
    elif isinstance(decision, FallBack):
        changes |= {"champion": decision.to or decision.version, "backup": None, "trial": None}
        if decision.to is None or decision.cause == "health":
            changes["blocked"] = tuple(sorted({*plan.blocked, decision.version}))
    return plan.model_copy(update=changes)


class Progress(StrEnum):
    """How far a decision about the plan has come."""

    OPEN = "open"
    """The plan it was made on is the newest: nothing happened yet."""
    CURRENT = "current"
    """Its plan is the newest; replicas or aliases may still lag behind."""
    REPLACED = "replaced"
    """Its plan took effect, and a later one followed."""
    SUPERSEDED = "superseded"
    """Another writer stored the next plan first."""


def progress(decision: PlanDecision, plans: Sequence[ServingPlan]) -> Progress:
    """How far ``decision`` has come.

    Args:
        decision: What was decided.
        plans: The model's plans, oldest first, from the one it was decided on or earlier.
    """
    numbered = {plan.number: plan for plan in plans}
    if plans[-1].number == decision.plan:
        return Progress.OPEN
    if numbered[decision.plan + 1] != next_plan(numbered[decision.plan], decision):
        return Progress.SUPERSEDED
    return Progress.CURRENT if plans[-1].number == decision.plan + 1 else Progress.REPLACED


def took_effect(decision: PlanDecision, plans: Sequence[ServingPlan]) -> bool:
    """Whether the plan that ``decision`` asks for was made, be it the newest or not. Arguments as of ``progress``."""
    return progress(decision, plans) in {Progress.CURRENT, Progress.REPLACED}
