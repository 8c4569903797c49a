"""How much traffic a window usually has, by the windows before it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from raymlops.config.monitoring import QualityConfig
from raymlops.monitoring.data_quality.verdict import Finding, Verdict
from raymlops.records.windows import WindowRecord

__all__ = ["HISTORY", "Traffic", "TrafficHistory", "judge_traffic"]

FEWEST = 3
"""Windows like it that must be known before anything is called unusual."""
WEEKS = 8
DAYS = 14
_DAY, _WEEK = timedelta(days=1), timedelta(days=7)
HISTORY = WEEKS * _WEEK
"""How far back windows are looked at."""
_Z = 4.0


@dataclass(frozen=True)
class Traffic:
    """One window's traffic.

    Attributes:
        rows: Rows answered.
        silence: From the newest event to the window's end; the whole window where there is none.
    """

    rows: int
    silence: timedelta

    @classmethod
    def of(cls, window: WindowRecord) -> Self:
        """That of a closed window."""
        newest = window.newest_event_at
        return cls(window.rows, window.end - (window.start if newest is None else newest))


class TrafficHistory:
    """The traffic of one model's closed windows of the last eight weeks."""

    def __init__(self, windows: Iterable[WindowRecord] = ()) -> None:
        self._windows: dict[datetime, Traffic] = {}
        for window in windows:
            self.add(window)

    def add(self, window: WindowRecord) -> None:
        """A window has closed."""
        self._windows[window.start] = Traffic.of(window)
        oldest = window.start - HISTORY
        for start in [start for start in self._windows if start < oldest]:
            del self._windows[start]

    def usual(self, start: datetime, length: timedelta) -> list[Traffic]:
        """Earlier windows like the one that starts at ``start``; fewer than three are none.

        Of the same hour and weekday where there are enough; else, for windows up to a day, of the same hour.
        """
        for step, number in ((_WEEK, WEEKS), (_DAY, DAYS)):
            if step % length and length % step:
                continue
            stride = max(step, length)
            alike = [start - n * stride for n in range(1, number + 1) if n * stride <= HISTORY]
            found = [self._windows[at] for at in alike if at in self._windows]
            if len(found) >= FEWEST:
                return found
        return []


def judge_traffic(
    traffic: Traffic, length: timedelta, usual: Sequence[Traffic], config: QualityConfig
) -> Iterator[Finding]:
    """Volume and freshness of one window.

    Args:
        traffic: The window's.
        length: Of the window.
        usual: That of windows like it; without any, only freshness is judged, by its absolute bars.
        config: Bars.

    Yields:
        A verdict and its reason.
    """
    if usual:
        yield from _volume(traffic.rows, [each.rows for each in usual], config)
    if not traffic.rows:
        return
    share = traffic.silence / length
    known = max((each.silence for each in usual), default=timedelta(0))
    bars: tuple[tuple[Verdict, float], ...] = (
        ("block", config.block_silence_share),
        ("warn", config.warn_silence_share),
    )
    for verdict, bar in bars:
        if share > bar and traffic.silence > known:
            yield verdict, f"the newest event is {share:.0%} of the window old, over {bar:.0%}"
            return


def _volume(rows: int, before: Sequence[int], config: QualityConfig) -> Iterator[Finding]:
    """Unusual is what lies beyond a bar, beyond all windows like it, and beyond what chance makes of so few rows."""
    expected = statistics.median(before)
    chance = _Z * math.sqrt(max(expected, 1.0))
    few = rows < min(before) and rows < expected - chance
    bars: tuple[tuple[Verdict, float], ...] = (
        ("block", config.block_volume_share),
        ("warn", config.warn_volume_share),
    )
    for verdict, bar in bars:
        if few and rows < bar * expected:
            yield verdict, f"{rows} predictions, under {bar:.0%} of the {expected:g} usual at this time"
            return
    many = rows > max(before) and rows > expected + chance
    if many and rows > config.warn_volume_factor * expected:
        factor = config.warn_volume_factor
        yield "warn", f"{rows} predictions, over {factor:g} times the {expected:g} usual at this time"
