"""Loads of a pool's models: each in a thread of its own, for so long at most."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple, TypeVar

from raymlops.errors import UnavailableError
from raymlops.serving.pool.watched import resident_bytes

__all__ = ["THIS_MACHINE", "Loading", "Machine"]

T = TypeVar("T")


def _call_later(after_s: float, then: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(after_s, then)


class Machine(NamedTuple):
    """What a pool sees of the process it is in."""

    time_s: Callable[[], float] = time.monotonic
    """Monotonic seconds."""
    later: Callable[[float, Callable[[], None]], asyncio.TimerHandle] = _call_later
    """Calls something after so many seconds, on the event loop."""
    held_bytes: Callable[[], int] = resident_bytes
    """Memory that the process holds."""


THIS_MACHINE = Machine()


class Loading:
    """Runs loads. All methods belong to one event loop.

    A thread that hangs cannot be ended. So each load has a thread of its own, which keeps no other work waiting and
    does not hold up the end of the process; after the deadline nobody waits for it any more.

    Args:
        timeout_s: How long a load may take.
        machine: Tells the time.
    """

    def __init__(self, timeout_s: float, machine: Machine) -> None:
        self._timeout_s = timeout_s
        self._machine = machine
        self._hanging: dict[str, float] = {}
        self._newest_s = float("-inf")

    def problem(self, model: str) -> str | None:
        """Why a model is not loaded now: its last load goes on, and nobody waits for it any more."""
        return f"its load did not end within {self._timeout_s:g} s" if model in self._hanging else None

    def to_blame(self) -> dict[str, str]:
        """The models whose load hangs though others' loads, which began later, went well -> the reason, in words.

        Where no other model could be loaded since, the store of the files may hang, and no process would help.
        """
        told = f"its load did not end within {self._timeout_s:g} s, and other models could be loaded meanwhile"
        return {model: told for model, began_s in self._hanging.items() if began_s < self._newest_s}

    async def run(self, model: str, load: Callable[[], T]) -> T:
        """Call ``load``, and wait for its end or for the deadline.

        Raises:
            UnavailableError: It did not end in time, or an earlier load of the model has not ended yet.
        """
        if (problem := self.problem(model)) is not None:
            raise UnavailableError(problem)
        began_s = self._machine.time_s()
        ends: Future[T] = Future()
        threading.Thread(target=_settle, args=(ends, load), name=f"load-{model}", daemon=True).start()
        ended = asyncio.wrap_future(ends)
        over = asyncio.Event()
        alarm = self._machine.later(self._timeout_s, over.set)
        ended.add_done_callback(lambda _: over.set())
        try:
            await over.wait()
        finally:
            alarm.cancel()
        if not ended.done():
            self._hanging[model] = began_s
            ended.add_done_callback(lambda _: self._ended_late(model, ended))
            raise UnavailableError(str(self.problem(model)))
        loaded = ended.result()
        self._newest_s = max(self._newest_s, began_s)
        return loaded

    def _ended_late(self, model: str, ended: asyncio.Future[T]) -> None:
        del self._hanging[model]
        if not ended.cancelled():
            ended.exception()  # nobody waits for it


def _settle(ends: Future[T], load: Callable[[], T]) -> None:
    try:
        loaded = load()
    except BaseException as error:  # raised again by whoever waits
        ends.set_exception(error)
    else:
        ends.set_result(loaded)
