"""Replaying a retraining policy over windows that were recorded, to compare policies without retraining. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from raymlops.control.triggering.policies import RetrainOutcome, RetrainPolicy, RetrainRequest
from raymlops.laboratory.probed import Probed
from raymlops.records.record import Instant, Record
from raymlops.records.windows import WindowRecord

__all__ = ["Backtested", "backtest"]


class Backtested(Record):
    """One decision the policy would have made."""

    at: Instant
    """When: the window's end plus the label delay."""
    outcome: RetrainOutcome
    """``retrain`` or ``block``."""
    reason: str
    triggers: tuple[str, ...]
    champion: int
    """Version that really served then."""


def backtest(
    records: Iterable[WindowRecord],
    policy: RetrainPolicy,
    *,
    label_delay: timedelta = timedelta(),
    probed: Probed | None = None,
) -> list[Backtested]:
    """The decisions ``policy`` would have made on these windows.

    What a retraining would have changed is not known: each one is taken to succeed and to replace the champion at
    once, so that windows are counted anew from there, and the windows stay as they were recorded.

    Args:
        records: Windows of one model, in any order.
        policy: The policy that decides.
        label_delay: How long after its end a window closed.
        probed: Results of probes of these windows.

    Returns:
        Retrainings and blocks, in the order of time.
    """
    windows = sorted(records, key=lambda window: window.end)
    since: datetime | None = windows[0].start if windows else None
    trained_at = since
    decided: list[Backtested] = []
    started: list[datetime] = []
    recent: list[WindowRecord] = []
    for window in windows:
        recent.append(window)
        now = window.end + label_delay
        shown = None if probed is None else _shown(probed, window, trained_at)
        request = RetrainRequest(now=now, champion_since=since or now, windows=recent, started=started, probed=shown)
        verdict = policy.evaluate(request)
        if verdict.outcome in {RetrainOutcome.RETRAIN, RetrainOutcome.BLOCK}:
            triggers = tuple(fired.trigger for fired in verdict.fired)
            decided.append(
                Backtested(
                    at=now, outcome=verdict.outcome, reason=verdict.reason, triggers=triggers, champion=window.champion
                )
            )
        if verdict.outcome is RetrainOutcome.RETRAIN:
            started.append(now)
            recent, since, trained_at = [], now, now
    return decided


def _shown(probed: Probed, window: WindowRecord, trained_at: datetime | None) -> Probed:
    """Results of probes as of a window's end, had they been scored at once."""
    past = tuple(each.model_copy(update={"at": each.end}) for each in probed.windows if each.end <= window.end)
    return Probed(windows=past, trained_at=trained_at)
