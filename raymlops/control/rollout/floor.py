"""The floor of a champion: a window below it is a reason to fall back, even where no candidate is as good. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from raymlops.config.control import AT_LEAST, ControlConfig, FallbackConfig
from raymlops.control.rollout.decisions import FallBack
from raymlops.control.rollout.judge import BOUNDS_FROM_ROWS, Judgement, Verdict, judge_probation
from raymlops.control.rollout.observation import Look, Observation
from raymlops.records.plans import Baseline
from raymlops.records.windows import Performance, WindowRecord

__all__ = ["decide_floor", "find_fallen", "floor_standing"]

_SMALLEST = 1e-12


def find_fallen(windows: Sequence[WindowRecord], config: FallbackConfig) -> tuple[WindowRecord, ...]:
    """The windows that show that a champion lies below its floor; none where they do not show it.

    Broken data says nothing about the champion: such windows are left out, and where the newest one is broken,
    nothing is shown.

    Args:
        windows: The champion's closed windows, oldest first.
        config: The floor, and how many windows it takes.
    """
    count = config.windows
    if count is None or not windows or windows[-1].quality == "block":
        return ()
    looked_at = [window for window in windows if window.quality != "block"][-count.of :]
    fallen = [window for window in looked_at if _why_below(window, config)]
    return tuple(looked_at) if len(fallen) >= count.n and fallen[-1] is looked_at[-1] else ()


def floor_standing(seen: Observation, windows: Sequence[WindowRecord], config: ControlConfig) -> str:
    """The standing of a champion whose newest labelled window lies below its floor, in words; empty where it does not.

    Args:
        seen: The platform.
        windows: The champion's closed windows, oldest first.
        config: The floor.
    """
    if config.fallback.windows is None or not windows:
        return ""
    why = _why_below(windows[-1], config.fallback)
    if not why:
        return ""
    kept = f"version {seen.plan.champion} is below its floor: {why}; it stays"
    if windows[-1].quality == "block":
        broken = ", ".join(windows[-1].quality_reasons) or "its quality check failed"
        return f"{kept}, for the data of that window is broken: {broken}"
    if not find_fallen(windows, config.fallback):
        count = config.fallback.windows
        return f"{kept} until that is so in {count.n} of {count.of} windows"
    return f"{kept} until a candidate, a former version or the declared baseline is surely better"


def decide_floor(
    seen: Observation, windows: Sequence[WindowRecord], config: ControlConfig, *, impossible: Collection[str]
) -> FallBack | None:
    """Let the former version that fits the newest labelled windows best take over, or else the declared baseline.

    Args:
        seen: The platform, with a look at former versions.
        windows: The champion's closed windows, oldest first.
        config: The floor, and the level at which a version is surely better.
        impossible: Keys of decisions that could not be carried out.
    """
    look, plan = seen.floor_look, seen.plan
    fallen = find_fallen(windows, config.fallback)
    if look is None or not fallen or plan.champion in plan.blocked:
        return None
    below = f"champion {plan.champion} is below its floor: {_why_below(fallen[-1], config.fallback)}"
    facts = {"look_at": look.at.isoformat(), "windows": [window.end.isoformat() for window in fallen]}
    for version, verdict in _better(look, config):
        facts_of = {**facts, "former": version, **verdict.facts}
        reason = f"{below}; it is worse than version {version} by {verdict.facts['difference']:.4g}, at least "
        reason += f"{verdict.facts['lower']:.4g}, over {verdict.facts['compared_rows']} rows: that takes over"
        decision = _fall(seen, reason, facts_of, to=version)
        if decision.key not in impossible:
            return decision
    constant = _baseline_loss(fallen[-1], plan.baseline)
    near = _near(fallen[-1].performance[plan.champion], "log_loss", 0)
    if constant is None or near is None or near <= constant:
        return None
    reason = f"{below}; its log loss is at least {near:.4g}, that of the declared baseline {constant:.4g}: "
    decision = _fall(seen, f"{reason}the baseline answers", {**facts, "baseline_loss": constant}, to=None)
    return None if decision.key in impossible else decision


def _fall(seen: Observation, reason: str, facts: dict[str, object], *, to: int | None) -> FallBack:
    plan = seen.plan
    return FallBack(
        model=seen.model,
        at=seen.now,
        reason=reason,
        facts=facts,
        plan=plan.number,
        version=plan.champion,
        to=to,
        cause="floor",
    )


def _better(look: Look, config: ControlConfig) -> list[tuple[int, Judgement]]:
    """The former versions that the champion is surely worse than, the best first; the level holds for all together."""
    significance = config.trial.significance / max(len(look.former), 1)
    limits = config.trial.model_copy(update={"significance": significance})
    judged = [(version, judge_probation(evidence, limits)) for version, evidence in look.former]
    better = [(version, verdict) for version, verdict in judged if verdict.verdict is Verdict.ROLL_BACK]
    return sorted(better, key=lambda each: -each[1].facts["difference"])


def _why_below(window: WindowRecord, config: FallbackConfig) -> str:
    """Why a champion lay below its floor in one window, by the near end of each metric's interval."""
    performance = window.performance.get(window.champion)
    if performance is None or performance.labelled_rows < BOUNDS_FROM_ROWS:
        return ""
    for metric, floor in sorted(config.floor.items()):
        high_is_good = metric in AT_LEAST
        near = _near(performance, metric, 1 if high_is_good else 0)
        if near is not None and (near < floor if high_is_good else near > floor):
            rule = "at least" if high_is_good else "at most"
            return f"{metric} {performance.metrics[metric]:.4g}, must be {rule} {floor:g}"
    share, near = performance.metrics.get("positive_share"), _near(performance, "log_loss", 0)
    if share is None or near is None:
        return ""
    constant = _log_loss(share, share)
    if near <= constant:
        return ""
    return f"log loss {performance.metrics['log_loss']:.4g}, the best constant answer would have had {constant:.4g}"


def _near(performance: Performance, metric: str, end: int) -> float | None:
    """The end of a metric's interval that speaks for the champion; the metric itself where it has no interval."""
    if metric in performance.intervals:
        return performance.intervals[metric][end]
    return performance.metrics.get(metric)


def _baseline_loss(window: WindowRecord, baseline: Baseline | None) -> float | None:
    """Log loss that the declared baseline would have had in a window; ``None`` where that cannot be told."""
    share = window.performance[window.champion].metrics.get("positive_share")
    if share is None or baseline is None or len(baseline.probability) != 2:
        return None
    return _log_loss(share, baseline.probability[1])


def _log_loss(share: float, answer: float) -> float:
    """Of one answer to rows of which a share is positive."""
    chance = min(max(answer, _SMALLEST), 1 - _SMALLEST)
    return -share * math.log(chance) - (1 - share) * math.log(1 - chance)
