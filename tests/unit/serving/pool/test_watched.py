"""What the calls of a model leave in memory is its own, and never a neighbour's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raymlops.serving.pool.running_note import RunningNote
from raymlops.serving.pool.watched import Work

MIB = 1 << 20


class Scoring:
    """A model that does something while it scores."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def score(self, encoded: Any) -> Any:
        self._act()
        return encoded


class Memory:
    """Of the process."""

    def __init__(self) -> None:
        self.held = 100 * MIB

    def grow(self) -> None:
        self.held += MIB


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    found = Memory()
    monkeypatch.setattr("raymlops.serving.pool.watched.resident_bytes", lambda: found.held)
    return found


def run(work: Work, act: Callable[[], None], calls: int) -> int:
    model: Any = Scoring(act)
    for _ in range(calls):
        work.run(model, {})
    return work.worked.grown_bytes


def test_what_calls_leave_behind_is_told_from_a_sample_of_them(tmp_path: Path, memory: Memory) -> None:
    work = Work(RunningNote(tmp_path).mark("leaks"))
    assert run(work, memory.grow, 160) == 160 * MIB


def test_a_call_beside_which_a_neighbour_runs_is_not_measured(tmp_path: Path, memory: Memory) -> None:
    note = RunningNote(tmp_path)
    good, loads = Work(note.mark("good")), note.mark("loads")

    def while_a_neighbour_is_loaded() -> None:
        with loads:
            memory.grow()

    assert run(good, while_a_neighbour_is_loaded, 160) == 0
    with loads:
        assert run(good, memory.grow, 160) == 0
    assert run(good, lambda: None, 16) == 0


def test_a_call_that_fails_is_counted_and_measured_like_any_other(tmp_path: Path, memory: Memory) -> None:
    work = Work(RunningNote(tmp_path).mark("fails"))

    def fail() -> None:
        memory.grow()
        raise ValueError("no answer")

    for _ in range(16):
        with pytest.raises(ValueError, match="no answer"):
            run(work, fail, 1)
    assert work.worked.calls == 16
    assert work.worked.grown_bytes == 16 * MIB
