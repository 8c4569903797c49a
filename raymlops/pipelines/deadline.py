"""Work that has to end by a given time."""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from raymlops.errors import DeadlineExceeded

__all__ = ["time_limit"]


class _Expired(BaseException):
    """Raised inside the work; no ``except Exception`` of a step may swallow it."""


@contextmanager
def time_limit(seconds: float | None, what: str) -> Iterator[None]:
    """Interrupt the block after some seconds, in whatever it does in Python.

    In the main thread a sleep, a wait and a system call are interrupted too; in another thread, and in compiled code
    anywhere, the error comes when Python goes on. A process that must end by then needs another one to end it.

    Args:
        seconds: Real time; ``None``: no limit.
        what: Names the work in the error.

    Raises:
        DeadlineExceeded: The block took longer.
    """
    if seconds is None:
        yield
        return
    if seconds <= 0:
        raise DeadlineExceeded(f"{what} exceeded its deadline")
    in_main = threading.current_thread() is threading.main_thread()
    limit = _by_signal(seconds) if in_main else _by_timer(seconds)
    try:
        with limit:
            yield
    except _Expired as error:
        raise DeadlineExceeded(f"{what} exceeded its deadline of {seconds:.3g} s") from error


@contextmanager
def _by_signal(seconds: float) -> Iterator[None]:
    def expire(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise _Expired

    before = signal.signal(signal.SIGALRM, expire)
    outer_s, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    started = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if outer_s:
            # an outer alarm goes on, late by the time that this block took beyond it
            signal.setitimer(signal.ITIMER_REAL, max(outer_s - (time.monotonic() - started), 1e-6))


@contextmanager
def _by_timer(seconds: float) -> Iterator[None]:
    thread, lock, running = threading.get_ident(), threading.Lock(), True

    def expire() -> None:
        with lock:
            if running:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_Expired))

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            running = False
        timer.cancel()
