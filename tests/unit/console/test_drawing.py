from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from raymlops.console.drawing.confidence import Interval, draw_evidence_bar, draw_intervals
from raymlops.console.drawing.histograms import draw_mini
from raymlops.console.drawing.timeline import Bar, Event, Row, draw_timeline
from raymlops.records.people.discovery import FieldStatistics, FrequentValue

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
EVIL = "<script>'\"&"


def widths(svg: str) -> list[float]:
    return [float(found) for found in re.findall(r'<rect[^>]* width="([\d.]+)"', svg)]


def test_a_time_line_is_well_formed_whatever_things_are_called() -> None:
    bars = [
        Bar(START, START + DAY, kind, EVIL, "/x") for kind in ("ok", "drifted", "degraded", "broken", "run", "trial")
    ]
    events = [Event(START, "trigger", EVIL), Event(START + DAY, "swap", EVIL, EVIL)]
    svg = draw_timeline([Row(EVIL, "/m", bars, events)], START, START + 2 * DAY)
    root = ElementTree.fromstring(svg)
    assert [one.text for one in root.iter("title")][1:] == [EVIL] * 8
    assert [one.get("href") for one in root.iter("a")] == ["/m", *["/x"] * 6]


def test_states_of_windows_are_told_by_height() -> None:
    heights = set()
    for kind in ("ok", "drifted", "degraded"):
        svg = draw_timeline([Row("m", "/m", [Bar(START, START + DAY, kind, "")])], START, START + DAY)
        heights.add(re.findall(r'height="([\d.]+)" rx="1.5"', svg)[0])
    assert len(heights) == 3


def test_what_lies_outside_of_the_time_line_is_not_drawn() -> None:
    before = Bar(START - 9 * DAY, START - 8 * DAY, "ok", "before")
    assert "before" not in draw_timeline([Row("m", "/m", [before])], START, START + DAY)


def test_intervals_are_told_in_words_too() -> None:
    looks = [Interval(START, -0.01, None, None, 50), Interval(START + DAY, -0.01, -0.04, 0.015, 250)]
    root = ElementTree.fromstring(draw_intervals(looks, 0.02))
    label = root.get("aria-label")
    assert label is not None
    assert "-0.01, no bounds yet, over 50 rows; -0.01, -0.04 to +0.015, over 250 rows" in label
    assert len(list(root.iter("circle"))) == 2


def test_an_interval_that_reaches_below_the_margin_ends_left_of_its_line() -> None:
    svg = draw_intervals([Interval(START, -0.01, -0.04, 0.015, 250)], 0.02)
    root = ElementTree.fromstring(svg)
    lines = [one for one in root.iter("line") if one.get("stroke") == "var(--good-mark)"]
    ends = [one for one in root.iter("line") if one.get("stroke-width") == "3"]
    assert float(ends[0].get("x2", "")) < float(lines[0].get("x1", ""))


def test_evidence_grows_with_its_logarithm() -> None:
    small, middle, full = (widths(draw_evidence_bar(value, 100.0, "faults"))[1] for value in (0.5, 10.0, 1e9))
    assert small == 2.0
    assert middle == 160.0
    assert full == 320.0


def field(**changes: object) -> FieldStatistics:
    base = {"name": EVIL, "dtype": "float64", "values": 9, "missing_share": 0.0, "distinct": 9, "distinct_error": 0.0}
    return FieldStatistics.model_validate({**base, **changes})


def test_small_histograms() -> None:
    numbers = draw_mini(field(quantiles={"0.0": 0.0, "0.25": 1.0, "0.5": 2.0, "0.75": 10.0, "1.0": 99.0}))
    assert len(list(ElementTree.fromstring(numbers).iter("rect"))) == 2
    texts = draw_mini(field(frequent=(FrequentValue(value="a", rows=3), FrequentValue(value="b", rows=1))))
    assert [float(one.get("height", "")) for one in ElementTree.fromstring(texts).iter("rect")] == [30.0, 10.0]
    assert draw_mini(field()) == ""
    assert draw_mini(field(quantiles={"0.25": 1.0, "0.75": 1.0})) == ""
