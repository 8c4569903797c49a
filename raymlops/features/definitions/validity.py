"""The validity of a row at an instant: the one rule for training and serving."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

__all__ = ["NO_TTL_US", "is_valid", "span_us"]

NO_TTL_US = 2**61
"""Longer than all instants are apart, and far from overflow when subtracted from one."""

_MICROSECOND = timedelta(microseconds=1)


def span_us(span: timedelta | None) -> int:
    """Microseconds of a time to live or a window; ``NO_TTL_US`` for ``None``."""
    return NO_TTL_US if span is None else span // _MICROSECOND


def is_valid(event_us: Any, at_us: Any, ttl_us: int) -> Any:
    """Whether a row is true at an instant and not too old; both ends included.

    Args:
        event_us: Event time of the row: an int, or an int64 array.
        at_us: The instant asked about, likewise.
        ttl_us: Time to live, as ``span_us`` gives it.

    Returns:
        A bool, or an array of them.
    """
    return (event_us <= at_us) & (event_us >= at_us - ttl_us)
