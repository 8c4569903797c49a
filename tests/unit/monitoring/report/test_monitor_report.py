from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raymlops.monitoring import MonitorReport, MonitorService
from raymlops.monitoring.alerts.alarm import AlarmRule
from raymlops.monitoring.report.monitor_report import main_metric
from raymlops.records.ledger import LedgerEntry
from raymlops.records.windows import ColumnDrift, MultivariateDrift, Performance, WindowRecord

START = datetime(2013, 1, 7, tzinfo=UTC)
WEEK = timedelta(days=7)


@pytest.fixture
def report(world: Any) -> MonitorReport:
    world.register(1)
    world.register(2, shift=0.8)
    monitor = world.monitor()
    for week in range(6):
        events = world.events(week, 400, shift=0.8 if week > 1 else 0.0, version=2 if week > 3 else 1)
        monitor.record_events("m", events, f"e{week}")
        monitor.record_labels("m", world.labels(events, flip=0.3 if week == 3 else 0.0), f"l{week}")
    monitor.close_windows("m", START + 7 * WEEK)
    found: MonitorReport = monitor.report("m")
    return found


def entry(number: int, reason: str) -> LedgerEntry:
    return LedgerEntry(
        sequence=number, at=START + number * WEEK, subject="m", action="retrain", reason=reason, key=str(number),
        previous_hash="", hash="",
    )  # fmt: skip


def test_the_report_is_json(report: MonitorReport) -> None:
    values = json.loads(json.dumps(report.to_dict()))
    assert values["model"] == "m"
    assert len(values["windows"]) == 6
    assert values["windows"][2]["columns"]["x"]["drifted"] is True
    assert values["distributions"][0]["column"] in {"x", "score"}
    assert [answer["verdict"] for answer in values["answers"]] == ["no", "no", "no"]
    assert {column["column"] for column in values["explanation"]} == {"x", "y", "kind"}


def test_drift_lasts_as_long_as_triggers_and_alerts_say(world: Any) -> None:
    """Two windows of three raise an alarm by default; where five of five are asked for, they are a suspicion."""
    world.register(1)
    monitor = world.monitor()
    for week in range(3):
        monitor.record_events("m", world.events(week, 400, shift=0.8), f"e{week}")
    monitor.close_windows("m", START + 4 * WEEK)
    found: MonitorReport = monitor.report("m")
    strict = MonitorService(
        world.tables, world.metadata, world.clock, world.config, alarm_of=lambda _: AlarmRule(n=5, of=5)
    )
    assert [found.answers[1].verdict, strict.report("m").answers[1].verdict] == ["yes", "suspected"]
    assert "suspected" in strict.report("m").html()


def test_a_part_of_the_windows_can_be_asked_for(world: Any, report: MonitorReport) -> None:
    part = world.monitor().report("m", start=START + WEEK, end=START + 3 * WEEK)
    assert [window.start for window in part.windows] == [START + WEEK, START + 2 * WEEK]
    assert part.windows == report.windows[1:3]


def test_distributions_are_shares(report: MonitorReport) -> None:
    for distribution in report.distributions:
        assert sum(distribution.reference) == pytest.approx(1)
        assert sum(distribution.window) == pytest.approx(1)
        assert len(distribution.labels) == len(distribution.reference) == len(distribution.window)


def test_the_page_needs_nothing_else(report: MonitorReport) -> None:
    page = report.html()
    assert page.startswith("<!doctype html>")
    for outside in ("http://", "https://", "<link", "@import", "url(", " src="):
        assert outside not in page
    assert page.count("<svg") == page.count("</svg>") >= 4
    assert "significantly worse than the reference" in page
    assert "0-1-champion-0" not in page  # no request, no row of data


def test_decisions_and_comparisons_are_shown(report: MonitorReport) -> None:
    page = report.beside(
        [entry(1, "log loss is <b>worse</b>")], {"never retrained": [(w.start, 0.7) for w in report.windows]}
    ).html()
    assert "never retrained" in page
    assert "&lt;b&gt;worse&lt;/b&gt;" in page
    assert "What was decided" in page
    assert "What was decided" not in report.html()


def test_hostile_names_are_escaped() -> None:
    bad = '<img src=x onerror="alert(1)">'
    column = ColumnDrift(score=0.4, threshold=0.1, p_value=0.0, drifted=True, problem=bad, importance=1.0)
    window = WindowRecord(
        model=bad, start=START, end=START + WEEK, champion=1, rows=5, columns={bad: column}, quality="block",
        quality_reasons=(bad,), degraded=True, degraded_reason=bad,
    )  # fmt: skip
    page = MonitorReport(bad, START, (window,)).html()
    assert "<img" not in page
    assert page.count("<script") == page.count("</script>") == 2


def test_several_columns_together_are_in_json_and_on_the_page() -> None:
    bad = "<img src=x>"
    together = MultivariateDrift(score=0.71, threshold=0.6, p_value=0.001, drifted=True, importances={bad: 1.0})
    window = WindowRecord(
        model="m", start=START, end=START + WEEK, champion=1, rows=5, multivariate=together,
        label_drift=ColumnDrift(score=0.4, threshold=0.1, p_value=0.0, drifted=True, test="shape"),
    )  # fmt: skip
    found = MonitorReport("m", START, (window,))
    values = json.loads(json.dumps(found.to_dict()))
    assert [one["what"] for one in values["overall_drift"]] == ["labels", "several columns together"]
    assert values["overall_drift"][1]["columns"] == {bad: 1.0}
    assert values["windows"][0]["multivariate"]["score"] == 0.71
    page = found.html()
    assert '<td>several columns together</td><td class="n">0.7100</td>' in page
    assert "&lt;img src=x&gt; 100%" in page
    assert "<img" not in page


def test_only_the_page_s_own_script_may_run(report: MonitorReport) -> None:
    page = report.html()
    script = page.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "default-src 'none'" in page
    assert "innerHTML" not in script


def windows(number: int, columns: int) -> tuple[WindowRecord, ...]:
    rng = np.random.default_rng(0)
    return tuple(
        WindowRecord(
            model="wide",
            start=START + week * WEEK,
            end=START + (week + 1) * WEEK,
            champion=1,
            rows=1000,
            columns={
                f"column_{i}": ColumnDrift(score=float(rng.random()), threshold=0.5, p_value=0.5, drifted=False)
                for i in range(columns)
            },
            performance={1: Performance(rows=1000, labelled_rows=0, metrics={})},
        )
        for week in range(number)
    )


def test_a_wide_model_has_a_small_page() -> None:
    page = MonitorReport("wide", START, windows(52, 200)).html()
    assert len(page) < 1_000_000
    assert "160 calmer columns are below, with all others" in page


@pytest.mark.parametrize("number", [1, 2])
def test_short_histories_have_a_page(number: int) -> None:
    assert "no values in this period" in MonitorReport("short", START, windows(number, 2)).html()


@pytest.mark.parametrize(
    ("metrics", "main"), [({"rmse": 1.0, "mae": 1.0}, "rmse"), ({"accuracy": 0.5}, "accuracy"), ({}, None)]
)
def test_each_task_has_a_main_metric(metrics: dict[str, float], main: str | None) -> None:
    performance = Performance(rows=9, labelled_rows=9, metrics=metrics)
    window = windows(1, 1)[0].model_copy(update={"performance": {1: performance}})
    assert main_metric([window]) == main
    assert MonitorReport("m", START, (window,)).html()


def test_the_report_travels(report: MonitorReport, make_world: Callable[..., Any]) -> None:
    import pickle

    assert pickle.loads(pickle.dumps(report)) == report


def test_a_browser_draws_all_columns_when_they_are_looked_at(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium")
    hostile = "<script>document.title = 'owned'</script>"
    column = ColumnDrift(score=0.4, threshold=0.1, p_value=0.0, drifted=True)
    wide = [window.model_copy(update={"columns": {**window.columns, hostile: column}}) for window in windows(30, 199)]
    page = MonitorReport("wide", START, tuple(wide)).html().replace('id="columns">', 'id="columns" open>')
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=2000", "--dump-dom", f"file://{tmp_path / 'page.html'}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert len(re.findall(r"<details data-name=", done.stdout)) == 200
    assert "monitor report</title>" in done.stdout
