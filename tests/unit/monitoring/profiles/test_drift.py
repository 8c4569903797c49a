from __future__ import annotations

import pytest

from raymlops.monitoring.profiles.divergence import Evidence
from raymlops.monitoring.profiles.drift import DriftReport, DriftRule, judge
from raymlops.records.windows import ColumnDrift

STRONG = Evidence("shape", 200.0, 10, 0.3)
WEAK = Evidence("shape", 8.0, 10, 0.02)
TINY = Evidence("location", 60.0, 1, 0.01)
"""Significant, and too small to matter."""


def test_a_column_drifts_where_it_is_significant_and_large() -> None:
    found = judge({"a": [STRONG], "b": [WEAK], "c": [TINY], "d": []}, {}, 1000, DriftRule())
    assert [name for name, column in found.items() if column.drifted] == ["a"]
    assert found["c"].p_value < 1e-6
    assert found["d"] == ColumnDrift(score=0.0, threshold=0.04, p_value=1.0, drifted=False)


@pytest.mark.parametrize("rows", [10, 1000])
@pytest.mark.parametrize("evidence", [STRONG, WEAK, TINY])
def test_drifted_means_score_above_threshold(evidence: Evidence, rows: int) -> None:
    column = judge({"a": [evidence]}, {}, rows, DriftRule())["a"]
    assert column.drifted == (column.score > column.threshold)


def test_few_rows_are_described_not_judged() -> None:
    column = judge({"a": [STRONG]}, {}, 29, DriftRule())["a"]
    assert not column.drifted
    assert column.score == 0.3


def test_more_columns_need_stronger_evidence() -> None:
    middling = Evidence("shape", 32.0, 10, 0.3)
    alone = judge({"a": [middling]}, {}, 1000, DriftRule())
    among = judge({"a": [middling]} | {f"b{i}": [WEAK] for i in range(99)}, {}, 1000, DriftRule())
    assert alone["a"].drifted
    assert not among["a"].drifted
    assert among["a"].threshold > alone["a"].threshold


def test_the_loudest_test_is_named() -> None:
    found = judge({"a": [WEAK, Evidence("missing", 90.0, 1, 0.2)]}, {}, 1000, DriftRule())
    assert found["a"].test == "missing"


def test_the_report_ranks_what_drifted() -> None:
    columns = {
        name: ColumnDrift(score=score, threshold=0.1, p_value=0.0, drifted=score > 0.1)
        for name, score in (("a", 0.2), ("b", 0.05), ("c", 0.4))
    }
    report = DriftReport(100, 1000, columns, {"b": "odd"}, ("z",))
    assert report.drifted
    assert report.drifted_columns() == ["c", "a"]
    assert report.to_dict()["new_columns"] == ["z"]
    assert report.to_dict()["columns"]["a"]["drifted"] is True
    assert not DriftReport(100, 1000, {"b": columns["b"]}).drifted
