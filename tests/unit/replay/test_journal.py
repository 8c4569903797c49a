"""A replay that was killed is known from its journal."""

from __future__ import annotations

from pathlib import Path

import pytest

from raymlops.replay.client import Answer
from raymlops.replay.journal import JOURNAL, Journal, Progress

ANSWER = Answer("row-1", (0.25, 0.75), 3, "canary")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / JOURNAL


def _written(path: Path) -> None:
    journal = Journal(path)
    journal.begin({"run": "run-1", "bundle": "b", "marks": {"seed": 7}})
    journal.hear(ANSWER)
    journal.hear("predict: 503 not ready")
    journal.hear(None)
    journal.end_step(1, 2.5)
    journal.hear(Answer("row-2", (1.5,), 3, "champion"))
    journal.close()


def test_what_was_written_is_read_again(path: Path) -> None:
    _written(path)
    found = Journal.read(path)
    assert found.begun == {"run": "run-1", "bundle": "b", "marks": {"seed": 7}}
    assert found.answers["row-1"] == ANSWER
    assert list(found.answers) == ["row-1", "row-2"]
    assert (found.tally.requests, found.tally.failed) == (4, 1)
    assert found.tally.failures == ["predict: 503 not ready"]
    assert (found.steps, found.seconds) == (1, 2.5)


def test_nothing_was_done_where_there_is_no_journal_or_an_empty_one(path: Path) -> None:
    assert Journal.read(path) == Progress()
    path.parent.mkdir()
    path.touch()
    assert Journal.read(path) == Progress()


def test_a_line_that_a_kill_cut_short_is_left_out_and_what_follows_is_not(path: Path) -> None:
    _written(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert "row-2" not in Journal.read(path).answers
    journal = Journal(path)
    journal.end_step(2, 1.0)
    journal.close()
    found = Journal.read(path)
    assert (found.steps, found.seconds) == (2, 3.5)
    assert list(found.answers) == ["row-1"]


def test_an_answer_is_written_before_the_next_one_comes(path: Path) -> None:
    journal = Journal(path)
    journal.hear(ANSWER)
    assert Journal.read(path).answers == {"row-1": ANSWER}, "though the journal is still open"
    journal.close()
