"""The history of a model's champions and trials, by its serving plans. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from raymlops.records.plans import ServingPlan

__all__ = [
    "champion_since",
    "former_champions",
    "served_lately",
    "share_since",
    "trial_plans",
    "trial_since",
    "versions_seen",
]


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
    """Former champions that are not blocked, the latest first."""
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
