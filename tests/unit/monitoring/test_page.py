from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from raymlops.monitoring.page import heat_color, heat_rows, summary, version_color
from raymlops.records.windows import ColumnDrift, Performance, WindowRecord

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


def test_heat_grows_with_the_ratio() -> None:
    assert heat_color(0) == "#f7f8fa"
    assert heat_color(4) == heat_color(99) == "#942030"
    assert len({heat_color(ratio) for ratio in (0, 0.5, 1, 2, 3, 4)}) == 6


def test_the_most_worrying_column_comes_first() -> None:
    rows, hidden = heat_rows([window(0, calm=0.01, wild=0.3), window(1, calm=0.02, wild=0.4, new=0.1)])
    assert [row.name for row in rows] == ["wild", "new", "calm"]
    assert [cell.flagged for cell in rows[0].cells] == [True, True]
    assert rows[1].cells[0].title.endswith("not known")
    assert hidden == 0


def test_the_summary_counts() -> None:
    tiles = {what: figure for figure, what, _ in summary([window(0), window(1)], "log_loss")}
    assert tiles["predictions in 2 windows"] == "200"
    assert tiles["of them labelled in time"] == "50%"
    assert tiles["champion's log loss, all windows"] == "0.9000"
    assert summary([], None) == []


@pytest.mark.parametrize("version", [1, 8, 9, 1000])
def test_every_version_has_a_colour(version: int) -> None:
    assert version_color(version).startswith("#")
