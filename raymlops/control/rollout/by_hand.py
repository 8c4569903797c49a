"""Orders of people about a trial, made complete: the next share, the trial to retry. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from raymlops.errors import InvalidTransition
from raymlops.records.plans import ServingPlan, Trial

__all__ = ["next_share", "trial_to_retry"]


def next_share(plan: ServingPlan) -> Trial | None:
    """The present trial with the next share of its ramp; ``None`` where promotion comes next.

    Raises:
        InvalidTransition: No version is on trial.
    """
    if plan.trial is None:
        raise InvalidTransition(f"no version of {plan.model} is on trial", model=plan.model)
    return plan.trial.next_step()


def trial_to_retry(plans: Sequence[ServingPlan]) -> Trial:
    """The newest trial that ended without its version becoming champion, as it began.

    Args:
        plans: Of one model, oldest first, at least one.

    Raises:
        InvalidTransition: A version is on trial, or no trial ended so.
    """
    model, tried = plans[-1].model, [plan for plan in plans if plan.trial is not None]
    if plans[-1].trial is not None:
        raise InvalidTransition(f"version {plans[-1].trial.version} of {model} is on trial already", model=model)
    newest = tried[-1].trial if tried else None
    if newest is None:
        raise InvalidTransition(f"no version of {model} was ever on trial", model=model)
    if any(plan.champion == newest.version for plan in plans if plan.number > tried[-1].number):
        raise InvalidTransition(f"the last trial of {model} made version {newest.version} champion", model=model)
    began = newest
    for plan in reversed(plans[: plans.index(tried[-1])]):
        if plan.trial is None or plan.trial.version != newest.version:
            break
        began = plan.trial
    return began
