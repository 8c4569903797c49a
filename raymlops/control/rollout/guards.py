"""How far a trial, or a probation, is from being decided, guard by guard. Pure."""

from __future__ import annotations

from typing import Any, Literal

from raymlops.config.control import TrialConfig
from raymlops.control.rollout.judge import BOUNDS_FROM_ROWS, Judgement, Verdict
from raymlops.records.record import Instant, Record

__all__ = ["Guard", "Standing", "standing_of"]


class Guard(Record):
    """One guard of a trial: a value beside its bound."""

    name: Literal["faults", "late", "worse", "as_good", "own_requests", "labelled_rows"]
    reached: bool
    """Whether it says its word: that the candidate must go (the first three), or may be promoted."""
    value: float | None
    """An e-value, a bound of the difference of the losses, or a count; ``None`` where too little was seen for one."""
    bar: float
    """The bound of the value: ``as_good`` must lie at or below it, ``worse`` above, the others at or above."""
    text: str


class Standing(Record):
    """How the candidate of a trial, or a new champion on probation, stands beside the version it is compared with."""

    kind: Literal["trial", "probation"]
    version: int
    compared_with: int
    since: Instant
    look_at: Instant
    verdict: Verdict
    reason: str
    guards: tuple[Guard, ...]
    labelled_share: float | None
    """Of the rows that are old enough, those with a label."""
    label_lean: float | None
    """Mean score of the labelled rows less that of all; far from 0, labels have come for some kinds of rows first."""
    facts: dict[str, Any]


def standing_of(
    kind: Literal["trial", "probation"],
    judgement: Judgement,
    config: TrialConfig,
    *,
    version: int,
    compared_with: int,
    since: Instant,
    look_at: Instant,
) -> Standing:
    """Tell a judgement guard by guard.

    Args:
        kind: Whether a trial or a probation was judged.
        judgement: As the judge gave it.
        config: The settings that it was judged by.
        version: The candidate, or the new champion.
        compared_with: The champion, or the former one.
        since: Start of the trial, or of the champion's time.
        look_at: Instant of the look.
    """
    facts = judgement.facts
    found = [_worse(facts)]
    if kind == "trial":
        found = [
            *(_failing(facts, what) for what in ("faults", "late")),
            *found,
            _as_good(facts),
            *_least(facts, config),
        ]
    return Standing(
        kind=kind,
        version=version,
        compared_with=compared_with,
        since=since,
        look_at=look_at,
        verdict=judgement.verdict,
        reason=judgement.reason,
        guards=tuple(found),
        labelled_share=facts.get("labelled_share"),
        label_lean=facts.get("label_lean"),
        facts=facts,
    )


def _failing(facts: dict[str, Any], what: Literal["faults", "late"]) -> Guard:
    name, called = ("fault", "faults") if what == "faults" else ("late", "late answers")
    value, bar = facts[f"{name}_evidence"], facts[f"{name}_bar"]
    champion = f"the champion's {facts[f'champion_{what}']} of {facts['champion_requests']}"
    counts = f"{called}: {facts[what]} of {facts['requests']} requests, {champion}"
    text = f"{counts}; e-value {value:.3g}, rolls back at {bar:g}"
    return Guard(name=what, reached=value >= bar, value=value, bar=bar, text=text)


def _worse(facts: dict[str, Any]) -> Guard:
    lower = facts.get("lower")
    text = f"worse: {_difference(facts)}; rolls back once the lower bound is above 0"
    return Guard(name="worse", reached=lower is not None and lower > 0, value=lower, bar=0.0, text=text)


def _as_good(facts: dict[str, Any]) -> Guard:
    upper, allowed = facts.get("upper"), facts.get("allowed", 0.0)
    text = f"as good: {_difference(facts)}; promotes once the upper bound is at most {allowed:.4g}"
    return Guard(name="as_good", reached=upper is not None and upper <= allowed, value=upper, bar=allowed, text=text)


def _least(facts: dict[str, Any], config: TrialConfig) -> list[Guard]:
    counts: tuple[tuple[Literal["own_requests", "labelled_rows"], str, int, int], ...] = (
        ("own_requests", "own requests at the present share", facts["own_requests"], config.min_requests),
        ("labelled_rows", "labelled rows compared", facts["compared_rows"], config.min_labelled_rows),
    )
    return [
        Guard(
            name=name,
            reached=count >= least,
            value=count,
            bar=least,
            text=f"{what}: {count} of {least} before promotion",
        )
        for name, what, count, least in counts
    ]


def _difference(facts: dict[str, Any]) -> str:
    rows = facts["compared_rows"]
    if "difference" not in facts:
        return "no labelled row could be compared"
    if "lower" not in facts:
        return f"loss differs by {facts['difference']:+.4g} over {rows} rows, no bounds before {BOUNDS_FROM_ROWS} rows"
    bounds = f"{facts['lower']:+.4g} to {facts['upper']:+.4g}"
    return f"loss differs by {facts['difference']:+.4g}, {bounds}, over {rows} rows"
