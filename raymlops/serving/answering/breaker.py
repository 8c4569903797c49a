"""A circuit breaker per version: what keeps failing is not asked any more, until it passes a probe. Pure."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from enum import StrEnum

from raymlops.config.serving import BreakerConfig

__all__ = ["Breaker", "BreakerState", "Breakers"]

_log = logging.getLogger(__name__)


class BreakerState(StrEnum):
    """Whether a version is asked."""

    CLOSED = "closed"
    """The version is asked."""
    OPEN = "open"
    """The version is not asked; its probe is not due yet."""
    PROBING = "probing"
    """The version is not asked; a probe of it is under way."""


class Breaker:
    """One version's state machine.

    It opens after so many failures in a row. Live traffic never closes it again, for then callers would be the probe: a
    probe off the request path does, after a wait that doubles with each opening and failed probe, and starts anew once
    the version has answered as many in a row as would have opened it.

    Not thread-safe. Instants are seconds of one monotonic clock, handed in.

    Example:
        >>> breaker = Breaker(BreakerConfig(failures=2))
        >>> breaker.fail("ValueError: x", 0.0), breaker.fail("ValueError: x", 0.1)
        (False, True)
        >>> breaker.state, breaker.reason
        (<BreakerState.OPEN: 'open'>, '2 failures in a row, the last one ValueError: x')
    """

    def __init__(self, config: BreakerConfig) -> None:
        self._limit = config.failures
        self._first_s = config.probe_after.total_seconds()
        self._longest_s = max(config.probe_after_max.total_seconds(), self._first_s)
        self._wait_s = self._first_s
        self._failures = 0
        self._answers = 0
        self.state = BreakerState.CLOSED
        self.reason: str | None = None
        """Why it is not closed."""
        self.due_s: float | None = None
        """When the next probe is due; ``None`` where none is."""

    @property
    def closed(self) -> bool:
        """Whether the version may be asked."""
        return self.state is BreakerState.CLOSED

    def succeed(self) -> None:
        """The version answered. Of requests that were under way when it opened, nothing is concluded."""
        if self.state is BreakerState.CLOSED:
            self._failures = 0
            self._answers += 1
            if self._answers >= self._limit:
                self._wait_s = self._first_s

    def fail(self, reason: str, now_s: float) -> bool:
        """The version raised, was late or answered something that is no answer.

        Returns:
            Whether that opened the breaker.
        """
        if self.state is not BreakerState.CLOSED:
            return False
        self._answers = 0
        self._failures += 1
        if self._failures < self._limit:
            return False
        self.trip(f"{self._failures} failures in a row, the last one {reason}", now_s)
        return True

    def trip(self, reason: str, now_s: float) -> None:
        """Open at once."""
        self._open(reason, now_s)

    def begin_probe(self, now_s: float) -> bool:
        """Whether a probe is due; it counts as under way then."""
        if self.state is not BreakerState.OPEN or self.due_s is None or now_s < self.due_s:
            return False
        self.state, self.due_s = BreakerState.PROBING, None
        return True

    def end_probe(self, problem: str | None, now_s: float) -> None:
        """Close again where there was no problem; else wait for the next probe."""
        if self.state is not BreakerState.PROBING:
            return
        if problem is not None:
            self._open(f"probe failed: {problem}", now_s)
            return
        self.state, self.reason = BreakerState.CLOSED, None
        self._failures = self._answers = 0

    def _open(self, reason: str, now_s: float) -> None:
        self.state, self.reason = BreakerState.OPEN, reason
        self.due_s = now_s + self._wait_s
        self._wait_s = min(2 * self._wait_s, self._longest_s)


class Breakers:
    """The breakers of the versions that a replica serves. Belongs to one event loop.

    Args:
        config: When they open.
        now_s: A monotonic clock, in seconds.

    Attributes:
        on_open: Called whenever one opens.
    """

    def __init__(self, config: BreakerConfig, now_s: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._breakers: dict[int, Breaker] = {}
        self._now_s = now_s
        self.on_open: Callable[[], None] | None = None
        self.openings: Counter[int] = Counter()
        """Version -> how often its breaker opened, of those forgotten, too."""

    def of(self, version: int) -> Breaker:
        """The version's breaker, closed at first."""
        breaker = self._breakers.get(version)
        if breaker is None:
            breaker = self._breakers[version] = Breaker(self._config)
        return breaker

    def fail(self, version: int, reason: str) -> None:
        """The version failed a request."""
        if self.of(version).fail(reason, self._now_s()):
            self._opened(version)

    def trip(self, version: int, reason: str) -> None:
        """Ask the version no more."""
        self.of(version).trip(reason, self._now_s())
        self._opened(version)

    def keep(self, versions: Iterable[int]) -> None:
        """Forget all others: a version that comes back is asked again. Safe from any thread."""
        kept = set(versions)
        self._breakers = {version: breaker for version, breaker in list(self._breakers.items()) if version in kept}

    def begin_probes(self) -> list[int]:
        """Versions whose probe is due, ascending; they count as being probed."""
        now_s = self._now_s()
        return sorted(version for version, breaker in self._breakers.items() if breaker.begin_probe(now_s))

    def end_probe(self, version: int, problem: str | None) -> None:
        """What a probe found, nothing where the version answers again; of a version that left, it means nothing."""
        breaker = self._breakers.get(version)
        if breaker is None:
            return
        breaker.end_probe(problem, self._now_s())
        if breaker.closed:
            _log.warning("version %d passed its probe and answers again", version)

    def wait_s(self) -> float | None:
        """Seconds until the next probe is due; ``None`` where none is to come."""
        due = [breaker.due_s for breaker in self._breakers.values() if breaker.due_s is not None]
        return None if not due else max(0.0, min(due) - self._now_s())

    def states(self) -> dict[int, BreakerState]:
        """State by version, ascending."""
        return {version: self._breakers[version].state for version in sorted(self._breakers)}

    def _opened(self, version: int) -> None:
        self.openings[version] += 1
        _log.warning("version %d is not asked any more: %s", version, self.of(version).reason)
        if self.on_open is not None:
            self.on_open()
