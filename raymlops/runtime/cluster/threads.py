"""Threads of ours that go on for ever: none ends unseen."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from raymlops.errors import RaymlopsError

__all__ = ["Repeating"]

_MOST_DOUBLINGS = 30

_log = logging.getLogger(__name__)


class Repeating:
    """Calls a function again and again in a daemon thread, whatever it raises.

    What it raises is logged, with the traceback where it is none of the domain's errors, and it is called again after
    a pause that doubles with each failure in a row.

    Args:
        name: Of the thread, for the log.
        work: The function.
        every_s: Pause after a call.
        pause_max_s: The pause grows no longer than this; ``every_s`` where that is more.
    """

    def __init__(self, name: str, work: Callable[[], object], every_s: float, *, pause_max_s: float = 30.0) -> None:
        self._name = name
        self._work = work
        self._every_s = every_s
        self._pause_max_s = max(pause_max_s, every_s)
        self._stopped = threading.Event()
        self._in_a_row = 0
        self.failures = 0
        """Calls that raised, since the start."""
        self.problem: str | None = None
        """The exception of the last call; ``None`` where it raised none."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it still goes on."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Call it no more; returns whether the last call has ended within the time."""
        self._stopped.set()
        self._thread.join(timeout_s)
        return not self.alive

    def _run(self) -> None:
        try:
            while not self._stopped.wait(self._once()):
                pass
        except BaseException as error:
            # the work handles its own exceptions; any other ends the thread, and `problem` must show it
            self.problem = f"the thread {self._name} has ended: {type(error).__name__}: {error}"
            _log.critical("%s", self.problem)
            raise

    def _once(self) -> float:
        """Call it; returns how long to rest."""
        try:
            self._work()
        except Exception as error:
            self.failures += 1
            self.problem = f"{type(error).__name__}: {error}"
            unforeseen = not isinstance(error, RaymlopsError)
            _log.warning("%s failed and will be tried again: %s", self._name, self.problem, exc_info=unforeseen)
            pause_s = max(self._every_s, 0.05) * 2 ** min(self._in_a_row, _MOST_DOUBLINGS)
            self._in_a_row += 1
            return float(min(pause_s, self._pause_max_s))
        self.problem, self._in_a_row = None, 0
        return self._every_s
