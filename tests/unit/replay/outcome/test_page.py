"""The figures of a replay as JSON, as a page and in a terminal."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from raymlops.errors import StorageError
from raymlops.monitoring.report.html import allowed_by
from raymlops.platform import Platform
from raymlops.records.bundles import ProjectSpec
from raymlops.records.ledger import LedgerEntry
from raymlops.records.runs import Run
from raymlops.replay.client import Answer, Tally
from raymlops.replay.outcome.page import render
from raymlops.replay.outcome.report import write_files
from raymlops.replay.outcome.story import Story, WindowFigures
from raymlops.replay.plan import ReplayPlan, Sample
from raymlops.replay.player import WindowResult

START = datetime(2026, 1, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
PLAN = ReplayPlan(START, WEEK, first=2, count=4, steps=(WEEK / 2, WEEK / 2), sample=Sample(rows=10))
SPEC = ProjectSpec(name="churn", model="churn-model", definitions="a:B", service="s", spine="a:spine")


def entry(action: str, reason: str, at: datetime, number: int, key: str = "control/") -> LedgerEntry:
    return LedgerEntry(
        sequence=number,
        at=at,
        subject="churn-model",
        action=action,
        key=f"{key}{number}",
        reason=reason,
        evidence={"swap_ms": 3.0} if action == "swap" else {},
        previous_hash="0" * 64,
        hash="1" * 64,
    )


@pytest.fixture
def story() -> Story:
    told = Story(cast("Platform", None), SPEC, PLAN, cast("Run", None), "bundle", notes=["3 rows were <left> out"])
    told.tally = Tally(requests=44, failed=1, failures=["predict: 503 <b>"])
    told.calendar_at = (PLAN.start(3),)
    losses = [(0.5, 0.5, 0.5), (0.6, 0.6, 0.6), (0.3, 0.7, 0.4), (0.2, 0.8, 0.5)]
    told.figures = [
        WindowFigures(number, PLAN.start(number), 10, loop, never, calendar, {1 if number < 3 else 2: 9, 3: 1})
        for number, (loop, never, calendar) in enumerate(losses, start=1)
    ]
    told.entries = [
        entry("retrain", "drift in 2 of 3 windows", PLAN.start(2), 1),
        entry("promote", "as good", PLAN.start(3), 2),
        entry("start_trial", "by hand", PLAN.start(3), 3, key="user/"),
        entry("swap", "not told", PLAN.start(3), 4, key="endpoint/"),
    ]
    return told


def test_the_json_has_the_promised_keys(story: Story, tmp_path: Path) -> None:
    write_files(story, html=None, json=tmp_path / "deep" / "f.json")
    found = json.loads((tmp_path / "deep" / "f.json").read_text())
    assert (found["requests"], found["failed"], found["retrainings"], found["promotions"]) == (44, 1, 1, 1)
    assert set(found["loss"]) == {"loop", "never", "calendar"}
    assert found["loss"]["loop"] == pytest.approx(0.4)
    assert found["loss"]["never"] == pytest.approx(0.65)
    assert found["loss"]["calendar"] == pytest.approx(0.5)
    assert found["metric"] == "log loss"
    assert [each["rows"] for each in found["windows"]] == [10] * 4
    assert [each["action"] for each in found["decisions"]] == ["retrain", "promote", "start_trial"]


def test_the_page_holds_the_figures_and_escapes_what_it_is_told(story: Story) -> None:
    page = render(story)
    assert "yes, +38.5%" in page, "0.4 beside 0.65"
    assert "yes, +20.0%" in page, "0.4 beside 0.5"
    assert "drift in 2 of 3 windows" in page
    assert "3 rows were &lt;left&gt; out" in page
    assert "503 &lt;b&gt;" in page
    assert "not told" not in page
    assert "1 failed" in page


def test_the_page_needs_nothing_else_and_runs_nothing(story: Story) -> None:
    page = render(story)
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    assert f"style-src 'sha256-{allowed_by(style.group(1))}'" in page.replace("&#39;", "'")
    assert "default-src 'none'" in page.replace("&#39;", "'")
    assert ' style="' not in page, "which the policy would not allow"


def test_a_replay_without_a_retraining_says_so(story: Story) -> None:
    story.entries, story.calendar_at = [], ()
    story.figures = [
        WindowFigures(each.number, each.start, each.rows, each.never, each.never, each.never, each.versions)
        for each in story.figures
    ]
    page = render(story)
    assert "no trigger fired" in page
    assert page.count("no difference") == 2


def test_a_window_has_the_mean_loss_of_its_labelled_answers(story: Story) -> None:
    answers = [Answer("a", (0.2, 0.8), 1, "champion"), Answer("b", (0.5, 0.5), 1, "champion")]
    window = WindowResult(1, PLAN.start(1), PLAN.start(2), answers)
    assert story.loss(window) is None
    story.label_of = {"a": 1.0}
    assert story.loss(window) == pytest.approx(0.2231, abs=1e-4)


def test_the_summary_counts_and_compares(story: Story) -> None:
    summary: dict[str, Any] = story.summary()
    assert summary["log loss, the loop"] == 0.4
    assert summary["log loss, retrained by calendar"] == 0.5
    assert summary["gain"] == "38.5%"
    assert summary["failed requests"] == 1


def test_a_file_that_cannot_be_written_is_told(story: Story, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"page\.html cannot be written"):
        write_files(story, html=tmp_path / "file" / "page.html", json=None)
