"""Is the data broken? Apart from whether it has moved: broken data must not be trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from raymlops.config.monitoring import QualityConfig
from raymlops.monitoring.data_quality.traffic import Traffic, judge_traffic
from raymlops.monitoring.data_quality.verdict import Finding, Quality, Verdict
from raymlops.monitoring.profiles.profile import Profile
from raymlops.monitoring.profiles.reference import Reference

__all__ = ["Rows", "judge_quality"]

MIN_VARIETY = 3
RESTING_SHARE = 0.5
"""Share of the reference in one bin from which on a window that stays there is no fault by itself."""


@dataclass(frozen=True)
class Rows:
    """A window's rows, without their values.

    Attributes:
        answered: Rows answered.
        duplicates: Of these, rows whose request id and row number had been seen before.
        silence: From the newest event to the window's end.
        length: Of the window.
    """

    answered: int
    duplicates: int = 0
    silence: timedelta = timedelta(0)
    length: timedelta = timedelta(days=1)


def judge_quality(
    rows: Rows,
    reference: Reference | None,
    profile: Profile | None,
    config: QualityConfig,
    *,
    min_rows: int,
    reference_problem: str = "",
    usual: Sequence[Traffic] = (),
) -> Quality:
    """Judge one window's data.

    Args:
        rows: The window's rows.
        reference: The champion's, where it has one.
        profile: The window's, on the reference's bins.
        config: The limits of quality.
        min_rows: Shares of fewer rows than this are not judged.
        reference_problem: Why there is no reference.
        usual: Traffic of earlier windows like it; none where too few are known.
    """
    findings: list[Finding] = [*_traffic(rows, usual, config)]
    if reference is None:
        findings.append(("warn", f"drift is not judged: {reference_problem or 'the champion has no reference'}"))
    elif profile is not None and rows.answered:
        findings.extend(_schema(profile))
        if rows.answered >= min_rows:
            for name in reference.columns:
                if name not in profile.problems:
                    findings.extend(_column(name, reference, profile, config))
    order = ("block", "warn", "ok")
    findings.sort(key=lambda finding: order.index(finding[0]))
    return Quality(findings[0][0] if findings else "ok", tuple(reason for _, reason in findings))


def _traffic(rows: Rows, usual: Sequence[Traffic], config: QualityConfig) -> Iterator[Finding]:
    if rows.answered < config.min_rows:
        yield "block", f"{rows.answered} predictions, fewer than the {config.min_rows} expected: the traffic stopped"
    repeated = rows.duplicates / max(1, rows.answered)
    if repeated > config.warn_duplicate_share:
        verdict: Verdict = "block" if repeated > config.block_duplicate_share else "warn"
        yield verdict, f"{repeated:.1%} of the predictions repeat a request id and row"
    yield from judge_traffic(Traffic(rows.answered, rows.silence), rows.length, usual, config)


def _schema(profile: Profile) -> Iterator[Finding]:
    for name, problem in profile.problems.items():
        yield "block", f"{name}: {problem}"
    if profile.new_columns:
        yield "warn", f"new columns: {', '.join(profile.new_columns)}"


def _column(name: str, reference: Reference, profile: Profile, config: QualityConfig) -> Iterator[Finding]:
    before, after = reference.counts(name), profile.counts[name]
    for slot, what in ((-1, "missing"), (-2, "infinite")):
        was, now = float(before[slot]) / max(1, before.sum()), float(after[slot]) / max(1, after.sum())
        if now - was > config.warn_missing_share:
            verdict: Verdict = "block" if now - was > config.block_missing_share else "warn"
            yield verdict, f"{name}: {now:.1%} of the values are {what}, {was:.1%} in the reference"
    bins = reference.bins(name)
    present = max(1, int(after[:-2].sum()))
    if bins.kind == "categorical":
        unseen = float(after[bins.bins - 1]) / present
        if unseen > config.warn_unseen_share:
            verdict = "block" if unseen > config.block_unseen_share else "warn"
            yield verdict, f"{name}: {unseen:.1%} of the values are categories never seen before"
    elif bins.kind == "numeric" and bins.edges:
        # Never blocks: a season may leave the reference's range as a whole, and that is drift, not breakage.
        outside = float(after[0] + after[bins.bins - 1]) / present
        if outside > config.warn_unseen_share:
            yield "warn", f"{name}: {outside:.1%} of the values lie outside the reference's range"
    if present >= config.frozen_rows and reference.variety(name) >= MIN_VARIETY and profile.constant(name, bins):
        usual = reference.counts(name)[int(profile.counts[name].argmax())] / max(int(reference.counts(name).sum()), 1)
        # a column that rests at one value most of the time, as visibility does, may well do so for a whole window
        yield "warn" if usual >= RESTING_SHARE else "block", f"{name}: frozen: all {present} values are equal"
