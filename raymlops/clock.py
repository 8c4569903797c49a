"""Where time comes from.

Everything that depends on time takes a ``Clock``, so that a year is replayed in minutes by the code that runs live.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

__all__ = ["Clock", "ManualClock", "MovableClock", "ReplayClock", "SystemClock", "from_us", "time_zone_fault", "to_us"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INSTANT = struct.Struct("<q")


def to_us(instant: datetime) -> int:
    """Microseconds since 1970 of a tz-aware instant, exactly (no float on the way).

    Raises:
        ValueError: ``instant`` is naive.
    """
    if instant.tzinfo is None:
        raise ValueError(f"instant must be tz-aware, got {instant!r}")
    return (instant - _EPOCH) // _MICROSECOND


def from_us(microseconds: int) -> datetime:
    """The tz-aware UTC instant that lies ``microseconds`` after 1970."""
    return _EPOCH + timedelta(microseconds=microseconds)


def time_zone_fault(zone: object) -> str | None:
    """Why this names no time zone of the IANA database, such as ``Europe/Berlin``; ``None`` where it does."""
    try:
        ZoneInfo(zone if isinstance(zone, str) else "")
    except (OSError, ValueError, KeyError):
        return f"time_zone must be a name such as 'Europe/Berlin' or 'UTC', got {zone!r}"
    return None


class Clock(Protocol):
    """Source of the present instant, tz-aware and in UTC. Thread-safe; a replay clock never runs backwards."""

    def now(self) -> datetime:
        """The present instant, microsecond resolution."""
        ...


class MovableClock(Clock, Protocol):
    """A clock that stands still until it is moved."""

    def advance_to(self, instant: datetime) -> None:
        """Move forward to ``instant``.

        Raises:
            ValueError: ``instant`` lies before the present one.
        """
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class ManualClock:
    """A clock of one process that moves when told to: for tests and for pure replays.

    Args:
        start: The first instant, tz-aware.
    """

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        return self._now

    def advance_to(self, instant: datetime) -> None:
        """Move forward to ``instant``.

        Raises:
            ValueError: ``instant`` lies before the present one.
        """
        if instant < self._now:
            raise ValueError(f"a clock never runs backwards: at {self._now}, asked for {instant}")
        self._now = instant.astimezone(UTC)


class ReplayClock:
    """A clock that all processes of one node share: eight bytes in a memory-mapped file.

    Reading costs a memory read. One process advances it; the others, and whatever restarts, see the new instant at
    once. The aligned 8-byte store is atomic on the platforms Ray runs on.

    Args:
        path: The file that holds the instant.
        start: Sets the clock, creating the file; ``None`` opens what is there.

    Raises:
        FileNotFoundError: ``start`` is ``None`` and there is no file.
    """

    def __init__(self, path: Path | str, start: datetime | None = None) -> None:
        self._path = Path(path)
        if start is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_bytes(_INSTANT.pack(to_us(start)))
        handle = os.open(self._path, os.O_RDWR)
        try:
            self._map = mmap.mmap(handle, _INSTANT.size)
        finally:
            os.close(handle)

    @classmethod
    def opened(cls, path: Path, first: datetime | None) -> ReplayClock:
        """The clock in a file; where there is none, one that begins at ``first``, whichever process comes first.

        Raises:
            FileNotFoundError: ``first`` is ``None`` and there is no file.
            OSError: The file cannot be made or read.
        """
        if first is not None and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_INSTANT.pack(to_us(first)))
                with suppress(FileExistsError):
                    os.link(made, path)  # all of it or nothing, and never in place of a clock that runs
            finally:
                os.unlink(made)
        return cls(path)

    def now(self) -> datetime:
        return from_us(_INSTANT.unpack_from(self._map)[0])

    def advance_to(self, instant: datetime) -> None:
        """Move forward to ``instant``, for every process that shares the file.

        Raises:
            ValueError: ``instant`` lies before the present one.
        """
        if instant < self.now():
            raise ValueError(f"a clock never runs backwards: at {self.now()}, asked for {instant}")
        _INSTANT.pack_into(self._map, 0, to_us(instant))

    def __reduce__(self) -> tuple[object, ...]:
        return (ReplayClock, (self._path,))
