"""Which event times are sane: what lies outside is kept, and belongs to no window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raymlops.clock import to_us
from raymlops.config.monitoring import MonitoringConfig

__all__ = ["insane_labels", "inside", "sane"]

_FIRST_US, _LAST_US = to_us(datetime(2, 1, 1, tzinfo=UTC)), to_us(datetime(9990, 1, 1, tzinfo=UTC))
"""Beyond these, adding a window to an instant may leave the calendar."""

Mask = NDArray[np.bool_]


def sane(events: pa.Table, config: MonitoringConfig) -> Mask:
    """Whether the event time of each of N prediction events lies near enough to its ``served_at``.

    Args:
        events: ``event_time`` and ``served_at``.
        config: How far before and after.
    """
    served = np.clip(_us(events["served_at"]), _FIRST_US, _LAST_US)
    low = np.maximum(served - _span_us(config.max_event_age), _FIRST_US)
    high = np.minimum(served + _span_us(config.max_event_lead), _LAST_US)
    times = _us(events["event_time"])
    return np.asarray((times >= low) & (times <= high))


def inside(events: pa.Table, config: MonitoringConfig) -> pa.Table:
    """The events whose event time is sane."""
    mask = sane(events, config)
    return events if mask.all() else events.filter(pa.array(mask))


def insane_labels(labels: pa.Table, now: datetime, config: MonitoringConfig) -> int:
    """How many labels are dated further from now than any that a window would count."""
    times, now_us = _us(labels["event_time"]), min(max(to_us(now), _FIRST_US), _LAST_US)
    low, high = now_us - _span_us(config.max_event_age), now_us + _span_us(config.max_event_lead)
    return int(((times < low) | (times > high)).sum())


def _us(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(column.cast(pa.int64()).to_numpy(), dtype=np.int64)


def _span_us(span: timedelta) -> int:
    # no span is longer than the calendar, so that no sum of the above overflows
    return min(span // timedelta(microseconds=1), _LAST_US - _FIRST_US)
