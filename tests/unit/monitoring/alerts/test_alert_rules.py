from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.monitoring.alerts.alert_rules import AlertRule, alert_of_entry, read_windows
from raymlops.records.ledger import LedgerEntry
from raymlops.records.people.alerts import Alert, AlertCursor
from raymlops.records.windows import ColumnDrift, MultivariateDrift, Performance, WindowRecord

START = datetime(2013, 1, 7, tzinfo=UTC)
DAY = timedelta(days=1)
RULE = AlertRule(min_labelled_rows=10)


def window(day: int, **changes: Any) -> WindowRecord:
    changes = {"champion": 1, "rows": 100, **changes}
    return WindowRecord(model="churn", start=START + day * DAY, end=START + (day + 1) * DAY, **changes)


def labelled(day: int, *, degraded: bool, rows: int = 50, champion: int = 1) -> WindowRecord:
    performance = {champion: Performance(rows=100, labelled_rows=rows, metrics={"log_loss": 0.5})}
    reason = "log loss 0.5" if degraded else ""
    return window(day, performance=performance, degraded=degraded, degraded_reason=reason, champion=champion)


def drifted(day: int, **changes: Any) -> WindowRecord:
    columns = {
        name: ColumnDrift(score=score, threshold=0.1, p_value=0.0, drifted=True, importance=importance)
        for name, score, importance in (("weak", 0.9, 0.01), ("strong", 0.2, 0.5))
    }
    return window(day, drifted=True, columns=columns, **changes)


def told(windows: list[WindowRecord], rule: AlertRule = RULE) -> list[tuple[str, str, int]]:
    _, alerts = read_windows(AlertCursor(source="churn"), windows, rule)
    return [(alert.cause, alert.state, (alert.at - START).days) for alert in alerts]


def test_a_condition_is_raised_once_and_cleared() -> None:
    blocked = {"quality": "block", "quality_reasons": ("no rows",)}
    assert told([window(0), window(1, **blocked), window(2, **blocked), window(3), window(4, **blocked)]) == [
        ("quality", "raised", 2),
        ("quality", "cleared", 4),
        ("quality", "raised", 5),
    ]


def test_drift_is_told_of_when_it_lasts_with_the_columns_that_explain_it() -> None:
    windows = [drifted(0), drifted(1), drifted(2), window(3), window(4)]
    assert told(windows) == [("drift", "raised", 2), ("drift", "cleared", 4)]
    _, alerts = read_windows(AlertCursor(source="churn"), windows, RULE)
    assert list(alerts[0].facts["score_over_threshold"]) == ["strong", "weak"]
    assert alerts[1].facts["raised"] == alerts[0].key
    assert alerts[0].severity == alerts[1].severity == "warning"
    assert alerts[0].summary == "churn: the data has moved, most of all in strong, weak"


def test_drift_of_several_columns_together_is_told_of_where_it_counts() -> None:
    moved = MultivariateDrift(score=0.7, threshold=0.6, p_value=0.0, drifted=True, importances={"y": 0.7, "x": 0.3})
    counted = [window(day, drifted=True, multivariate=moved) for day in range(2)]
    _, alerts = read_windows(AlertCursor(source="churn"), counted, RULE)
    assert [alert.summary for alert in alerts] == [
        "churn: the data has moved, several columns together, most of all y, x"
    ]
    assert told([window(day, multivariate=moved) for day in range(2)]) == []


def test_another_champion_ends_drift_and_degradation() -> None:
    windows = [
        drifted(0, degraded=True), drifted(1, degraded=True), window(2, champion=2), labelled(3, degraded=False),
    ]  # fmt: skip
    assert told(windows) == [
        ("degraded", "raised", 1), ("drift", "raised", 2), ("drift", "cleared", 3), ("degraded", "cleared", 3),
    ]  # fmt: skip


def test_a_window_without_enough_labels_neither_raises_nor_clears() -> None:
    assert told([labelled(0, degraded=True), labelled(1, degraded=False, rows=9), window(2)]) == [
        ("degraded", "raised", 1)
    ]


def test_several_windows_may_be_asked_for() -> None:
    rule = AlertRule(min_labelled_rows=10, degraded_n=2, degraded_of=3)
    flags = [True, False, True, False, False, True, True]
    windows = [labelled(day, degraded=flag) for day, flag in enumerate(flags)]
    assert told(windows, rule) == [("degraded", "raised", 3), ("degraded", "cleared", 4), ("degraded", "raised", 7)]


def test_late_labels_raise_and_clear_closed_windows() -> None:
    cursor, alerts = read_windows(AlertCursor(source="churn"), [window(0), window(1)], RULE)
    assert alerts == []
    cursor, raised = read_windows(cursor, [window(0), labelled(1, degraded=True)], RULE)
    assert [alert.state for alert in raised] == ["raised"]
    assert read_windows(cursor, [window(0), labelled(1, degraded=True)], RULE) == (cursor, [])
    cursor, cleared = read_windows(cursor, [window(0), labelled(1, degraded=False)], RULE)
    assert [alert.state for alert in cleared] == ["cleared"]
    _, again = read_windows(cursor, [window(0), labelled(1, degraded=True)], RULE)
    assert again[0].key != raised[0].key


def test_a_fallback_counts_by_share() -> None:
    assert told([window(0, fallbacks=0), window(1, rows=1000, fallbacks=9), window(2, fallbacks=5), window(3)]) == [
        ("fallback", "raised", 3), ("fallback", "cleared", 4),
    ]  # fmt: skip
    assert told([window(0, fallbacks=5), window(1, rows=0)]) == [("fallback", "raised", 1)]


KINDS = (
    window, drifted, lambda day: labelled(day, degraded=True), lambda day: labelled(day, degraded=False),
    lambda day: window(day, quality="block"), lambda day: window(day, fallbacks=50),
    lambda day: drifted(day, champion=2),
)  # fmt: skip


@given(st.lists(st.sampled_from(KINDS), max_size=14), st.integers(0, 14), st.integers(1, 3))
def test_reading_in_parts_comes_to_the_same_and_raised_alternates_with_cleared(
    kinds: list[Any], cut: int, of: int
) -> None:
    rule = AlertRule(min_labelled_rows=10, degraded_of=of)
    windows = [kind(day) for day, kind in enumerate(kinds)]
    whole = read_windows(AlertCursor(source="churn"), windows, rule)
    cursor, first = read_windows(AlertCursor(source="churn"), windows[:cut], rule)
    cursor = AlertCursor.model_validate_json(cursor.model_dump_json())
    cursor, second = read_windows(cursor, windows, rule)
    assert (cursor, first + second) == whole
    assert len({alert.key for alert in whole[1]}) == len(whole[1])
    for cause in ("quality", "drift", "degraded", "fallback"):
        states = [alert.state for alert in whole[1] if alert.cause == cause]
        assert states == ["raised", "cleared"] * (len(states) // 2) + ["raised"] * (len(states) % 2)


def entry(action: str, **evidence: Any) -> Alert | None:
    return alert_of_entry(
        LedgerEntry(
            sequence=7,
            at=START,
            subject="churn",
            action=action,
            reason="why",
            evidence=evidence,
            key="k",
            previous_hash="",
            hash="",
        )
    )


@pytest.mark.parametrize(
    ("action", "evidence", "cause", "severity"),
    [
        ("run_failed", {"final": True}, "retraining_failed", "critical"),
        ("commit_failed", {"commit": "a", "branch": "main"}, "build_failed", "critical"),
        ("commit_deployed", {"commit": "a", "bundle": "b"}, "deployed", "info"),
        ("run_failed", {"final": True, "rejections": 0}, "retraining_failed", "critical"),
        ("roll_back", {"cause": "health", "to": 1}, "rolled_back", "critical"),
        ("roll_back", {"cause": "trial"}, "rolled_back", "warning"),
        ("roll_back", {"cause": "probation", "to": 1}, "rolled_back", "critical"),
        ("ask", {"version": 2}, "trial_inconclusive", "warning"),
        ("roll_back", {}, "rolled_back", "warning"),
        ("promote", {"version": 2}, "promoted", "info"),
        ("abandon", {"superseded": False}, "abandoned", "warning"),
    ],
)
def test_entries_that_tell_something(action: str, evidence: dict[str, Any], cause: str, severity: str) -> None:
    alert = entry(action, **evidence)
    assert alert is not None
    assert (alert.cause, alert.severity, alert.state) == (cause, severity, "happened")
    assert alert.key == f"churn/{cause}/7"
    assert alert.summary == f"churn: {cause.replace('_', ' ')}: why"


@pytest.mark.parametrize(
    ("action", "evidence"),
    [
        ("abandon", {"superseded": True}),
        ("abandon", {"superseded": False, "final": False}),
        ("abandon", {"superseded": False, "rejections": 1}),
        ("retrain", {}),
        ("swap", {}),
        ("run_failed", {"final": False}),
        ("run_failed", {"final": True, "rejections": 3}),
        ("roll_back", {"cause": "trial", "rejections": 1}),
    ],
)
def test_entries_that_tell_nothing(action: str, evidence: dict[str, Any]) -> None:
    assert entry(action, **evidence) is None
