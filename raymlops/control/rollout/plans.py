"""How a serving plan follows from the last one, and what a history of plans tells. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from raymlops.control.rollout.decisions import FallBack, PlanDecision, Promote, Ramp, RollBack, StartTrial
from raymlops.records.plans import ServingPlan

__all__ = [
    "Progress",
    "champion_since",
    "former_champions",
    "next_plan",
    "progress",
    "served_lately",
    "share_since",
    "took_effect",
    "trial_plans",
    "trial_since",
    "versions_seen",
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
            # it answers nobody any more, and nobody puts it back without a word: that takes an unblock
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
    """Somebody else wrote the next plan first."""


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


def champion_since(plans: Sequence[ServingPlan]) -> datetime:
    """When the present champion took over. ``plans``: oldest first, at least one."""
    since = plans[-1].created_at
    for plan in reversed(plans):
        if plan.champion != plans[-1].champion:
            break
        since = plan.created_at
    return since


def trial_plans(plans: Sequence[ServingPlan]) -> Sequence[ServingPlan]:
    """The plans of the present trial, oldest first: one version beside one champion, whatever its share and mode.

    Args:
        plans: Oldest first, the last one with a trial.
    """
    version, champion = _tried(plans[-1]), plans[-1].champion
    first = len(plans)
    while first and (_tried(plans[first - 1]), plans[first - 1].champion) == (version, champion):
        first -= 1
    return plans[first:]


def trial_since(plans: Sequence[ServingPlan]) -> datetime:
    """When the present trial began. ``plans``: oldest first, the last one with a trial."""
    return trial_plans(plans)[0].created_at


def share_since(plans: Sequence[ServingPlan]) -> datetime:
    """Since when the version on trial has its present share. ``plans``: oldest first, the last one with a trial."""
    since = plans[-1].created_at
    for plan in reversed(trial_plans(plans)):
        if plan.trial != plans[-1].trial:
            break
        since = plan.created_at
    return since


def served_lately(plans: Sequence[ServingPlan], version: int, since: datetime) -> bool:
    """Whether a version was champion at ``since`` or later. ``plans``: oldest first."""
    ends = [plan.created_at for plan in plans[1:]] + [None]
    return any(
        plan.champion == version and plan.served and (end is None or end >= since)
        for plan, end in zip(plans, ends, strict=True)
    )


def former_champions(plans: Sequence[ServingPlan]) -> list[int]:
    """Versions that were champion before the present one and that nobody blocked, those that served last first."""
    newest, found = plans[-1], list[int]()
    for plan in reversed(plans[:-1]):
        if plan.served and plan.champion not in {newest.champion, *newest.blocked, *found}:
            found.append(plan.champion)
    return found


def _tried(plan: ServingPlan) -> int | None:
    return None if plan.trial is None else plan.trial.version


def versions_seen(plans: Sequence[ServingPlan]) -> frozenset[int]:
    """Every version that ever was champion, backup or on trial."""
    seen = set[int]()
    for plan in plans:
        seen.add(plan.champion)
        if plan.backup is not None:
            seen.add(plan.backup)
        if plan.trial is not None:
            seen.add(plan.trial.version)
    return frozenset(seen)
