"""Which window of a model is judged next."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from raymlops.clock import from_us, to_us
from raymlops.config.monitoring import MonitoringConfig
from raymlops.monitoring.data_quality.bounds import inside
from raymlops.monitoring.events.ports import EventTables
from raymlops.records.windows import WindowRecord, WindowStore

__all__ = ["WindowSchedule", "events_name", "grid", "labels_name"]

_LONG_SILENCE = 48
"""Number of due windows in a row without events from which on they are not judged one by one."""


class WindowSchedule:
    """Finds the next window to judge, from the stored windows and, before the first, from the first event.

    A window that ends after now was judged before the clock was set back, and counts for nothing. Events whose time is
    not sane do not count either. What is held is a cache. Thread-safe; one caller at a time per model closes.

    Args:
        tables: The tables of events.
        windows: The store of windows.
        config: Length, grid and delay.
    """

    def __init__(self, tables: EventTables, windows: WindowStore, config: MonitoringConfig) -> None:
        self._tables = tables
        self._windows = windows
        self._config = config
        self._dating = threading.Lock()
        self._earliest: dict[str, datetime] = {}
        self._next: dict[str, datetime] = {}

    def recorded(self, model: str, events: pa.Table) -> None:
        """Note events of plausible times; called after their append, so that a concurrent look finds them."""
        with self._dating:
            if model in self._earliest and events.num_rows:
                self._earliest[model] = min(self._earliest[model], pc.min(events["event_time"]).as_py())

    def due(self, start: datetime, now: datetime) -> bool:
        """Whether the window that starts at ``start`` has ended, and its labels have had time to come."""
        return now - start >= self._config.window + self._config.label_delay

    def next_start(self, model: str, now: datetime) -> datetime | None:
        """Start of the first window not judged yet; ``None`` where the model has no events."""
        known = self._next.get(model)
        if known is not None and known <= now:
            return known
        past = [window for window in self._windows.list_windows(model, None, now) if window.end <= now]
        if past:
            self._next[model] = grid(self._config, past[-1].end, up=True)
            return self._next[model]
        earliest = self._first_event(model)
        return None if earliest is None else grid(self._config, earliest)

    def closed(self, record: WindowRecord, now: datetime) -> datetime:
        """A window was judged; returns the start of the next one."""
        start, config = record.end, self._config
        newest_due = grid(config, now - config.label_delay) - config.window
        if record.newest_event_at is None and newest_due - start > _LONG_SILENCE * config.window:
            following = self._event_from(record.model, start, newest_due)
            start = newest_due if following is None else grid(config, following)
        self._next[record.model] = start
        return start

    def _event_from(self, model: str, start: datetime, end: datetime) -> datetime | None:
        """Time of the first event between two instants."""
        events = self._read(model, start, end)
        return pc.min(events["event_time"]).as_py() if events.num_rows else None

    def _first_event(self, model: str) -> datetime | None:
        with self._dating:
            if model not in self._earliest:
                events = self._read(model, None, None)
                if not events.num_rows:
                    return None
                self._earliest[model] = pc.min(events["event_time"]).as_py()
            return self._earliest[model]

    def _read(self, model: str, start: datetime | None, end: datetime | None) -> pa.Table:
        columns = ["event_time", "served_at"]
        events = self._tables.read(events_name(model), start, end, "event_time", columns=columns)
        return inside(events, self._config) if events.num_rows else events


def grid(config: MonitoringConfig, instant: datetime, *, up: bool = False, every: timedelta | None = None) -> datetime:
    """The last start of a window, or of a longer period, at or before an instant; with ``up`` the first at or after."""
    length, anchor = every or config.window, config.anchor
    number = -((anchor - instant) // length) if up else (instant - anchor) // length
    return from_us(to_us(anchor + number * length))


def events_name(model: str) -> str:
    """Name of a model's table of prediction events."""
    return f"predictions/{model}"


def labels_name(model: str) -> str:
    """Name of a model's table of labels."""
    return f"labels/{model}"
