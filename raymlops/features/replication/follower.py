"""A node's copy of the online store: it follows the writer's."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from raymlops.clock import Clock
from raymlops.errors import UnavailableError
from raymlops.features.catalog.applied import CatalogState
from raymlops.features.definitions.views import FeatureView
from raymlops.features.online.materializer import Materializer
from raymlops.features.online.online_store import OnlineStore, Watermark
from raymlops.features.replication.ports import Leader, Progress

__all__ = ["CopyReport", "Follower"]


@dataclass(frozen=True)
class CopyReport:
    """Where a copy stands."""

    watermarks: Mapping[str, Watermark | None]
    """View -> how far the copy has it, for all views that the writer has online."""
    behind_rows: Mapping[str, int]
    """View -> rows of its table that the writer had and the copy has not, when they were last compared."""
    level_at: datetime | None
    """When the copy last had all that the writer had; ``None`` if it never did."""
    error: str | None
    """Why the last attempt failed; ``None`` if it did not."""


class _TablesUpTo:
    """The tables as far as the writer has materialised them: a copy is never ahead of it."""

    def __init__(self, leader: Leader, goals: Mapping[str, Watermark]) -> None:
        self._leader = leader
        self._goals = goals

    def exists(self, name: str) -> bool:
        return self._leader.has_table(name)

    def version(self, name: str) -> int:
        return self._goals[name].table_version

    def last_sequence(self, name: str) -> int:
        return self._goals[name].sequence

    def read(self, name: str, *, columns: Sequence[str], after_sequence: int, until_sequence: int) -> Any:
        return self._leader.rows(name, columns=columns, after_sequence=after_sequence, until_sequence=until_sequence)


class Follower:
    """Brings a copy up to the writer, again and again; it never goes back, and it goes on where it was cut off.

    ``step`` may be called by one thread at a time, the rest by any.

    Args:
        leader: The writer.
        online: The copy.
        clock: Bounds how much history the copy lets go.
        history: How far back from now reads of the copy stay exact.
    """

    def __init__(self, leader: Leader, online: OnlineStore, clock: Clock, history: timedelta) -> None:
        self._leader = leader
        self._online = online
        self._clock = clock
        self._history = history
        self._progress = Progress("", {})
        self._state: CatalogState | None = None
        self._level_at: datetime | None = None
        self._error: str | None = None
        self._stepped = threading.Condition()

    def step(self) -> None:
        """Take one turn: ask how far the writer is, and fetch what is missing, in batches of bounded size.

        Raises:
            RaymlopsError: the writer does not answer, or something cannot be read or written. What was fetched stays.
        """
        try:
            self._follow()
        except Exception as error:
            self._note(f"{type(error).__name__}: {error}")
            raise
        self._note(None)

    def _note(self, error: str | None) -> None:
        with self._stepped:
            self._error = error
            if error is None:
                self._level_at = self._clock.now()
            self._stepped.notify_all()

    def _follow(self) -> None:
        progress = self._leader.progress()
        if self._state is None or progress.definitions != self._progress.definitions:
            self._state = self._leader.definitions()
        self._progress = progress
        groups: dict[tuple[str, Watermark], list[FeatureView]] = {}
        for ref, goal in progress.watermarks.items():
            mark = self._online.watermark(ref)
            if mark is None or _rows_behind(mark, goal):
                view = self._state.views[ref].view
                groups.setdefault((self._state.table_of(view), goal), []).append(view)
        for (table, goal), views in groups.items():
            tables = _TablesUpTo(self._leader, {table: goal})
            Materializer(tables, self._online, self._clock, self._history).table(table, views, None)
            with self._stepped:
                self._stepped.notify_all()

    def reach(self, goals: Mapping[str, Watermark], timeout_s: float) -> None:
        """Wait until the copy has views as far as some watermarks.

        Raises:
            UnavailableError: it does not within ``timeout_s``.
        """
        with self._stepped:
            if self._stepped.wait_for(lambda: not self._missing(goals), timeout_s):
                return
            error = self._error
        view, (mark, goal) = next(iter(self._missing(goals).items()))
        at = "nowhere" if mark is None else f"row {mark.sequence}"
        reason = "" if error is None else f"; its last attempt failed: {error}"
        message = f"the copy of view {view!r} stands at {at}, the writer at row {goal.sequence}, after {timeout_s:g} s"
        raise UnavailableError(message + reason, view=view)

    def _missing(self, goals: Mapping[str, Watermark]) -> dict[str, tuple[Watermark | None, Watermark]]:
        marks = {view: (self._online.watermark(view), goal) for view, goal in goals.items()}
        return {view: pair for view, pair in marks.items() if pair[0] is None or _rows_behind(*pair)}

    def report(self) -> CopyReport:
        """Where the copy stands.

        Raises:
            StorageError: the copy cannot be read.
        """
        goals = self._progress.watermarks
        marks = {view: self._online.watermark(view) for view in goals}
        behind = {view: _rows_behind(marks[view], goal) for view, goal in goals.items()}
        return CopyReport(marks, behind, self._level_at, self._error)


def _rows_behind(mark: Watermark | None, goal: Watermark) -> int:
    done = -1 if mark is None else mark.sequence
    return max(goal.sequence - done, 0)
