from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress

import pytest

from raymlops.errors import DeadlineExceeded
from raymlops.pipelines.deadline import time_limit


def _busy() -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        sum(range(100))


def _stubborn() -> None:
    while True:
        with suppress(Exception):
            time.sleep(30)


def _inner_then_asleep() -> None:
    with pytest.raises(DeadlineExceeded, match="inner"), time_limit(0.02, "inner"):
        time.sleep(30)
    time.sleep(30)


def test_what_ends_in_time_is_left_alone() -> None:
    before, alarmed = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0] > 0
    with time_limit(30, "work"), time_limit(None, "more"):
        pass
    assert (signal.getitimer(signal.ITIMER_REAL)[0] > 0) is alarmed, "an alarm of somebody else goes on"
    assert signal.getsignal(signal.SIGALRM) is before


def test_a_sleep_and_a_loop_are_interrupted() -> None:
    for work in (lambda: time.sleep(30), _busy):
        with pytest.raises(DeadlineExceeded, match=r"^work exceeded its deadline of 0\.05 s"), time_limit(0.05, "work"):
            work()


def test_no_handler_of_exceptions_swallows_it() -> None:
    with pytest.raises(DeadlineExceeded), time_limit(0.05, "work"):
        _stubborn()


def test_what_is_late_already_does_not_begin() -> None:
    begun = False
    with pytest.raises(DeadlineExceeded, match=r"exceeded its deadline$"), time_limit(-1, "work"):
        begun = True
    assert not begun


def test_in_another_thread_python_code_is_interrupted() -> None:
    found: list[str] = []

    def work() -> None:
        try:
            with time_limit(0.05, "work"):
                _busy()
        except DeadlineExceeded as error:
            found.append(str(error))
        with time_limit(30, "more"):
            found.append("goes on")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(25)
    assert found == ["work exceeded its deadline of 0.05 s", "goes on"]


def test_an_outer_limit_goes_on_after_an_inner_one() -> None:
    with pytest.raises(DeadlineExceeded, match="outer"), time_limit(0.1, "outer"):
        _inner_then_asleep()
