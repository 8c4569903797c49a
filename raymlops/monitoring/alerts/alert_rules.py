"""From closed windows and the ledger to alerts. Pure: the same history gives the same alerts, whenever it is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from raymlops.monitoring.alerts.alarm import AlarmRule, AlarmState, several_columns
from raymlops.records.ledger import LedgerEntry
from raymlops.records.people.alerts import Alert, AlertCursor, Cause, Severity, Standing
from raymlops.records.windows import WindowRecord

__all__ = ["AlertRule", "alert_of_entry", "read_windows"]

_SEVERITIES: dict[Cause, Severity] = {
    "quality": "critical",
    "drift": "warning",
    "degraded": "critical",
    "fallback": "warning",
    "retraining_failed": "critical",
    "rolled_back": "critical",
    "abandoned": "warning",
    "promoted": "info",
    "trial_inconclusive": "warning",
    "events_lost": "critical",
    "build_failed": "critical",
    "deployed": "info",
}
_SHOWN_COLUMNS = 5


@dataclass(frozen=True)
class AlertRule:
    """When a condition stands.

    Attributes:
        drift: N of M windows that raise drift, and what clears it.
        degraded_n: So many of the last ``degraded_of`` windows with a verdict must be degraded, the newest among them.
        degraded_of: So many windows with a verdict are looked at.
        min_labelled_rows: A window with fewer labelled rows of its champion has no verdict.
        min_fallback_share: Share of a window's rows that a fallback must have answered.
    """

    drift: AlarmRule = field(default_factory=AlarmRule)
    degraded_n: int = 1
    degraded_of: int = 1
    min_labelled_rows: int = 200
    min_fallback_share: float = 0.01


def read_windows(
    cursor: AlertCursor, windows: Sequence[WindowRecord], rule: AlertRule
) -> tuple[AlertCursor, list[Alert]]:
    """Read what has closed since, and what has changed by late labels.

    Args:
        cursor: The end of the last reading.
        windows: Of the cursor's model, oldest first. Those that end after ``cursor.until`` are new; the others are
            there for their verdicts, which late labels may have changed.
        rule: When conditions stand.

    Returns:
        The cursor moved on, and the alerts, oldest first. A condition that stands is raised once, until it is cleared.
    """
    reading = _Reading(cursor, rule)
    known = [window for window in windows if cursor.until is not None and window.end <= cursor.until]
    for window in windows[len(known) :]:
        known.append(window)
        reading.add(window)
        reading.judge(known)
    if known:
        reading.judge(known)
    return reading.cursor, reading.alerts


class _Reading:
    """One pass over a model's windows."""

    def __init__(self, cursor: AlertCursor, rule: AlertRule) -> None:
        self.cursor = cursor
        self.alerts: list[Alert] = []
        self._rule = rule

    def add(self, window: WindowRecord) -> None:
        """Add the alerts of a closed window whose facts no longer change: quality, drift, fallbacks."""
        if window.quality == "block":
            reason = next(iter(window.quality_reasons), "see the report")
            self._raise("quality", window, f"data is broken: {reason}", {"reasons": list(window.quality_reasons)})
        else:
            self._clear("quality", window, "data is sound again")
        self._follow_drift(window)
        share = window.fallbacks / window.rows if window.rows else 0.0
        facts = {"fallbacks": window.fallbacks, "rows": window.rows}
        if window.fallbacks and share >= self._rule.min_fallback_share:
            self._raise("fallback", window, f"a fallback answered {share:.1%} of the rows", facts)
        elif window.rows:
            self._clear("fallback", window, "the planned versions answer again")
        self.cursor = self.cursor.model_copy(update={"until": window.end})

    def judge(self, windows: Sequence[WindowRecord]) -> None:
        """Whether the champion is worse, by the windows that have a verdict, which late labels may still change."""
        champion = windows[-1].champion
        standing = self.cursor.standing.get("degraded")
        if standing is not None and standing.champion != champion:
            self._clear("degraded", windows[-1], f"version {champion} is champion now")
        judged = [window for window in windows if window.champion == champion and self._has_verdict(window)]
        if not judged:
            return
        newest, flagged = judged[-1], [window for window in judged[-self._rule.degraded_of :] if window.degraded]
        if newest.degraded and len(flagged) >= self._rule.degraded_n:
            metrics = newest.performance[champion].metrics if champion in newest.performance else {}
            facts = {"metrics": metrics, "reference_metrics": newest.reference_metrics, "windows": len(flagged)}
            self._raise("degraded", newest, f"the model is worse: {newest.degraded_reason or 'see metrics'}", facts)
        elif not newest.degraded:
            self._clear("degraded", newest, "the model is as good as its reference again")

    def _has_verdict(self, window: WindowRecord) -> bool:
        performance = window.performance.get(window.champion)
        labelled = performance.labelled_rows if performance is not None else 0
        return window.degraded or labelled >= self._rule.min_labelled_rows

    def _follow_drift(self, window: WindowRecord) -> None:
        cursor = self.cursor
        before = AlarmState(cursor.champion, cursor.recent, cursor.alarm, cursor.calm)
        after = before.after(window, self._rule.drift)
        self.cursor = cursor.model_copy(
            update={"champion": after.champion, "recent": after.recent, "alarm": after.alarm, "calm": after.calm}
        )
        ended = before.alarm is not None and (
            after.alarm is None or after.alarm.raised_at != before.alarm.raised_at  # another champion, another alarm
        )
        if ended:
            self._clear("drift", window, "the inputs are back, or another version is champion")
        if after.alarm is not None:
            scores = _largest(window, after.alarm.columns)
            together = "" if scores else several_columns(window)
            where = together or f"most of all in {', '.join(scores) or 'the predictions'}"
            facts = {"columns": list(after.alarm.columns), "score_over_threshold": scores}
            self._raise("drift", window, f"the data has moved, {where}", facts)

    def _raise(self, cause: Cause, window: WindowRecord, summary: str, facts: dict[str, Any]) -> None:
        if cause in self.cursor.standing:
            return
        number = self.cursor.counts.get(cause, 0) + 1
        key = f"{window.model}/{cause}/{window.end.isoformat()}/{number}"
        standing = Standing(key=key, since=window.end, champion=window.champion)
        self._move(counts={**self.cursor.counts, cause: number}, standing={**self.cursor.standing, cause: standing})
        self._add(key, cause, "raised", window, summary, {"champion": window.champion, **facts})

    def _clear(self, cause: Cause, window: WindowRecord, summary: str) -> None:
        standing = self.cursor.standing.get(cause)
        if standing is None:
            return
        self._move(standing={name: one for name, one in self.cursor.standing.items() if name != cause})
        facts = {"champion": window.champion, "raised": standing.key, "raised_at": standing.since.isoformat()}
        self._add(f"{standing.key}/cleared", cause, "cleared", window, summary, facts)

    def _move(self, **changes: object) -> None:
        self.cursor = self.cursor.model_copy(update=changes)

    def _add(
        self,
        key: str,
        cause: Cause,
        state: Literal["raised", "cleared"],
        window: WindowRecord,
        summary: str,
        facts: dict[str, Any],
    ) -> None:
        self.alerts.append(
            Alert(
                key=key,
                model=window.model,
                cause=cause,
                state=state,
                severity=_SEVERITIES[cause],
                at=window.end,
                summary=f"{window.model}: {summary}",
                facts=facts,
            )
        )


def alert_of_entry(entry: LedgerEntry) -> Alert | None:
    """The alert of a ledger entry; ``None`` where it is none.

    Of retrainings in a row that do not help, the first one makes an alert; a retraining that is tried again makes none.
    """
    cause = _cause(entry)
    if cause is None or entry.evidence.get("rejections", 0) > 0 or not entry.evidence.get("final", True):
        return None
    severity = _SEVERITIES[cause]
    if cause == "rolled_back" and entry.evidence.get("cause") not in {"health", "probation", "floor"}:
        severity = "warning"
    return Alert(
        key=f"{entry.subject}/{cause}/{entry.sequence}",
        model=entry.subject,
        cause=cause,
        state="happened",
        severity=severity,
        at=entry.at,
        summary=f"{entry.subject}: {cause.replace('_', ' ')}: {entry.reason}",
        facts={"ledger_sequence": entry.sequence, "action": entry.action, **_kept(entry.evidence)},
    )


def _cause(entry: LedgerEntry) -> Cause | None:
    causes: dict[str, Cause] = {
        "run_failed": "retraining_failed",
        "roll_back": "rolled_back",
        "fall_back": "rolled_back",
        "promote": "promoted",
        "ask": "trial_inconclusive",
        "events_lost": "events_lost",
        "commit_failed": "build_failed",
        "commit_deployed": "deployed",
    }
    if entry.action == "abandon" and not entry.evidence.get("superseded", False):
        return "abandoned"
    return causes.get(entry.action)


def _kept(evidence: dict[str, Any]) -> dict[str, Any]:
    names = ["version", "previous", "to", "cause", "run_id", "decision", "final", "replica", "rows", "refused"]
    names += ["commit", "branch", "environment", "bundle"]  # of a push
    return {name: evidence[name] for name in names if name in evidence}


def _largest(window: WindowRecord, names: Iterable[str]) -> dict[str, float]:
    """Score over threshold of the columns that explain most: by importance where it is known, largest first."""
    found = {name: window.columns[name] for name in names if name in window.columns}
    ratios = {name: one.score / one.threshold if one.threshold > 0 else 0.0 for name, one in found.items()}
    weights = {name: ratios[name] * (1.0 if one.importance is None else one.importance) for name, one in found.items()}
    ranked = sorted(found, key=lambda name: (-weights[name], -ratios[name], name))
    return {name: round(ratios[name], 3) for name in ranked[:_SHOWN_COLUMNS]}
