"""A planned stop: who drains replicas is waited for, and never for long where nobody does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from raymlops.errors import UnavailableError
from raymlops.runtime.supervision import head, stopping
from raymlops.runtime.supervision.home_note import (
    ClusterNote,
    Progress,
    note_cluster,
    note_drained,
    note_progress,
    noted_cluster,
    noted_drained,
    noted_progress,
    turn,
)
from tests.unit.runtime.supervision.stand_ins import stand_in

MARKER = "5e4d"
_process = partial(stand_in, environment={head.MARKER: MARKER})
DRAINS = """
import pathlib, sys, time
from raymlops.runtime.supervision.home_note import note_drained, stopping
home = pathlib.Path(sys.argv[1])
print("there", flush=True)
while not stopping(home):
    time.sleep(0.01)
(home / "asked").touch()
note_drained(home, sys.argv[2] or None)
sys.stdin.read()
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """The home of a platform with a GCS and a raylet."""
    note_cluster(tmp_path, ClusterNote(MARKER, "127.0.0.1:1", None, 1, "2.60.0", "3.11", -1, time.time()))
    note_progress(tmp_path, Progress("up"))
    with _process("/gcs_server"), _process("/raylet"):
        yield tmp_path


@pytest.mark.parametrize("trouble", [None, "3 rows of prediction events were not handed over in time"])
def test_the_reconciler_drains_then_everything_ends(running: Path, trouble: str | None) -> None:
    told: list[str] = []
    with _process(stopping.RECONCILER_TITLE, DRAINS, str(running), trouble or ""):
        assert stopping.take_down_local(running, told.append) == 3
    assert (running / "asked").exists()
    assert told == ([] if trouble is None else [trouble])
    assert (noted_cluster(running), noted_progress(running), noted_drained(running)) == (None, None, None)
    assert stopping.take_down_local(running, told.append) == 0


@pytest.mark.parametrize(
    ("title", "told"),
    [
        ("ray::MonitorActor", "the reconciler does not run, so that events may be lost"),
        (
            stopping.RECONCILER_TITLE,
            "the reconciler did not have replicas drained within 0.2 s, so that events may be lost",
        ),
    ],
)
def test_who_does_not_drain_is_waited_for_no_longer(
    running: Path, monkeypatch: pytest.MonkeyPatch, title: str, told: str
) -> None:
    monkeypatch.setattr(stopping, "_GONE_S", 0.1)
    monkeypatch.setattr(stopping, "_DRAIN_S", 0.2)
    said: list[str] = []
    with _process(title):
        assert stopping.take_down_local(running, said.append) == 3
    assert said == [told]
    assert noted_cluster(running) is None


def test_what_died_already_is_not_asked(tmp_path: Path) -> None:
    note_cluster(tmp_path, ClusterNote(MARKER, "127.0.0.1:1", None, 1, "2.60.0", "3.11", -1, time.time()))
    note_progress(tmp_path, Progress("up"))
    said: list[str] = []
    with _process("/gcs_server"):
        assert stopping.take_down_local(tmp_path, said.append) == 1
    assert said == []


def test_a_stop_that_was_interrupted_is_finished_by_the_next(running: Path) -> None:
    note_progress(running, Progress("stopping"))
    note_drained(running, None)
    with ExitStack() as left:
        left.enter_context(_process(stopping.RECONCILER_TITLE))
        assert stopping.take_down_local(running) == 3
    assert noted_progress(running) is None


def test_a_supervisor_that_takes_a_moment_to_end_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _process("supervisor") as supervisor:
        answers = iter([supervisor.pid, supervisor.pid, None])
        monkeypatch.setattr(stopping, "supervisor_of", lambda home: next(answers))
        assert stopping.stop_local(tmp_path) == 1


def test_who_starts_and_who_stops_take_turns(tmp_path: Path) -> None:
    order: list[str] = []
    with turn(tmp_path):
        other = threading.Thread(target=lambda: (stopping.stop_local(tmp_path), order.append("stopped")))
        other.start()
        with (
            pytest.raises(UnavailableError, match=r"another `raymlops up` or `down` of .* was at work for 0\.1 s"),
            turn(tmp_path, 0.1),
        ):
            raise AssertionError("it is somebody else's turn")
        order.append("started")
    other.join(30)
    assert order == ["started", "stopped"]
    assert stopping.stop_local(tmp_path / "nowhere") == 0
    assert not (tmp_path / "nowhere").exists()
