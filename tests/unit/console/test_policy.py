"""The page of a policy shows what the laboratory found out last about the model, or says how to ask it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from markupsafe import escape

from raymlops.console import Console
from raymlops.console.sources import Sources
from raymlops.laboratory import Schedule, compare_policies
from raymlops.laboratory.report.kept import keep_report, report_path
from raymlops.serving.protocol.access import OPEN
from raymlops.serving.protocol.http import HttpRequest
from tests.support.console_world import EVIL, NOW, make_sources
from tests.unit.laboratory.examples import FIRST, ageing


@pytest.fixture
def sources(tmp_path: Path, filled: Path) -> Iterator[Sources]:
    sources, close = make_sources(tmp_path, filled=filled)
    yield sources
    close()


def page_of(sources: Sources, model: str = "churn") -> str:
    console = Console(sources)
    try:
        reply = console.answer(HttpRequest("GET", f"/console/policy/{model}"), OPEN)
    finally:
        console.close()
    assert reply.status == 200, reply.body
    return reply.body.decode()


def test_the_newest_report_is_drawn(sources: Sources, tmp_path: Path) -> None:
    matrix = ageing(count=12, slope=0.05)
    own = Schedule((FIRST + 2,), name="the configured triggers")
    report = replace(compare_policies(matrix, price=0.05, own=[own, Schedule((FIRST + 3,), name=EVIL)]), reason=EVIL)
    keep_report(compare_policies(matrix, price=0.5), report_path(tmp_path, "churn"), NOW)
    keep_report(report, report_path(tmp_path, "churn"), NOW)
    page = page_of(sources)
    assert "a retraining costs 0.05 losses of a window" in page
    assert f"<b>{report.recommended}</b>" in page
    for label in ("loss against the number of retrainings", "excess loss by age of the model, in percent"):
        assert f'aria-label="{label}"' in page
    strips = re.findall(r'aria-label="when ([^"]+) fired: ([0-9]+) times"', page)
    fired = {name: len(one.firings) for name, one in report.outcomes.items()} | {"oracle": len(report.oracle.firings)}
    assert {unescape(name): int(count) for name, count in strips}.items() <= fired.items()
    assert {"the configured triggers", "default", "oracle", EVIL} <= {unescape(name) for name, _ in strips}
    table = page[page.index("Policies by cost") :]
    order = [
        table.index(f'<th scope="row" class="policy">{escape(one.name)}')
        for one in sorted(report.outcomes.values(), key=lambda o: o.cost(0.05))
    ]
    assert order == sorted(order)
    assert all(f"{one.cost(0.05):.3f}" in table for one in report.outcomes.values())
    assert "<script>alert" not in page
    assert "<img" not in page
    assert " style=" not in page
    assert "Nobody has asked the laboratory" not in page


def test_where_there_is_none_the_page_says_how_to_make_one(sources: Sources, tmp_path: Path) -> None:
    keep_report(compare_policies(ageing(count=12, slope=0.05)), report_path(tmp_path, "delay"), NOW)
    assert "<code>raymlops control backtest churn</code>" in page_of(sources)
    assert "Nobody has asked the laboratory yet" in page_of(sources)
    assert "loss against the number" not in page_of(sources)
    assert "loss against the number" in page_of(sources, "delay")


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}', '{"format": 1}'])
def test_a_report_that_cannot_be_read_leaves_the_rest_of_the_page(sources: Sources, tmp_path: Path, text: str) -> None:
    place = report_path(tmp_path, "churn")
    place.parent.mkdir()
    place.write_text(text)
    page = page_of(sources)
    assert "the home cannot say" in page
    assert "Nobody has asked the laboratory" not in page
    assert "<h2>Settings</h2>" in page
