"""What is refused before anything is started, and what a replay may remove."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raymlops.cli.main import app
from raymlops.replay.client import Answer
from raymlops.replay.journal import JOURNAL, Journal
from raymlops.replay.plan import Wishes
from raymlops.replay.run import first_parameters
from raymlops.replay.settings import plan_replay
from raymlops.replay.source import load_project, request_keys

Make = Callable[..., Path]


def refused(*arguments: str) -> str:
    """The one line that a replay ends with."""
    done = CliRunner().invoke(app, ["replay", *arguments], env={"COLUMNS": "200"})
    assert done.exit_code == 1, done.output
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == 1, lines
    return lines[0]


def test_a_directory_without_a_project(tmp_path: Path) -> None:
    assert "project.yaml: a project must have it" in refused(str(tmp_path))


def test_a_project_without_data(make_project: Make) -> None:
    assert "needs a section data, or replay.source" in refused(str(make_project(replay=None)))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("MODULE:missing", "replay.source 'replayed_"),
        ("no.such.module:tables", "cannot be imported: No module named 'no'"),
        ("plain", "replay.source must be 'module:name', got 'plain'"),
        ("MODULE:fails", "failed: ValueError: no such file"),
        ("MODULE:nothing", "must return ReplayTables, got NoneType"),
    ],
)
def test_a_source_that_gives_no_tables(source: str, said: str, make_project: Make) -> None:
    assert said in refused(str(make_project(replay={"source": source})))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sample", "no"], "sample must be rows in a window, a share such as 0.1 or 10%, or all, got 'no'"),
        (["--from", "May"], "from must be a date or an instant such as 2026-03-01, got 'May'"),
        (["--to", "2026-13-01"], "to must be a date or an instant"),
        (["--from", "2020-01-01"], "from must lie between"),
        (["--speed", "fast"], "speed must be whole numbers with a unit"),
        (["--speed", "0s"], "speed must be longer than 0s"),
        (["--policy", "/no/such/file"], "policy /no/such/file cannot be read"),
        (["--resume"], "holds no replay to resume"),
    ],
)
def test_options_that_are_wrong(options: list[str], said: str, make_project: Make) -> None:
    directory = make_project()
    assert said in refused(str(directory), *options)
    assert not (directory / ".raymlops" / JOURNAL).exists(), "nothing was begun"


def test_a_home_that_is_no_replays_is_left_alone(make_project: Make, tmp_path: Path) -> None:
    home = tmp_path / "platform"
    home.mkdir()
    (home / "metadata.db").write_text("precious")
    assert "holds something else than a replay: give another --home" in refused(
        str(make_project()), "--home", str(home)
    )
    assert (home / "metadata.db").read_text() == "precious"


def test_one_replay_at_a_time_runs_in_a_home(make_project: Make, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from raymlops.replay.run import alone\n"
        "with alone(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "home")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert "another replay runs in" in refused(str(make_project()), "--home", str(tmp_path / "home"))
        other.communicate("", timeout=30)


def test_a_replay_is_resumed_only_as_it_was_begun(make_project: Make) -> None:
    directory = make_project()
    journal = Journal(directory / ".raymlops" / JOURNAL)
    journal.begin({"run": "r", "bundle": "b", "marks": {"seed": 8, "data": "3000 requests, 3000 labels"}})
    journal.hear(Answer("r1", (1.0,), 1, "champion"))
    journal.close()
    assert "was begun with other seed: give the same, or start anew" in refused(str(directory), "--resume")
    assert Journal.read(directory / ".raymlops" / JOURNAL).answers, "and nothing was removed"


def test_the_keys_of_a_request_are_those_of_the_service(make_project: Make) -> None:
    project = load_project(make_project())
    assert request_keys(project.definitions, "service") == ("user_id",)


def test_the_first_model_need_not_prove_more_than_a_small_table_can(make_project: Make) -> None:
    project = load_project(make_project())
    plan = plan_replay(project, Wishes()).plan
    assert first_parameters(project.spec, plan, 9) == {"monitor_window_days": 28.0, "confidence": 0.55, "seed": 9}


def test_what_the_project_says_of_its_training_stands(make_project: Make) -> None:
    replay = {"source": "MODULE:tables", "first_run": {"trials": 3}}
    project = load_project(make_project(training={"confidence": 0.9, "monitor_window_days": 7.0}, replay=replay))
    plan = plan_replay(project, Wishes()).plan
    assert first_parameters(project.spec, plan, 9) == {"trials": 3, "seed": 9}
