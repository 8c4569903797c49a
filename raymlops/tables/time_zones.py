"""Names of time zones."""

from __future__ import annotations

from zoneinfo import ZoneInfo

__all__ = ["time_zone_fault"]


def time_zone_fault(zone: object) -> str | None:
    """Why this names no time zone of the IANA database, such as ``Europe/Berlin``; ``None`` where it does."""
    try:
        ZoneInfo(zone if isinstance(zone, str) else "")
    except (OSError, ValueError, KeyError):
        return f"time_zone must be a name such as 'Europe/Berlin' or 'UTC', got {zone!r}"
    return None
