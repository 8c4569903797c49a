"""Judging a trial, and a champion's health. Pure; valid however often it is asked.

Both tests are looked at again and again while data comes in, which breaks a fixed-sample test: the chance that it
fires some time on two equal models grows with every look. A mixture of likelihood ratios is a non-negative martingale
where there is no difference, so that it exceeds 1/alpha with a chance of at most alpha over all looks together.
"""

from __future__ import annotations

import math
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field
from scipy import special

from raymlops.config.control import HealthConfig, TrialConfig
from raymlops.control.rollout.evidence import Arm, Health, Losses, TrialEvidence
from raymlops.records.record import Record

__all__ = ["Judgement", "Verdict", "exceeds_share", "find_sickness", "judge", "reach"]


class Verdict(StrEnum):
    """What a look at a trial says."""

    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    WAIT = "wait"


class Judgement(Record):
    """A verdict with its reason and the figures it rests on."""

    verdict: Verdict
    reason: str
    facts: dict[str, Any] = Field(default_factory=dict)


def judge(evidence: TrialEvidence, *, started_at: datetime, look_at: datetime, config: TrialConfig) -> Judgement:
    """Decide about a trial.

    It is rolled back as soon as the candidate fails too often, or is significantly worse. It is promoted once it has
    answered enough labelled rows and its loss is not above the champion's by more than the tolerance. At the end of
    the trial's time, what was not promoted is rolled back.

    Args:
        evidence: What was seen up to ``look_at``.
        started_at: Start of the trial.
        look_at: The instant of the look.
        config: Limits and levels.
    """
    candidate, champion = evidence.candidate, evidence.champion
    comparison = _compare(evidence, config)
    facts: dict[str, Any] = {
        "rows": candidate.rows,
        "faults": candidate.faults,
        "labelled_rows": candidate.losses.rows,
        "champion_labelled_rows": champion.losses.rows,
        **comparison,
    }
    if exceeds_share(candidate, config.max_fault_share, config.significance, config.min_rows):
        return _judgement(Verdict.ROLL_BACK, f"failed on {candidate.faults} of {candidate.rows} rows", facts)
    difference = comparison.get("difference")
    if difference is not None and difference > comparison["reach"]:
        reason = (
            f"loss is worse by {difference:.4f} ± {comparison['reach']:.4f} over {comparison['compared_rows']} rows"
        )
        return _judgement(Verdict.ROLL_BACK, reason, facts)
    enough = candidate.losses.rows >= config.min_labelled_rows and difference is not None
    if enough and difference is not None and difference <= config.tolerance * comparison["champion_loss"]:
        reason = f"loss differs by {difference:+.4f} over {comparison['compared_rows']} rows, as good as the champion"
        return _judgement(Verdict.PROMOTE, reason, facts)
    if look_at - started_at < config.max_duration:
        return _judgement(Verdict.WAIT, "not enough seen yet", facts)
    if not enough:
        reason = f"time is up with {candidate.losses.rows} labelled rows of {config.min_labelled_rows}"
    else:
        reason = f"time is up and loss is still worse by {difference:.4f}, beyond the tolerance"
    return _judgement(Verdict.ROLL_BACK, reason, facts)


def find_sickness(health: Health, config: HealthConfig) -> str | None:
    """Why the champion must go: it fails too often. ``None`` where it does not."""
    arm = Arm(rows=health.rows, faults=health.faults)
    if exceeds_share(arm, config.max_fault_share, config.significance, config.min_rows):
        return f"champion failed on {health.faults} of {health.rows} rows"
    return None


def exceeds_share(arm: Arm, share: float, significance: float, min_rows: int) -> bool:
    """Whether the share of faults is significantly above ``share``.

    The likelihood of the faults, averaged over all shares above ``share``, against their likelihood at ``share``.
    """
    if arm.rows < min_rows or arm.faults == 0 or share >= 1:
        return False
    if share <= 0:
        return True
    passed = arm.rows - arm.faults
    above = special.betaincc(arm.faults + 1, passed + 1, share)
    if above <= 0:
        return False
    mixture = special.betaln(arm.faults + 1, passed + 1) + math.log(above) - math.log1p(-share)
    return bool(mixture - arm.faults * math.log(share) - passed * math.log1p(-share) >= -math.log(significance))


def reach(variance: float, effect: float, significance: float) -> float:
    """Half width of a confidence sequence around a measured difference: it holds at all looks together.

    Args:
        variance: Of the measured difference.
        effect: Scale of the differences it is sharpest at; the scale of the normal mixture.
        significance: Chance that it ever misses the true difference.
    """
    if not math.isfinite(variance):
        return math.inf
    if variance <= 0:
        return 0.0
    mixed = effect**2
    return math.sqrt(variance * (1 + variance / mixed) * (math.log1p(mixed / variance) - 2 * math.log(significance)))


def _compare(evidence: TrialEvidence, config: TrialConfig) -> dict[str, Any]:
    """The figures of the comparison; empty where there is too little to compare."""
    candidate, champion, paired = evidence.candidate.losses, evidence.champion.losses, evidence.paired
    if paired is not None and paired.rows >= config.min_labelled_rows:
        return _figures(
            paired.mean, paired.mean_variance, paired.rows, _paired_level(champion, candidate, paired), config
        )
    if min(candidate.rows, champion.rows) < config.min_labelled_rows:
        return {}
    difference, variance = candidate.mean - champion.mean, candidate.mean_variance + champion.mean_variance
    return _figures(difference, variance, candidate.rows + champion.rows, champion.mean, config)


def _paired_level(champion: Losses, candidate: Losses, paired: Losses) -> float:
    """The champion's loss that a tolerance is a share of; from the candidate's where the champion answered none."""
    return champion.mean if champion.rows else max(candidate.mean - paired.mean, 0.0)


def _figures(difference: float, variance: float, rows: int, level: float, config: TrialConfig) -> dict[str, Any]:
    return {
        "difference": difference,
        "reach": reach(variance, config.effect, config.significance),
        "champion_loss": level,
        "compared_rows": rows,
    }


def _judgement(verdict: Verdict, reason: str, facts: dict[str, Any]) -> Judgement:
    return Judgement(verdict=verdict, reason=reason, facts=facts)
