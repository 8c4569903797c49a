from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

from raymlops.monitoring.report.heat import heat_rows, heat_tone, plot_data
from raymlops.monitoring.report.html import page_style
from raymlops.monitoring.report.page import VERSION_COLORS
from raymlops.records.windows import ColumnDrift, WindowRecord

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
    )


def test_heat_grows_with_the_ratio() -> None:
    tones = [heat_tone(ratio) for ratio in (0, 0.5, 1, 2, 3, 4)]
    assert (tones[0], tones[-1], heat_tone(99)) == ("h0", "h24", "h24")
    assert len(set(tones)) == 6


def test_the_style_sheet_has_a_colour_for_each_tone() -> None:
    style = page_style()
    tones = {heat_tone(ratio / 100) for ratio in range(401)}
    assert len(tones) == 25
    assert all(f".heat td.{tone} {{ background: rgba(" in style for tone in tones)


def test_the_style_sheet_has_the_colours_of_versions() -> None:
    for place, color in enumerate(VERSION_COLORS):
        assert f".chip.v{place} {{ background: {color}; }}" in page_style()


def test_the_most_worrying_column_comes_first() -> None:
    rows, hidden = heat_rows([window(0, calm=0.01, wild=0.3), window(1, calm=0.02, wild=0.4, new=0.1)])
    assert [row.name for row in rows] == ["wild", "new", "calm"]
    assert [cell.flagged for cell in rows[0].cells] == [True, True]
    assert rows[1].cells[0].title.endswith("not known")
    assert hidden == 0


def test_plot_data_is_json_that_cannot_end_its_element() -> None:
    hostile = "</script><script>alert(1)</script><!--\u2028&\ud800"
    windows = [window(0, **{hostile: 0.3}), window(1, **{hostile: 0.12345, "late": math.nan})]
    text = str(plot_data(windows))
    assert not set("<>&\u2028") & set(text)
    data = json.loads(text)
    assert [column["name"] for column in data["columns"]] == [hostile.replace("\ud800", "?"), "late"]
    assert data["columns"][0]["score"] == [0.3, 0.123]
    assert data["columns"][0]["flags"] == "11"
    assert data["columns"][1]["score"] == [None, None]
    assert data["champions"] == [1, 1]
