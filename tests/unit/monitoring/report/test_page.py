from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from raymlops.monitoring.report.monitor_report import MonitorReport, main_metric
from raymlops.monitoring.report.page import summary, version_color
from raymlops.records.windows import (
    ColumnDrift,
    EstimatedPerformance,
    Performance,
    SegmentPerformance,
    WindowRecord,
)

START = datetime(2013, 1, 7, tzinfo=UTC)
WEEK = timedelta(days=7)


def window(week: int, **scores: float) -> WindowRecord:
    return WindowRecord(
        model="m",
        start=START + week * WEEK,
        end=START + (week + 1) * WEEK,
        champion=1,
        rows=100,
        columns={
            name: ColumnDrift(score=score, threshold=0.1, p_value=0.0, drifted=score > 0.1, importance=0.5)
            for name, score in scores.items()
        },
        performance={1: Performance(rows=100, labelled_rows=50, metrics={"log_loss": 0.4 + week})},
    )


def test_the_summary_counts() -> None:
    tiles = {what: figure for figure, what, _ in summary([window(0), window(1)], "log_loss")}
    assert tiles["predictions in 2 windows"] == "200"
    assert tiles["of them labelled in time"] == "50%"
    assert tiles["champion's log loss, all windows"] == "0.9000"
    assert summary([], None) == []


@pytest.mark.parametrize("version", [1, 8, 9, 1000])
def test_every_version_has_a_colour(version: int) -> None:
    assert version_color(version).startswith("#")


def estimated(week: int, value: float, *, labelled: bool = True, problem: str = "") -> WindowRecord:
    found = EstimatedPerformance(
        rows=100,
        metrics={"log_loss": value},
        intervals={"log_loss": (value - 0.1, value + 0.1)},
        method="recalibrated",
        effective_rows=900,
        problem=problem,
    )
    unlabelled = {} if labelled else {"performance": {1: Performance(rows=100, labelled_rows=0, metrics={})}}
    return window(week).model_copy(update={"estimated": {1: found}, **unlabelled})


def test_estimates_stand_dashed_beside_the_realised() -> None:
    page = MonitorReport("m", START, (estimated(0, 0.45), estimated(1, 0.5))).html()
    assert page.count('stroke-dasharray="5 4"') == 1, "one dashed line, as no reference is known"
    assert "they do not see concept drift" in page
    assert "+0.0500" not in page
    assert "-0.4250" in page, "mean of estimate minus realised"
    assert "50%" in page


def test_estimates_are_shown_where_nothing_is_labelled() -> None:
    windows = (estimated(0, 0.45, labelled=False), estimated(1, 0.5, labelled=False, problem="unlike the holdout"))
    assert main_metric(windows) == "log_loss"
    page = MonitorReport("m", START, windows).html()
    assert 'stroke-dasharray="5 4"' in page
    assert "No window has labels enough yet to check them" in page
    assert "(0.5000)" in page, "an estimate that should not be leant on stands in brackets"


def test_without_labels_a_window_is_not_called_ok() -> None:
    bare = estimated(0, 0.45, labelled=False)
    worse = estimated(1, 0.9, labelled=False).model_copy(update={"estimated_degraded": "log_loss 0.9 is above 0.5"})
    page = MonitorReport("m", START, (bare, worse)).html()
    assert page.count(">no labels<") == 1
    assert 'title="log_loss 0.9 is above 0.5">worse, by estimate<' in page


def test_without_estimates_nothing_is_said_of_them() -> None:
    page = MonitorReport("m", START, (window(0), window(1))).html()
    assert "estimate" not in page
    assert "Where is it worst?" not in page


def test_segments_are_listed_and_escaped() -> None:
    def segment(name: str, *, declared: bool, significant: bool, estimated: bool = False) -> SegmentPerformance:
        return SegmentPerformance(
            segment=name,
            rows=1200,
            metric="log_loss",
            value=0.7,
            interval=(0.6, 0.8),
            excess=0.25,
            p_value=0.005,
            significant=significant,
            declared=declared,
            estimated=estimated,
        )

    segments = (
        segment("<b>x</b> > 1", declared=True, significant=False, estimated=True),
        segment("carrier = 'AA'", declared=False, significant=True),
    )
    report = MonitorReport("m", START, (window(0).model_copy(update={"segments": segments}), window(1)))
    page = report.html()
    assert "&lt;b&gt;x&lt;/b&gt; &gt; 1" in page
    assert "<b>x</b>" not in page
    assert "found by search" in page
    assert "+0.2500" in page
    assert page.count(">estimated</span>") == 1
    assert report.to_dict()["windows"][0]["segments"][1]["segment"] == "carrier = 'AA'"


def test_the_report_gives_coverage_and_checks() -> None:
    values = MonitorReport("m", START, (estimated(0, 0.45), window(1))).to_dict()
    assert values["label_coverage"][START.isoformat()] == {"1": 0.5}
    assert values["estimate_checks"][0]["windows"] == 1


def contrast_with_white(color: str) -> float:
    """By the definition of WCAG 2."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)


@pytest.mark.parametrize("version", range(1, 9))
def test_white_letters_can_be_read_on_every_version(version: int) -> None:
    assert contrast_with_white(version_color(version)) >= 4.5
