"""Triggers of a retraining. Pure functions of closed windows; each gives its reason or ``None``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from raymlops.config.control import AuditCount, DriftCount, TriggersConfig, WindowCount
from raymlops.control.triggering.fired import Fired
from raymlops.control.triggering.overruled import REGRET, without_overruled
from raymlops.laboratory.probed import RegretStanding
from raymlops.monitoring.alerts.alarm import AlarmRule, AlarmState, several_columns
from raymlops.records.windows import WindowRecord

__all__ = ["alarm_rule", "find_distrusted", "find_fired", "labelled_rows"]

_SHOWN_FEATURES = 3


def find_fired(
    windows: Sequence[WindowRecord],
    *,
    champion_since: datetime,
    now: datetime,
    config: TriggersConfig,
    regret: RegretStanding | None = None,
) -> tuple[Fired, ...]:
    """The triggers that fire, the strongest reason first.

    Args:
        windows: The champion's closed windows, oldest first. Windows of broken data say nothing about the model and
            are left out of the counts.
        champion_since: When the champion took over.
        now: The present instant.
        config: Which triggers there are.
        regret: The probes' account of regret; it overrules drift and performance where it contradicts them.
    """
    sound = [window for window in windows if window.quality != "block"]
    config = without_overruled(config, regret, sound)
    fired = (
        _regret(regret, windows),
        _performance(sound, config.performance),
        _drift(sound, config.drift),
        _audit_mismatch(sound, config.audit_mismatch),
        _max_age(champion_since, now, config.max_age),
        _new_labelled_rows(sound, config.new_labelled_rows),
    )
    return tuple(each for each in fired if each is not None)


def find_distrusted(windows: Sequence[WindowRecord], *, config: TriggersConfig) -> tuple[Fired, ...]:
    """The triggers that the newest window would fire, were its data not broken: what looks like a worse model is not.

    Args:
        windows: The champion's closed windows, oldest first.
        config: Which triggers there are.

    Returns:
        None where the newest window is sound.
    """
    if not windows or windows[-1].quality != "block":
        return ()
    newest = windows[-1].model_copy(update={"quality": "ok"})
    counted = [*(window for window in windows[:-1] if window.quality != "block"), newest]
    fired = (_performance(counted, config.performance), _drift(counted, config.drift))
    return tuple(each for each in fired if each is not None)


def alarm_rule(count: DriftCount | None) -> AlarmRule:
    """When drift is an alarm: where it would start a retraining, if there is a trigger."""
    if count is None:
        return AlarmRule()
    return AlarmRule(n=count.n, of=count.of, clear_level=count.clear_level, clear_windows=count.clear_windows)


def labelled_rows(windows: Sequence[WindowRecord]) -> int:
    """Labelled rows in ``windows``, over all versions that answered."""
    return sum(part.labelled_rows for window in windows for part in window.performance.values() if part.rows)


def _regret(standing: RegretStanding | None, windows: Sequence[WindowRecord]) -> Fired | None:
    newest = windows[-1] if windows else None
    if standing is None or newest is None or newest.quality == "block" or standing.end != newest.end:
        return None
    facts = standing.model_dump(mode="json", exclude={"reason"})
    return Fired(trigger=REGRET, reason=standing.reason, facts=facts) if standing.pays else None


def _performance(windows: Sequence[WindowRecord], count: WindowCount | None) -> Fired | None:
    flagged = _persistent(windows, count, [window.degraded for window in windows])
    if flagged is None or count is None:
        return None
    newest = flagged[-1]
    reason = (
        f"champion degraded in {len(flagged)} of the last {count.of} windows: {newest.degraded_reason or 'see metrics'}"
    )
    realised = newest.performance.get(newest.champion)
    facts = {
        "windows": _ends(flagged),
        "metrics": realised.metrics if realised else {},
        "reference_metrics": newest.reference_metrics,
    }
    return Fired(trigger="performance", reason=reason, facts=facts)


def _drift(windows: Sequence[WindowRecord], count: DriftCount | None) -> Fired | None:
    if count is None:
        return None
    first = next((number for number, window in enumerate(windows) if window.drifted), None)
    if first is None:
        return None
    state, rule = AlarmState(), alarm_rule(count)
    for window in windows[first:]:
        state = state.after(window, rule)
    if state.alarm is None:
        return None
    flagged = [window for window in windows[-count.of :] if window.drifted]
    newest, together = windows[-1].columns, several_columns(windows[-1])
    scores = {
        name: newest[name].score
        for name in state.alarm.columns
        if name in newest and newest[name].score > rule.clear_level * newest[name].threshold
    }
    top = dict(sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:5])
    where = f"most of all in {', '.join(top) or 'predictions'}" if top or not together else f"of {together}"
    reason = f"drift in {len(flagged)} of the last {count.of} windows, {where}"
    return Fired(trigger="drift", reason=reason, facts={"windows": _ends(flagged), "scores": top})


def _max_age(champion_since: datetime, now: datetime, max_age: timedelta | None) -> Fired | None:
    if max_age is None or now - champion_since < max_age:
        return None
    age_days = (now - champion_since) / timedelta(days=1)
    reason = f"champion has served for {age_days:.1f} days, allowed are {max_age / timedelta(days=1):.1f}"
    return Fired(trigger="max_age", reason=reason, facts={"age_days": age_days})


def _new_labelled_rows(windows: Sequence[WindowRecord], least: int | None) -> Fired | None:
    if least is None or (rows := labelled_rows(windows)) < least:
        return None
    facts = {"labelled_rows": rows}
    return Fired(trigger="new_labelled_rows", reason=f"{rows} labelled rows since the champion took over", facts=facts)


def _audit_mismatch(windows: Sequence[WindowRecord], count: AuditCount | None) -> Fired | None:
    wrong = [count is not None and window.wrong_feature_share >= count.min_share for window in windows]
    flagged = _persistent(windows, count, wrong)
    if flagged is None or count is None:
        return None
    newest = flagged[-1]
    worst = sorted(newest.wrong_features.items(), key=lambda item: (-item[1], item[0]))
    shares = dict(worst[:_SHOWN_FEATURES])
    where = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    reason = f"served features differ from the tables in {len(flagged)} of the last {count.of} windows: {where}"
    facts = {
        "windows": _ends(flagged),
        "wrong_features": shares,
        "wrong_share": newest.wrong_feature_share,
        "audited_rows": newest.audited_rows,
    }
    return Fired(trigger="audit_mismatch", reason=reason, facts=facts)


def _persistent(
    windows: Sequence[WindowRecord], count: WindowCount | None, flags: Sequence[bool]
) -> list[WindowRecord] | None:
    """The flagged ones of the last M windows where they are N at least, and the newest is flagged still."""
    if count is None or not flags or not flags[-1]:
        return None
    flagged = [window for window, flag in zip(windows[-count.of :], flags[-count.of :], strict=True) if flag]
    return flagged if len(flagged) >= count.n else None


def _ends(windows: Sequence[WindowRecord]) -> list[str]:
    return [window.end.isoformat() for window in windows]
