from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.monitoring.report.charts import Curve, Line, Marker, bar_pairs, time_chart, volume_chart, xy_chart

START = datetime(2013, 1, 1, tzinfo=UTC)


def span(days: float) -> tuple[datetime, datetime]:
    return START, START + timedelta(days=days)


@pytest.mark.parametrize("days", [0.01, 5, 40, 365, 4000])
@pytest.mark.parametrize("value", [0.0, 1e-9, 0.45, -3.0, 1e7])
def test_any_period_and_size_makes_a_picture(days: float, value: float) -> None:
    times = [START + timedelta(days=days * i / 4) for i in range(5)]
    values = [value, value * 1.5, math.nan, value, value * 0.9]
    line = Line(
        "a <b>", "#123456", list(zip(times, values, strict=True)),
        band=[(at, value - 1, value + 1) for at in times], alarms=frozenset(times[:1]),
    )  # fmt: skip
    root = ET.fromstring(
        time_chart([line, Line("r", "#000", line.points, dashed=True)], span(days), markers=[Marker(START, "v1")])
    )
    assert len(root.findall(".//circle")) == 5  # four values and one alarm
    for text in root.findall("text"):
        assert text.text
    assert "nan" not in ET.tostring(root, encoding="unicode").lower()


def test_values_lie_inside_the_picture() -> None:
    times = [START + timedelta(days=i) for i in range(10)]
    root = ET.fromstring(time_chart([Line("a", "#000", [(at, i * 0.37) for i, at in enumerate(times)])], span(9)))
    for circle in root.findall(".//circle"):
        assert 0 <= float(circle.attrib["cx"]) <= 960
        assert 0 <= float(circle.attrib["cy"]) <= 260


@given(
    places=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=9, unique=True),
    name=st.sampled_from(["oracle", "cheapest calendar so far"]),
)
def test_names_beside_dots_do_not_overlap_and_stay_in_the_plot(places: list[tuple[float, float]], name: str) -> None:
    curves = [Curve(f"{name}{n}", "#000", [place], dots_only=True, named=True) for n, place in enumerate(places)]
    root = ET.fromstring(xy_chart(curves, x_name="x", height=320))
    tops = sorted(float(text.attrib["y"]) for text in root.findall("text") if (text.text or "").startswith(name))
    assert len(tops) == len(places)
    assert 10 <= tops[0] <= tops[-1] <= 320 - 26 - 3
    boxes = [_box(text) for text in root.findall("text") if (text.text or "").startswith(name)]
    for n, (left, right, top) in enumerate(boxes):
        assert not any(left < end and start < right and abs(top - y) < 12.9 for start, end, y in boxes[:n])


def _box(text: ET.Element) -> tuple[float, float, float]:
    width, at = 7.2 * len(text.text or ""), float(text.attrib["x"])
    left = at - width if text.attrib["text-anchor"] == "end" else at
    return left + 0.06, left + width - 0.06, float(text.attrib["y"])


def test_nothing_to_draw_is_said() -> None:
    assert "no values" in time_chart([], span(7))
    assert "no values" in time_chart([Line("a", "#000", [(START, math.nan)])], span(7))
    assert "no predictions" in volume_chart([], span(7))
    assert "no predictions" in volume_chart([(START, START + timedelta(days=7), 0, 0)], span(7))


def test_bars_stand_for_their_shares() -> None:
    root = ET.fromstring(bar_pairs(["low", "high & <odd>"], [0.5, 0.5], [1.0, 0.0]))
    heights = [float(rect.attrib["height"]) for rect in root.findall(".//rect")]
    assert heights == pytest.approx([45, 90, 45, 0])


def test_volume_has_two_bars_per_window() -> None:
    week = timedelta(days=7)
    rows = [(START + i * week, START + (i + 1) * week, 1000, 900) for i in range(3)]
    root = ET.fromstring(volume_chart(rows, span(21)))
    assert len(root.findall(".//rect")) == 6
