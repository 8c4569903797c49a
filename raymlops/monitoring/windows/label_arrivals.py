"""Which closed windows something has come for since they were measured, told from what was recorded since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import polars as pl

from raymlops.monitoring.events.ports import EventTables
from raymlops.monitoring.performance.labels import KEY
from raymlops.records.windows import WindowRecord

__all__ = ["LabelArrivals", "Look"]

Due = tuple[WindowRecord, datetime]


class Look(NamedTuple):
    """The findings of one look at closed windows, and the start of the next look."""

    touched: list[Due]
    labels: Mapping[str, int]
    events: Mapping[str, int]
    now: datetime
    starts: frozenset[datetime]


class LabelArrivals:
    """Spares the windows that nothing has come for: there may be hundreds open for late labels.

    What is held is the last look alone; without one, after a start, every window counts as touched. One caller at a
    time.

    Args:
        tables: The tables of events and labels.
    """

    def __init__(self, tables: EventTables) -> None:
        self._tables = tables
        self._looks: dict[str, Look] = {}

    def look(self, model: str, events: str, labels: str, due: Sequence[Due], now: datetime) -> Look:
        """Tell windows that have to be measured anew: those not looked at before, and those that end now, among them.

        Args:
            model: Name of the model.
            events: Name of its event table.
            labels: Name of its label table.
            due: Closed windows, each with the instant until which labels count.
            now: The same instant for those that are still open for labels.
        """
        if not due:
            return Look([], {}, {}, now, frozenset())
        marks = self._tables.marks(labels), self._tables.marks(events)
        starts = frozenset(window.start for window, _ in due)
        last = self._looks.get(model)
        touched = list(due)
        known = (
            [] if last is None else [window for window, until in due if until == now and window.start in last.starts]
        )
        if last is not None and known:  # so that the last look has marks
            hit = self._hit(known, events, labels, last)
            untouched = {window.start for window in known} - hit
            touched = [(window, until) for window, until in due if window.start not in untouched]
        return Look(touched, *marks, now, starts)

    def measured(self, model: str, look: Look) -> None:
        """All windows that a look has found were measured."""
        self._looks[model] = look

    def _hit(self, windows: Sequence[WindowRecord], events: str, labels: str, last: Look) -> set[datetime]:
        """Starts of the windows that labels or rows have come for since the last look."""
        first, end = min(window.start for window in windows), max(window.end for window in windows)
        columns = [*KEY, "event_time"]
        found = [self._frame(events, columns, first, end, after=last.events)]
        fresh = [
            self._frame(labels, KEY, None, None, after=last.labels),
            # recorded before, and dated after, the last look: it did not count them then
            self._frame(labels, KEY, last.now, None, until=last.labels),
        ]
        fresh = [frame for frame in fresh if frame.height]
        if fresh:
            rows = self._frame(events, columns, first, end)
            found.append(rows.join(pl.concat(fresh).unique(), on=KEY, how="semi"))
        times = [frame["event_time"] for frame in found if frame.height]
        return {
            window.start for window in windows if any(((at >= window.start) & (at < window.end)).any() for at in times)
        }

    def _frame(
        self,
        name: str,
        columns: Sequence[str],
        start: datetime | None,
        end: datetime | None,
        **marks: Mapping[str, int],
    ) -> pl.DataFrame:
        found = pl.from_arrow(self._tables.read(name, start, end, "event_time", columns=columns, **marks))
        assert isinstance(found, pl.DataFrame)
        return found
