"""A stranger's table becomes a loop: replayed start to end, and again with a kill in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv

from raymlops.replay.journal import JOURNAL, Journal
from raymlops.runtime.supervision.home_note import noted_cluster

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

ROWS, DAYS = 3000, 365
_DEFINITIONS = """
from datetime import timedelta

from raymlops.features import Entity, FeatureService, FeatureView, Field, WindowAggregate

row = Entity("visit_row", ["row_id"])
user = Entity("user", ["user_id"])
inputs = [Field("user_id", "string"), Field("a", "float64"), Field("b", "float64")]
events = FeatureView("events", row, inputs, online=False)
outcomes = FeatureView(
    "outcomes", row, [Field("label", "int64"), Field("asked_at", "timestamp"), *inputs], online=False
)
recent = FeatureView(
    "recent",
    user,
    [Field("a", "float64")],
    source="events",
    aggregates=[WindowAggregate("a_30d", "mean", "a", timedelta(days=30))],
)
DEFINITIONS = (row, user, events, outcomes, recent, FeatureService("visits", ["recent:a_30d"]))
"""
_SPINE = """
import pyarrow as pa
import pyarrow.compute as pc


def spine(tables, start, end):
    rows = tables.table("outcomes")
    at = rows["asked_at"]
    rows = rows.filter(pc.and_(pc.greater_equal(at, pa.scalar(start, at.type)), pc.less(at, pa.scalar(end, at.type))))
    names = {"event_time": "asked_at", "label": "label", "label_time": "event_time"}
    names |= {name: name for name in ("user_id", "a", "b")}
    return pa.table({name: rows[column] for name, column in names.items()})
"""
_TEST = """
from visits.definitions import DEFINITIONS


def test_the_service_is_defined():
    assert DEFINITIONS[-1].name == "visits"
"""
_CONFTEST = """
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
"""
_PLATFORM = "cluster: {start_timeout: 5m, boot_timeout: 5m}\n"  # a busy machine fails no test
_PROJECT = """
name: visits
model: visits
definitions: visits.definitions:DEFINITIONS
service: visits
spine: visits.spine:spine
request_columns: [a, b]
data:
  table: visits.csv
  label: won
  event_time: at
  entities: [user_id]
  label_delay: 1d
  classes: ["no", "yes"]
  events_view: events
  outcomes_view: outcomes
training:
  holdout_days: 20
  train_window_days: 100
  trials: 2
  quality: {min_rows: 300}
  seed: 7
  search:
    logistic:
      C: {log_uniform: [0.1, 10.0]}
"""


def _write_project(directory: Path) -> Path:
    """A project whose label turns on its input half-way."""
    package = directory / "visits"
    (directory / "tests").mkdir(parents=True)
    package.mkdir()
    files = {
        package / "__init__.py": "",
        package / "definitions.py": _DEFINITIONS,
        package / "spine.py": _SPINE,
        directory / "tests" / "conftest.py": _CONFTEST,
        directory / "tests" / "test_visits.py": _TEST,
        directory / "project.yaml": _PROJECT,
        directory / "platform.yaml": _PLATFORM,
    }
    for path, text in files.items():
        path.write_text(text)
    rng = np.random.default_rng(5)
    day = np.sort(rng.uniform(0, DAYS, ROWS))
    a, b = rng.normal(size=(2, ROWS))
    pull = np.where(day > 0.35 * DAYS, -2.0, 2.0) * a + b
    won = rng.random(ROWS) < 1 / (1 + np.exp(-pull))
    start = datetime(2025, 1, 1, tzinfo=UTC)
    at = [(start + timedelta(days=each)).isoformat() for each in day.tolist()]
    users = [f"u{number}" for number in rng.integers(0, 30, ROWS)]
    table = pa.table({"at": at, "user_id": users, "a": a, "b": b, "won": np.where(won, "yes", "no")})
    csv.write_csv(table, directory / "visits.csv")
    return directory


def _replay(project: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "raymlops.cli.main", "replay", str(project), "--json", str(project / "f.json")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYMLOPS_"))}
    return subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def _figures(project: Path, process: subprocess.Popen[str]) -> dict[str, Any]:
    try:
        said, _ = process.communicate(timeout=700)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # which stops the platform of the replay, too
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    figures: dict[str, Any] = json.loads((project / "f.json").read_text())
    return figures


def _check(figures: dict[str, Any], project: Path) -> None:
    assert figures["failed"] == 0, figures["failures"]
    assert figures["retrainings"] >= 1
    assert figures["promotions"] >= 1
    assert set(figures["loss"]) == {"loop", "never", "calendar"}
    assert figures["loss"]["loop"] < figures["loss"]["never"], "the label turned, and the loop learned it"
    windows = figures["windows"]
    assert windows[0]["loop"] == pytest.approx(windows[0]["never"], abs=1e-6), "the first version answered"
    for which in ("loop", "never", "calendar"):
        mean = sum(each[which] * each["rows"] for each in windows) / figures["rows"]
        assert figures["loss"][which] == pytest.approx(mean)
    page = (project / ".raymlops" / "replay.html").read_text()
    assert "<script" not in page
    assert noted_cluster(project / ".raymlops") is None, "nothing was left running"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    project = _write_project(tmp_path_factory.mktemp("whole"))
    return project, _figures(project, _replay(project))


def test_a_table_is_replayed_and_the_loop_learns_what_has_turned(whole: tuple[Path, dict[str, Any]]) -> None:
    project, figures = whole
    _check(figures, project)


def test_a_replay_that_is_killed_is_resumed_to_the_same_requests(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    project = _write_project(tmp_path)
    process = _replay(project)
    journal, deadline = project / ".raymlops" / JOURNAL, time.monotonic() + 400
    while Journal.read(journal).steps < 8:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert process.stdout is not None
    process.stdout.close()
    before = Journal.read(journal)
    figures = _figures(project, _replay(project, "--resume"))
    _check(figures, project)
    after = Journal.read(journal)
    assert {name: after.answers[name] for name in before.answers} == before.answers, "asked once"
    assert after.steps == 3 * len(figures["windows"])
    assert sum(figures["windows"][place]["rows"] for place in range(len(figures["windows"]))) == whole[1]["rows"]


_NEVER = "\npolicy:\n  triggers: {regret: null, performance: null, drift: null}\n"
_BY_LABELS = """
policy:
  triggers: {regret: null, performance: null, drift: null, new_labelled_rows: 100}
  retrain: {cooldown: 1d, min_labelled_rows: 100}
"""


def test_another_policy_decides_and_the_table_passes_no_faster_than_it_is_told(tmp_path: Path) -> None:
    """The project says never to retrain; the file says to do it for new labels."""
    project = _write_project(tmp_path)
    (project / "project.yaml").write_text(_PROJECT + _NEVER)
    (tmp_path / "policy.yaml").write_text(_BY_LABELS)
    speed_days = 10
    process = _replay(project, "--windows", "3", "--policy", str(tmp_path / "policy.yaml"), "--speed", f"{speed_days}d")
    figures = _figures(project, process)
    assert figures["failed"] == 0, figures["failures"]
    started = [each["reason"] for each in figures["decisions"] if each["action"] == "retrain"]
    assert started
    assert all("label" in reason for reason in started), started
    starts = [datetime.fromisoformat(each["start"]) for each in figures["windows"]]
    days = len(starts) * (starts[1] - starts[0]).days
    assert Journal.read(project / ".raymlops" / JOURNAL).seconds >= days / speed_days


def test_a_policy_that_never_retrains_is_kept_without_a_file(tmp_path: Path) -> None:
    project = _write_project(tmp_path)
    (project / "project.yaml").write_text(_PROJECT + _NEVER)
    figures = _figures(project, _replay(project, "--windows", "3"))
    assert (figures["failed"], figures["retrainings"]) == (0, 0)
