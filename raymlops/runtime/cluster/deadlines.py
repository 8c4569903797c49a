"""Calls that cannot be trusted to end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from raymlops.errors import UnavailableError

__all__ = ["begin", "ended", "within"]

T = TypeVar("T")


def begin(what: str, call: Callable[[], T]) -> Future[T]:
    """Make a call in a thread of its own, which the process does not wait for at its end."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # the caller that waits for the future raises it
            future.set_exception(error)

    threading.Thread(target=run, name=what, daemon=True).start()
    return future


def within(timeout_s: float, what: str, call: Callable[[], T]) -> T:
    """Make a call and wait for its end no longer than that.

    Raises:
        UnavailableError: It did not end in time; it goes on, and its result is dropped.
    """
    return ended(begin(what, call), timeout_s, what)


def ended(future: Future[T], timeout_s: float, what: str) -> T:
    """Wait for the end of a call that was begun; as ``within``."""
    try:
        return future.result(timeout_s)
    except TimeoutError as error:
        if future.done():
            raise
        raise UnavailableError(f"{what} took longer than {timeout_s:g} s") from error
