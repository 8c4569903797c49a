"""Judging a trial, a probation and a champion's health. Pure; valid however often it is asked.

Bounds and e-values are those of ``raymlops.sequential``: the chance that a candidate as good as the champion is ever
rolled back stays below the level over all looks together, in whatever unit the loss is.
"""

from __future__ import annotations

import math
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
from pydantic import Field
from scipy import special

from raymlops.config.control import HealthConfig, TrialConfig
from raymlops.control.rollout.measuring.evidence import Health, Losses, Step, TrialEvidence
from raymlops.records.record import Record
from raymlops.sequential import bounded_bounds, fault_evidence, mean_bounds

__all__ = ["BOUNDS_FROM_ROWS", "Judgement", "Verdict", "exceeds_share", "find_health_fault", "judge", "judge_probation"]

BOUNDS_FROM_ROWS = 100
"""Bounds of unbounded losses are asymptotic: below so many rows none are formed."""
BOUNDS_FROM_BLOCKS = 20
"""Likewise of rows that may err together: below so many blocks none are formed."""
_TIGHTEST_ROWS = 500
_FAULTS, _LATE, _LOSS = 0.4, 0.2, 0.4
"""Shares of the chance of a false alarm."""


class Verdict(StrEnum):
    """The verdict of a look at a trial."""

    PROMOTE = "promote"
    """It is as good as the champion; where it has not had all shares of its ramp, it gets the next one."""
    ROLL_BACK = "roll_back"
    WAIT = "wait"
    ASK = "ask"
    """A person is to decide."""


class Judgement(Record):
    """A verdict with its reason and the figures it rests on."""

    verdict: Verdict
    reason: str
    whole: bool = False
    """Whether a promotion leaves out what is left of the ramp."""
    facts: dict[str, Any] = Field(default_factory=dict)


def judge(
    evidence: TrialEvidence,
    *,
    started_at: datetime,
    look_at: datetime,
    config: TrialConfig,
    served_lately: bool = False,
    asked_at: datetime | None = None,
) -> Judgement:
    """Decide about a trial.

    It is rolled back as soon as the candidate surely fails, is late or is wrong more than the champion. It is promoted
    once its loss is surely not above the champion's by more than the margin and it has answered enough requests itself.
    What is neither at the end of the trial's time or rows is inconclusive. Without traffic or labels, nothing is shown.

    Args:
        evidence: The evidence up to ``look_at``.
        started_at: Start of the trial.
        look_at: The instant of the look.
        config: Limits and levels.
        served_lately: Whether the candidate was champion not long ago, so that its own requests need not be awaited.
        asked_at: When a person was asked about this trial.
    """
    loss, faults = _loss_facts(evidence, config), _fault_facts(evidence, config)
    own_requests = evidence.steps[-1].candidate.requests if evidence.steps else evidence.candidate.requests
    facts = {**faults, **loss, "own_requests": own_requests, **_label_facts(evidence)}
    alarm = _alarm(facts)
    if alarm is not None:
        return _judgement(Verdict.ROLL_BACK, alarm, facts)
    compared = facts.get("compared_rows", 0)
    labels, requests = compared >= config.min_labelled_rows, served_lately or own_requests >= config.min_requests
    if labels and requests and facts.get("upper", math.inf) <= facts.get("allowed", 0.0):
        reason = (
            f"loss differs by {facts['difference']:+.4g}, at most {facts['upper']:+.4g}, over {compared} rows: "
            f"as good as the champion, to {facts['allowed']:.4g}"
        )
        return Judgement(verdict=Verdict.PROMOTE, reason=reason, whole=served_lately, facts=facts)
    ended = look_at - started_at >= config.max_duration or compared >= config.max_labelled_rows
    if not ended:
        return _judgement(Verdict.WAIT, "not enough seen yet", facts)
    return _inconclusive(facts, config, labels=labels, requests=requests, look_at=look_at, asked_at=asked_at)


def judge_probation(evidence: TrialEvidence, config: TrialConfig) -> Judgement:
    """Decide whether a new champion stays: it goes once it is surely worse than the former one.

    Args:
        evidence: The new champion as candidate, compared with the former one.
        config: Limits and levels.
    """
    facts = {**_loss_facts(evidence, config), **_label_facts(evidence)}
    alarm = _alarm(facts)
    if alarm is not None:
        return _judgement(Verdict.ROLL_BACK, alarm, facts)
    return _judgement(Verdict.WAIT, "not worse than the former champion as far as is known", facts)


def find_health_fault(health: Health, config: HealthConfig) -> str | None:
    """Why the champion must go: it fails too often. ``None`` where it does not."""
    if health.rows >= config.min_rows and exceeds_share(
        health.rows, health.faults, config.max_fault_share, config.significance
    ):
        return f"champion failed on {health.faults} of {health.rows} rows"
    return None


def exceeds_share(rows: int, faults: int, share: float, significance: float) -> bool:
    """Whether the share of faults is significantly above ``share``.

    The likelihood of the faults, averaged over all shares above ``share``, against their likelihood at ``share``.
    """
    if faults == 0 or share >= 1:
        return False
    if share <= 0:
        return True
    passed = rows - faults
    above = special.betaincc(faults + 1, passed + 1, share)
    if above <= 0:
        return False
    mixture = special.betaln(faults + 1, passed + 1) + math.log(above) - math.log1p(-share)
    return bool(mixture - faults * math.log(share) - passed * math.log1p(-share) >= -math.log(significance))


def _inconclusive(
    facts: dict[str, Any],
    config: TrialConfig,
    *,
    labels: bool,
    requests: bool,
    look_at: datetime,
    asked_at: datetime | None,
) -> Judgement:
    """The verdict about a trial that has ended undecided."""
    compared = facts.get("compared_rows", 0)
    if not labels:
        what = f"{compared} labelled rows were compared of {config.min_labelled_rows}"
    elif not requests:
        what = f"the candidate answered {facts['own_requests']} requests of {config.min_requests}"
    else:
        what = (
            f"loss differs by {facts['difference']:+.4g}, {facts.get('lower', -math.inf):+.4g} to "
            f"{facts.get('upper', math.inf):+.4g}, over {compared} rows: neither worse nor as good, "
            f"to {facts['allowed']:.4g}"
        )
    if config.inconclusive == "promote_if_not_worse" and labels and requests and facts["difference"] <= 0:
        reason = f"the trial is over and inconclusive, and the candidate no worse: {what}"
        return Judgement(verdict=Verdict.PROMOTE, reason=reason, whole=True, facts=facts)
    if config.inconclusive == "ask":
        if asked_at is None:
            return _judgement(Verdict.ASK, f"the trial is over and inconclusive: {what}", facts)
        if look_at - asked_at < config.ask_for:
            return _judgement(Verdict.WAIT, f"a person was asked at {asked_at.isoformat()}: {what}", facts)
        what = f"nobody who was asked has answered; {what}"
    return _judgement(Verdict.ROLL_BACK, f"the trial is over and inconclusive, the champion stays: {what}", facts)


def _alarm(facts: dict[str, Any]) -> str | None:
    """Why a candidate must go, where it must."""
    for what, verb in (("fault", "failed on"), ("late", "was late on")):
        count = "faults" if what == "fault" else "late"
        if facts.get(f"{what}_evidence", 0.0) >= facts.get(f"{what}_bar", math.inf):
            champion = f"the champion on {facts[f'champion_{count}']} of {facts['champion_requests']}"
            e_value = f"e-value {facts[f'{what}_evidence']:.3g} of {facts[f'{what}_bar']:g}"
            return f"{verb} {facts[count]} of {facts['requests']} requests, {champion}: {e_value}"
    if facts.get("lower", 0.0) > 0:
        return (
            f"loss is worse by {facts['difference']:.4g}, at least {facts['lower']:.4g}, "
            f"over {facts['compared_rows']} rows"
        )
    return None


def _fault_facts(evidence: TrialEvidence, config: TrialConfig) -> dict[str, Any]:
    candidate, champion = evidence.candidate, evidence.champion
    steps = evidence.steps or (Step(share=0.0, candidate=candidate, champion=champion),)

    def e_value(kind: str) -> float:
        counted = [(_share_of(step), getattr(step.candidate, kind), getattr(step.champion, kind)) for step in steps]
        return fault_evidence(counted, margin=config.fault_margin)

    return {
        "requests": candidate.requests,
        "faults": candidate.faults,
        "late": candidate.late,
        "champion_requests": champion.requests,
        "champion_faults": champion.faults,
        "champion_late": champion.late,
        "fault_evidence": e_value("faults"),
        "fault_bar": 1 / (_FAULTS * config.significance),
        "late_evidence": e_value("late"),
        "late_bar": 1 / (_LATE * config.significance),
    }


def _share_of(step: Step) -> float:
    """The candidate's share of what was asked.

    Where callers stick to a version, it may be far from the planned one; the larger of both says the less against the
    candidate, so that the level holds whichever is right.
    """
    asked = step.candidate.requests + step.champion.requests
    return max(step.share, step.candidate.requests / asked if asked else 0.0)


def _loss_facts(evidence: TrialEvidence, config: TrialConfig) -> dict[str, Any]:
    """The comparison: pairs where there are any; bounds where there are rows enough."""
    candidate, champion, paired = evidence.candidate.losses, evidence.champion.losses, evidence.paired
    facts: dict[str, Any] = {
        "labelled_rows": candidate.rows,
        "champion_labelled_rows": champion.rows,
        "compared_rows": 0,
    }
    exact = evidence.right_or_wrong and paired is not None and not paired.blocks
    apart = min(candidate.rows, champion.rows) >= BOUNDS_FROM_ROWS
    if paired is not None and paired.rows and (exact or paired.rows >= BOUNDS_FROM_ROWS or not apart):
        level = champion.mean if evidence.paired_level is None else evidence.paired_level
        rows, difference, sd = paired.rows, paired.mean, paired.sd
        enough = rows >= BOUNDS_FROM_ROWS and (not paired.blocks or paired.blocks >= BOUNDS_FROM_BLOCKS)
    elif apart:
        rows, level, difference = candidate.rows + champion.rows, champion.mean, candidate.mean - champion.mean
        sd, enough, exact = math.sqrt(rows * (candidate.mean_variance + champion.mean_variance)), True, False
    else:
        return facts
    facts |= {"difference": difference, "compared_rows": rows, "champion_loss": level, "allowed": config.margin * level}
    down, up = _LOSS * config.significance, config.significance
    if exact and paired is not None:
        return facts | {"lower": _bounds_of_signs(paired, down)[0], "upper": _bounds_of_signs(paired, up)[1]}
    lower = mean_bounds(rows, difference, sd, alpha=down, n_opt=_TIGHTEST_ROWS)[0]
    upper = mean_bounds(rows, difference, sd, alpha=up, n_opt=_TIGHTEST_ROWS)[1]
    if enough and math.isfinite(float(lower)):
        facts |= {"lower": float(lower), "upper": float(upper)}
    return facts


def _bounds_of_signs(paired: Losses, alpha: float) -> tuple[float, float]:
    """Exact bounds: a difference of two losses of 0 or 1 is -1, 0 or 1, and the sums tell how often each occurred."""
    worse, better = (paired.square_total + paired.total) / 2, (paired.square_total - paired.total) / 2
    counts = np.array([better, paired.rows - paired.square_total, worse])
    return bounded_bounds(np.array([-1.0, 0.0, 1.0]), counts, low=-1.0, high=1.0, alpha=alpha)


def _label_facts(evidence: TrialEvidence) -> dict[str, Any]:
    labelled = evidence.labelled
    if not labelled.rows:
        return {}
    return {"labelled_share": labelled.labelled_rows / labelled.rows, "label_lean": labelled.lean}


def _judgement(verdict: Verdict, reason: str, facts: dict[str, Any]) -> Judgement:
    return Judgement(verdict=verdict, reason=reason, facts=facts)
