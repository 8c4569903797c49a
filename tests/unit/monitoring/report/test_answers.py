from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from raymlops.monitoring.alerts.alarm import AlarmRule
from raymlops.monitoring.report.answers import answer_questions, drift_weight, explain, overall_drift
from raymlops.records.windows import ColumnDrift, MultivariateDrift, Performance, WindowRecord

START = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)


def column(score: float, importance: float | None = None, threshold: float = 0.1) -> ColumnDrift:
    return ColumnDrift(
        score=score, threshold=threshold, p_value=0.0, drifted=score > threshold, importance=importance
    )  # fmt: skip


def window(day: int, **changes: Any) -> WindowRecord:
    start = START + day * DAY
    base = {"model": "m", "champion": 1, "rows": 100, "columns": {"x": column(0.01)}}
    return WindowRecord(**{**base, "start": start, "end": start + DAY, **changes})


MOVED = {"drifted": True, "columns": {"x": column(0.3), "y": column(0.01)}}
LABELLED = {"performance": {1: Performance(rows=100, labelled_rows=60, metrics={"auc": 0.8})}}


@pytest.mark.parametrize(
    ("windows", "verdicts"),
    [
        ([], ("not known", "not known", "not known")),
        ([window(0)], ("no", "no", "not known")),
        ([window(0, **LABELLED)], ("no", "no", "no")),
        ([window(0, quality="block")], ("yes", "no", "not known")),
        ([window(0, quality="warn")], ("suspected", "no", "not known")),
        ([window(0, columns={})], ("no", "not known", "not known")),
        ([window(0, **MOVED)], ("no", "suspected", "not known")),
        ([window(0, **MOVED), window(1, **MOVED)], ("no", "yes", "not known")),
        ([window(0, **MOVED), window(1, **MOVED), window(2)], ("no", "no", "not known")),
        ([window(0, **LABELLED, degraded=True)], ("no", "no", "yes")),
        ([window(0, estimated_degraded="auc 0.7")], ("no", "no", "suspected")),
        ([window(0, **MOVED, **LABELLED, quality="block", degraded=True)], ("yes", "suspected", "yes")),
    ],
)
def test_no_answer_follows_from_another(windows: list[WindowRecord], verdicts: tuple[str, str, str]) -> None:
    assert tuple(answer.verdict for answer in answer_questions(windows)) == verdicts


def test_answers_say_why_and_how_often() -> None:
    windows = [
        window(0, quality="block", quality_reasons=("a", "b", "c", "d")),
        window(1, **MOVED),
        window(2, **MOVED, degraded=True, degraded_reason="auc 0.7 against 0.8"),
    ]
    broken, moved, worse = answer_questions(windows, AlarmRule(n=2, of=2))
    assert (broken.windows, moved.windows, worse.windows) == (1, 2, 1)
    assert moved.reason == "since 08 Jan 2026 00:00: 1 of 2 columns, most of all x"
    assert worse.reason == "auc 0.7 against 0.8"
    assert answer_questions(windows[:1])[0].reason == "a; b; c and 1 more"


def test_columns_that_explain_come_by_importance_and_distance() -> None:
    columns = {
        "far, unimportant": column(5.0, 0.0001),
        "near, important": column(0.2, 0.6),
        "calm, important": column(0.09, 0.9),
        "far, important": column(0.5, 0.3),
    }
    ranked = explain([window(0, columns=columns), window(1, columns={})])
    assert [one.column for one in ranked] == [
        "far, important", "near, important", "far, unimportant", "calm, important",
    ]  # fmt: skip
    assert explain([]) == ()
    assert ranked[0].to_dict()["score"] == 0.5


def test_a_weight_needs_no_importance_and_is_bounded() -> None:
    assert drift_weight(column(0.2)) == pytest.approx(2)
    assert drift_weight(column(100.0)) == 10
    assert drift_weight(column(0.2, threshold=0.0)) == 0


TOGETHER = MultivariateDrift(score=0.7, threshold=0.6, p_value=0.001, drifted=True, importances={"y": 0.7, "x": 0.3})


def test_several_columns_together_are_said_and_do_not_count_by_themselves() -> None:
    _, moved, _ = answer_questions([window(0, multivariate=TOGETHER), window(1, multivariate=TOGETHER)])
    assert moved.verdict == "no"
    assert moved.reason == (
        "no column lies beyond its threshold; but several columns together, most of all y, x, "
        "which does not count by itself"
    )


def test_several_columns_together_are_the_reason_where_they_count() -> None:
    windows = [window(day, multivariate=TOGETHER, drifted=True) for day in range(2)]
    assert answer_questions(windows[:1])[1].reason == (
        "in the newest window alone: several columns together, most of all y, x"
    )
    _, moved, _ = answer_questions(windows)
    assert moved.verdict == "yes"
    assert moved.reason.endswith(": several columns together, most of all y, x")


def test_what_moves_beside_single_columns() -> None:
    tested = column(0.3).model_copy(update={"test": "shape"})
    assert overall_drift([]) == overall_drift([window(0, label_drift=column(0.0))]) == ()
    older = window(0, prediction_drift=tested, label_drift=tested, multivariate=TOGETHER)
    found = overall_drift([older, window(1)])
    assert [one.what for one in found] == ["predictions", "labels", "several columns together"]
    assert found[2].to_dict() == {
        "what": "several columns together",
        "score": 0.7,
        "threshold": 0.6,
        "p_value": 0.001,
        "drifted": True,
        "columns": {"y": 0.7, "x": 0.3},
    }
    assert found[1].columns == {}
