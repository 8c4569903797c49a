"""The clock on the node of the control actors, and what watches it. Imports no Ray."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from raymlops.clock import Clock, ReplayClock, SystemClock
from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError

__all__ = ["ClockMoved", "ClockWatch", "clock_path", "own_clock"]

_log = logging.getLogger(__name__)


def own_clock(config: PlatformConfig) -> Clock:
    """The clock of a process on the node of the control actors; made where there is none and ``start`` is set.

    Raises:
        ConfigError: There is no replay clock, and none can be made.
    """
    if config.clock.kind == "system":
        return SystemClock()
    path = clock_path(config)
    try:
        return ReplayClock.opened(path, config.clock.start)
    except FileNotFoundError as error:
        rule = "set clock.start, the instant at which it begins"
        raise ConfigError(f"the replay clock {path} does not exist: {rule}", path=str(path)) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"the replay clock {path} cannot be opened: {error}", path=str(path)) from error


def clock_path(config: PlatformConfig) -> Path:
    """The file of the replay clock."""
    return config.clock.path or config.home / "clock"


class ClockWatch:
    """Tells when a clock has jumped against the time that really passed: nothing is to be removed by such a clock.

    A clock that stays where it jumped to is believed after ``hold``. Not thread-safe.

    Args:
        clock: Watched.
        tolerance: So far may the two differ.
        hold: So long, of real time, a clock that jumped is not believed.
        monotonic: Measures real time.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        tolerance: timedelta = timedelta(days=1),
        hold: timedelta = timedelta(days=1),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._tolerance = tolerance
        self._hold_s = hold.total_seconds()
        self._monotonic = monotonic
        self._jumped_at_s: float | None = None
        self._believe(clock.now())

    def believed(self) -> bool:
        """Whether the clock stands where it should, or has stood elsewhere for long enough."""
        now, now_s = self._clock.now(), self._monotonic()
        expected = timedelta(seconds=now_s - self._at_s)
        if abs(now - self._at - expected) <= self._tolerance:
            self._believe(now)
            return True
        if self._jumped_at_s is None:
            self._jumped_at_s = now_s
            _log.error("the clock jumped from %s to %s: nothing is removed by it for now", self._at, now)
        if now_s - self._jumped_at_s < self._hold_s:
            return False
        self._believe(now)
        return True

    def _believe(self, now: datetime) -> None:
        self._at, self._at_s, self._jumped_at_s = now, self._monotonic(), None


class ClockMoved:
    """Tells whether a clock has moved by a step since it last said so; the first answer is yes."""

    def __init__(self, clock: Clock, step: timedelta) -> None:
        self._clock = clock
        self._step = step
        self._last = clock.now() - step

    def __call__(self) -> bool:
        now = self._clock.now()
        # a replay that begins anew sets the clock back
        if self._last <= now < self._last + self._step:
            return False
        self._last = now
        return True
