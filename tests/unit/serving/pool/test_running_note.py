"""A note outlives the process that wrote it, and says whose code ran when the process was killed."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from raymlops.serving.pool.running_note import RunningNote, Suspects, left_behind

PROGRAM = """
import os, sys
from pathlib import Path
from raymlops.serving.pool.running_note import RunningNote
note = RunningNote(Path(sys.argv[1]))
with note.mark("done"):
    pass
with note.mark("outer"), note.mark("inner"):
    os.kill(os.getpid(), 9)
"""


def killed(directory: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(directory)], timeout=60, check=False)
    assert done.returncode == -9


def test_a_killed_process_leaves_the_names_of_those_whose_code_ran(tmp_path: Path) -> None:
    killed(tmp_path)
    assert list(left_behind(tmp_path).values()) == [{"outer", "inner"}]
    suspects = Suspects(tmp_path)
    suspects.keep({"outer", "done"})
    assert suspects.models == {"outer"}
    assert len(left_behind(tmp_path)) == 1  # one of them is in the pool still
    suspects.keep({"done"})
    assert (suspects.models, left_behind(tmp_path)) == (frozenset(), {})


def test_the_note_of_a_process_that_lives_accuses_nobody(tmp_path: Path) -> None:
    note = RunningNote(tmp_path)
    with note.mark("a"):
        assert Suspects(tmp_path).models == frozenset()
        assert len(list(tmp_path.iterdir())) == 1
    note.close()
    assert list(tmp_path.iterdir()) == []


def test_a_note_is_seen_by_others_only_once_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, seen = fcntl.flock, []

    def locks(file: int, operation: int) -> None:
        seen.append(notes_in(tmp_path))
        lock(file, operation)

    monkeypatch.setattr("raymlops.serving.pool.running_note.fcntl.flock", locks)
    note = RunningNote(tmp_path)
    assert seen == [[]]
    assert len(notes_in(tmp_path)) == 1
    note.close()


def notes_in(directory: Path) -> list[str]:
    return [path.name for path in directory.glob("*.running")]


def test_code_that_runs_in_several_threads_is_noted_until_the_last_ends(tmp_path: Path) -> None:
    note = RunningNote(tmp_path)
    mark, inside, leave = note.mark("a"), threading.Event(), threading.Event()

    def run() -> None:
        with mark:
            inside.set()
            assert leave.wait(20)

    thread = threading.Thread(target=run)
    thread.start()
    assert inside.wait(20)
    (path,) = tmp_path.iterdir()
    with mark:
        assert path.read_bytes()[0] == 1
    assert path.read_bytes()[0] == 1
    leave.set()
    thread.join(20)
    assert path.read_bytes()[0] == 0
    assert note.mark("a") is mark
    note.close()
