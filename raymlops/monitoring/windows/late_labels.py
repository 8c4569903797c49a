"""When closed windows are looked at again for labels that came late."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from raymlops.config.monitoring import MonitoringConfig
from raymlops.records.windows import WindowRecord

__all__ = ["LateLabels"]


class LateLabels:
    """Says which closed windows to measure anew, and with the labels known until when.

    A window stays open for late labels for ``late_labels`` after it has closed. Meanwhile it is looked at again where
    labels were recorded, at most once per ``late_labels_every``; at the end it is looked at once more, with the labels
    known by then, whatever the instant of the call. How far a window has come stands in its record; what is held here
    is only when the next look is worth while, and is lost without harm. Thread-safe.
    """

    def __init__(self, config: MonitoringConfig) -> None:
        self._delay = config.label_delay
        self._open = config.late_labels
        self._every = config.late_labels_every
        self._recorded: set[str] = set()
        self._looked: dict[str, datetime] = {}
        self._next_end: dict[str, datetime | None] = {}

    def record(self, model: str) -> None:
        """Labels of a model were recorded."""
        self._recorded.add(model)

    def since(self, model: str, now: datetime) -> datetime | None:
        """Start of the oldest windows worth a look now; ``None`` where none is due."""
        if not self._open:
            return None
        if model in self._looked and self._looked[model] <= now:  # else the clock was set back
            end = self._next_end.get(model)
            ended = end is not None and end <= now
            arrived = model in self._recorded and now >= self._looked[model] + self._every
            if not ended and not arrived:
                return None
        return now - self._delay - 2 * self._open - timedelta(days=1)

    def due(self, model: str, windows: Iterable[WindowRecord], now: datetime) -> list[tuple[WindowRecord, datetime]]:
        """The windows to measure anew, each with the instant until which labels count.

        Windows whose time for late labels was over long ago, for twice that time, are left as they are.
        """
        arrived = model in self._recorded or model not in self._looked
        self._recorded.discard(model)
        self._looked[model] = now
        found, ends = [], []
        for window in windows:
            end = window.end + self._delay + self._open
            if (window.labels_until or window.start) >= end or end <= now - self._open:
                continue
            if end <= now:
                found.append((window, end))
            else:
                ends.append(end)
                if arrived:
                    found.append((window, now))
        self._next_end[model] = min(ends, default=None)
        return found

    def closed(self, window: WindowRecord) -> None:
        """A window has just closed: it is open for late labels now."""
        end = window.end + self._delay + self._open
        known = self._next_end.get(window.model)
        self._next_end[window.model] = end if known is None else min(known, end)
