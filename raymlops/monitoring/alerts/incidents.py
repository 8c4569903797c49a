"""Prediction events that were lost on their way: their number, and the alert about them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from raymlops.records.record import Instant, Record

__all__ = ["Episode", "Incidents", "Losses"]

_QUIET_S = 600.0
"""After so long without a loss the next one is a new episode."""


class Incidents(Record):
    """Events of a model that were lost or put aside since the monitor's start."""

    dropped_rows: int = 0
    """Rows that replicas lost, those that the monitor refused among them."""
    dropped_at: Instant | None = None
    """When the last of them were."""
    refused: str = ""
    """Why the monitor last refused a batch."""
    out_of_bounds_rows: int = 0
    """Rows of events and labels whose event time is no sane one: kept, and in no window."""


class Episode(Record):
    """Losses that follow each other closely, and share one alert."""

    key: str
    """Names it: the same losses, counted again after a restart of the monitor, have the same key."""
    model: str
    replica: str
    """The replica of the first loss."""
    rows: int
    """Rows lost there so far."""
    refused: str
    """Why the monitor last refused a batch, where it did."""

    @property
    def reason(self) -> str:
        """In words."""
        why = f"; the monitor refused a batch: {self.refused}" if self.refused else ""
        return f"prediction events were lost: {self.rows} rows by replica {self.replica}{why}"


@dataclass
class _Model:
    lost: int = 0
    at: datetime | None = None
    at_s: float = float("-inf")
    refused: str = ""


class Losses:
    """Counts lost events by the figures that replicas send. Thread-safe.

    Args:
        tell: Called once per episode; where it raises, the episode is told again with the next figure.
        monotonic: Measures the pauses between losses.
    """

    def __init__(self, tell: Callable[[Episode], object], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._models: dict[str, _Model] = {}
        self._totals: dict[tuple[str, str], int] = {}
        self._untold: list[Episode] = []

    def counted(self, model: str, replica: str, total: int, at: datetime) -> None:
        """A replica says how many rows it has lost since its start.

        Raises:
            RaymlopsError: An episode could not be told; it will be, with the next figure.
        """
        with self._lock:
            before = self._totals.get((model, replica), 0)
            self._totals[model, replica] = total
            fresh = total - before if total >= before else total
            known = self._models.setdefault(model, _Model())
            if fresh > 0:
                now_s = self._monotonic()
                if now_s - known.at_s > _QUIET_S:
                    key = f"events_lost/{model}/{replica}/{total}"
                    self._untold.append(
                        Episode(key=key, model=model, replica=replica, rows=total, refused=known.refused)
                    )
                known.lost, known.at, known.at_s = known.lost + fresh, at, now_s
            untold = list(self._untold)
        for episode in untold:
            self._tell(episode)
            with self._lock:
                self._untold = [each for each in self._untold if each.key != episode.key]

    def refused(self, model: str, why: str) -> None:
        """The monitor refused a batch; its sender will count the rows as lost."""
        with self._lock:
            self._models.setdefault(model, _Model()).refused = why

    def of(self, model: str, out_of_bounds_rows: int) -> Incidents:
        """How a model stands."""
        with self._lock:
            known = self._models.get(model, _Model())
            return Incidents(
                dropped_rows=known.lost,
                dropped_at=known.at,
                refused=known.refused,
                out_of_bounds_rows=out_of_bounds_rows,
            )
