from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from raymlops.errors import UnavailableError
from raymlops.runtime.cluster.threads import Repeating


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline


def test_it_goes_on_whatever_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    errors: list[Exception] = [OverflowError("date value out of range"), UnavailableError("later"), MemoryError()]
    done = threading.Event()

    def work() -> None:
        if errors:
            raise errors.pop(0)
        done.set()

    repeating = Repeating("upkeep", work, 0.001, pause_max_s=0.001)
    assert done.wait(30)
    until(lambda: repeating.problem is None)
    assert (repeating.failures, repeating.alive) == (3, True)
    assert repeating.stop()
    traced = [bool(record.exc_info) for record in caplog.records]
    assert traced == [True, False, True]


def test_trouble_that_lasts_is_told_and_rested_after() -> None:
    asked = threading.Event()

    def work() -> None:
        asked.set()
        raise KeyError("x")

    repeating = Repeating("upkeep", work, 1000.0)
    assert asked.wait(30)
    until(lambda: repeating.problem == "KeyError: 'x'")
    assert (repeating.alive, repeating.failures) == (True, 1)
    assert repeating.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_ends_the_thread_is_seen() -> None:
    def work() -> None:
        raise SystemExit("by whoever imported it")

    repeating = Repeating("reconcile", work, 0.001)
    until(lambda: not repeating.alive)
    assert repeating.problem == "the thread reconcile has ended: SystemExit: by whoever imported it"


@pytest.mark.parametrize(("in_a_row", "pause_s"), [(0, 2.0), (1, 4.0), (3, 16.0), (10, 30.0), (10_000, 30.0)])
def test_the_pause_grows_and_is_bounded(in_a_row: int, pause_s: float) -> None:
    def work() -> None:
        raise KeyError

    repeating = Repeating("upkeep", lambda: None, 2.0)
    assert repeating.stop()
    repeating._work, repeating._in_a_row = work, in_a_row
    assert repeating._once() == pause_s
