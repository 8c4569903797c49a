"""The grid of a model's probes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from raymlops.clock import to_us
from raymlops.records.record import sha256_of

__all__ = ["ProbeGrid"]

_FORMAT = 1
"""Grows with the recipe that probes are fitted by, and with what their files hold."""


@dataclass(frozen=True)
class ProbeGrid:
    """The grid and recipe that probes must share to be comparable; another one begins anew in a folder of its own.

    Attributes:
        inputs: The model's, in the order of its signature.
        texts: Those of them that are texts.
        regression: Whether labels are values.
        anchor: Instant from which windows are counted.
        length: Of a window.
        max_rows: Rows that a probe is fitted on, and rows of a window that it is scored on, at most.
    """

    inputs: tuple[str, ...]
    texts: frozenset[str]
    regression: bool
    anchor: datetime
    length: timedelta
    max_rows: int

    @property
    def digest(self) -> str:
        """Names the folder."""
        told = {**vars(self), "texts": sorted(self.texts), "length": self.length.total_seconds(), "format": _FORMAT}
        return sha256_of(told)[:16]

    def holds(self, start: datetime, end: datetime) -> bool:
        """Whether a window is one of the grid's."""
        return end - start == self.length and self.start(to_us(start)) == to_us(start)

    def start(self, at_us: int) -> int:
        """Start of the window that holds an instant; both in microseconds since 1970."""
        anchor, step = to_us(self.anchor), self.length // timedelta(microseconds=1)
        return anchor + (at_us - anchor) // step * step
