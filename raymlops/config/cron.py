"""Times of a cron expression in a time zone. Pure, and exact where clocks are changed.

The library cronsim 2.8 was tried: what it finds backwards is not what it finds forwards where a time comes twice,
and a trigger that looks back for what is due would miss such a time, or fire twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["Cron", "parse_cron"]

_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_WEEKDAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_FIELDS: tuple[tuple[str, int, int, Mapping[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _WEEKDAYS),
)
_PART = re.compile(r"(?P<all>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?")
_DAY = timedelta(days=1)
_LOOKED_AT_DAYS = 8 * 366
"""A 29 February is at most eight years away, where a century is no leap year."""


@dataclass(frozen=True)
class Cron:
    """When a cron expression comes due in a time zone.

    Times are local. One that a change of the clocks leaves out comes later by what was left out; one that comes twice
    counts the first time.
    """

    minutes: tuple[int, ...]
    """0 to 59, ascending."""
    hours: tuple[int, ...]
    """0 to 23, ascending."""
    days: frozenset[int]
    """Of the month, 1 to 31."""
    months: frozenset[int]
    """1 to 12."""
    weekdays: frozenset[int]
    """0 is Sunday."""
    either: bool
    """Whether a day need only fit the day of the month or the day of the week, since both are restricted."""
    zone: tzinfo
    """In which times are local."""
    _known: list[tuple[datetime, datetime]] = field(default_factory=list, repr=False, compare=False)
    """The newest times that were found, with nothing due between them."""

    def last(self, now: datetime) -> datetime | None:
        """The newest time that is due at ``now`` or before it; ``None`` where there is none within eight years."""
        for before, after in self._known:
            if before <= now < after:
                return before
        before_now, after_now = self._nearest(now, -1), self._nearest(now, 1)
        if before_now is not None and after_now is not None:
            self._known[:] = [(before_now, after_now)]
        return before_now

    def following(self, now: datetime) -> datetime | None:
        """The first time after ``now``; ``None`` where there is none within eight years."""
        for before, after in self._known:
            if before <= now < after:
                return after
        return self._nearest(now, 1)

    def _nearest(self, now: datetime, step: int) -> datetime | None:
        today = now.astimezone(self.zone).date()
        # A change of the clocks may move times of one date behind those of the next, so one date more is looked at.
        for number in range(-1, _LOOKED_AT_DAYS):
            on = today + step * number * _DAY
            found = [at for near in (on, on + step * _DAY) for at in self._instants(near)]
            due = [at for at in found if (at > now if step > 0 else at <= now)]
            if due:
                return min(due) if step > 0 else max(due)
        return None

    def _instants(self, on: date) -> Iterator[datetime]:
        """The times of a date, in UTC, unordered where the clocks are changed."""
        if on.month not in self.months or not self._fits(on):
            return
        for hour in self.hours:
            for minute in self.minutes:
                local = datetime.combine(on, time(hour, minute), self.zone)  # fold 0: the first of two
                yield local.astimezone(UTC)

    def _fits(self, on: date) -> bool:
        day, weekday = on.day in self.days, on.isoweekday() % 7 in self.weekdays
        return day or weekday if self.either else day and weekday


@lru_cache(256)
def parse_cron(expression: str, zone: str) -> Cron:
    """Read five fields: minute, hour, day of the month, month, day of the week.

    A field is ``*`` or numbers, ranges and names (``mon``, ``jan``) with commas between, each with a step if wanted:
    ``*/15``, ``1-5``, ``mon,thu``. Where both days are restricted a day need fit one of them only. ``@hourly``,
    ``@daily``, ``@weekly``, ``@monthly`` and ``@yearly`` are short for the usual ones.

    Raises:
        ValueError: It is something else, or the time zone is not known here.
    """
    fields = _ALIASES.get(expression.strip().lower(), expression).lower().split()
    if len(fields) != len(_FIELDS):
        names = ", ".join(name for name, *_ in _FIELDS)
        raise ValueError(f"must be five fields ({names}) or one of {', '.join(_ALIASES)}")
    minutes, hours, days, months, weekdays = (
        _numbers(text, *field) for text, field in zip(fields, _FIELDS, strict=True)
    )
    return Cron(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=days,
        months=months,
        weekdays=frozenset(number % 7 for number in weekdays),
        either=not fields[2].startswith("*") and not fields[4].startswith("*"),
        zone=_zone(zone),
    )


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("zone must be a time zone that is known here, as in Europe/Berlin or UTC") from error


def _numbers(text: str, name: str, least: int, most: int, names: Mapping[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        match = _PART.fullmatch(span)
        if match is None or (slash and not (step.isascii() and step.isdigit() and int(step))):
            raise ValueError(f"{name} must be *, numbers, ranges or steps, got {part!r}")
        if match["all"]:
            first, last = least, most
        else:
            first = _number(match["first"], name, least, most, names)
            last = _number(match["last"], name, least, most, names) if match["last"] else most if slash else first
        if first > last:
            raise ValueError(f"{name} must be a range from low to high, got {part!r}")
        found.update(range(first, last + 1, int(step or 1)))
    return frozenset(found)


def _number(text: str, name: str, least: int, most: int, names: Mapping[str, int]) -> int:
    number = names.get(text, int(text) if text.isascii() and text.isdigit() else -1)
    if not least <= number <= most:
        raise ValueError(f"{name} must lie between {least} and {most}, got {text!r}")
    return number
