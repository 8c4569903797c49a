"""Decisions about a champion that fails or has become worse, and about a version on trial. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from raymlops.config.control import ControlConfig, TrialConfig
from raymlops.control.rollout import plan_history
from raymlops.control.rollout.decisions import Ask, Decision, FallBack, Promote, Ramp, RollBack
from raymlops.control.rollout.judge import Judgement, Verdict, find_health_fault, judge, judge_probation
from raymlops.control.rollout.observation import Look, Observation
from raymlops.records.plans import ServingPlan, Trial

__all__ = ["backup_may_return", "decide_trial", "end_probation", "fall_back", "judge_look", "limits_of"]


def backup_may_return(plan: ServingPlan) -> bool:
    """Whether the controller may put the backup back: there is one, and neither of the two is blocked."""
    if plan.backup is None or plan.backup == plan.champion:
        return False
    return {plan.champion, plan.backup}.isdisjoint(plan.blocked)  # who blocked it chose what answers


def fall_back(
    seen: Observation, config: ControlConfig, *, impossible: Collection[str] = ()
) -> RollBack | FallBack | None:
    """Let the backup take over from a champion that fails too often; without one, the version that served last before.

    Where there is none either, the champion stays, and whatever it fails on is answered by the declared baseline.
    """
    plan, look = seen.plan, seen.health_look
    if look is None or look.health is None or plan.champion in plan.blocked:
        return None
    reason = find_health_fault(look.health, config.health)
    if reason is None:
        return None
    common: dict[str, Any] = {
        "model": seen.model,
        "at": seen.now,
        "facts": {**look.health.model_dump(), "look_at": look.at.isoformat()},
        "plan": plan.number,
        "version": plan.champion,
        "cause": "health",
    }
    if plan.backup is not None and plan.backup != plan.champion:
        text = f"{reason}: version {plan.backup} takes over"
        return RollBack(**common, reason=text, to=plan.backup) if backup_may_return(plan) else None
    for former in plan_history.former_champions(seen.plans):
        text = f"{reason}, and there is no backup: version {former}, a former champion, takes over"
        decision = FallBack(**common, reason=text, to=former)
        if decision.key not in impossible:
            return decision
    return None


def end_probation(seen: Observation, config: ControlConfig) -> RollBack | None:
    """Put the former champion back where the new one is surely worse."""
    plan, look = seen.plan, seen.probation_look
    if look is None or look.trial is None or plan.backup is None or not backup_may_return(plan):
        return None
    verdict = judge_probation(look.trial, config.trial)
    if verdict.verdict is not Verdict.ROLL_BACK:
        return None
    return RollBack(
        model=seen.model,
        at=seen.now,
        reason=f"champion {plan.champion} on probation: {verdict.reason}: version {plan.backup} is champion again",
        facts={**verdict.facts, "look_at": look.at.isoformat()},
        plan=plan.number,
        version=plan.champion,
        to=plan.backup,
        cause="probation",
    )


def decide_trial(
    seen: Observation,
    trial: Trial,
    config: ControlConfig,
    *,
    asked: Ask | None,
    impossible: Collection[str],
    rejections: int = 0,
) -> Decision | None:
    """The decision after a look at the version on trial; ``None`` between two looks.

    Args:
        seen: The platform.
        trial: The trial of the present plan.
        config: Limits and levels.
        asked: The newest question to a person about any trial of the model.
        impossible: Keys of decisions that could not be carried out.
        rejections: Candidates in a row before it that did not help.
    """
    look, plan = seen.trial_look, seen.plan
    if look is None or look.trial is None:
        return None
    verdict = judge_look(seen, look, trial, config.trial, asked=asked)
    shown = look.at > plan_history.share_since(seen.plans)  # a look from before the present share says nothing about it
    if verdict.verdict is Verdict.WAIT or (verdict.verdict is Verdict.PROMOTE and not shown):
        return None
    reason = f"version {trial.version} {verdict.reason}" + (f"; {look.problem}" if look.problem else "")
    common: dict[str, Any] = {
        "model": seen.model,
        "at": seen.now,
        "facts": {**verdict.facts, "look_at": look.at.isoformat()},
        "version": trial.version,
    }
    if verdict.verdict is Verdict.ASK:
        return Ask(**common, reason=reason, plan=plan_history.trial_plans(seen.plans)[0].number)
    if verdict.verdict is Verdict.PROMOTE:
        step = None if verdict.whole else trial.next_step()
        onward: Promote | Ramp
        if step is None:
            onward = Promote(**common, reason=reason, plan=plan.number, previous=plan.champion)
        else:
            share = f"{reason}: its share grows from {trial.weight:g} to {step.weight:g}"
            onward = Ramp(**common, reason=share, plan=plan.number, trial=step)
        if onward.key not in impossible:
            return onward
        what = "promoted" if step is None else f"given a share of {step.weight:g}"
        reason = f"version {trial.version} passed its trial but could not be {what}"
    return RollBack(**common, reason=reason, plan=plan.number, to=plan.champion, cause="trial", rejections=rejections)


def judge_look(seen: Observation, look: Look, trial: Trial, limits: TrialConfig, *, asked: Ask | None) -> Judgement:
    """Judge what a look at a trial showed.

    Raises:
        ValueError: The look shows no trial.
    """
    if look.trial is None:
        raise ValueError(f"a look at {look.kind} shows no trial")
    limits = limits_of(trial, limits)
    first = plan_history.trial_plans(seen.plans)[0]
    about_this = asked is not None and (asked.version, asked.plan) == (trial.version, first.number)
    return judge(
        look.trial,
        started_at=first.created_at,
        look_at=look.at,
        config=limits,
        served_lately=plan_history.served_lately(seen.plans, trial.version, first.created_at - limits.return_within),
        asked_at=asked.at if asked is not None and about_this else None,
    )


def limits_of(trial: Trial, limits: TrialConfig) -> TrialConfig:
    """The limits of one trial, which may ask for more labelled rows than is configured."""
    if trial.min_labelled_rows is None:
        return limits
    rows = trial.min_labelled_rows
    more = {"min_labelled_rows": rows, "max_labelled_rows": max(rows, limits.max_labelled_rows)}
    return limits.model_copy(update=more)
