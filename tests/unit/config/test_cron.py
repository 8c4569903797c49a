from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raymlops.config.cron import Cron, parse_cron

MINUTE = timedelta(minutes=1)
BERLIN = "Europe/Berlin"
ZONES = [
    BERLIN,
    "America/New_York",
    "Australia/Lord_Howe",  # changes by half an hour
    "America/Sao_Paulo",  # changed at midnight
    "Pacific/Apia",  # left out 30 December 2011
    "Asia/Kathmandu",
    "UTC",
]
CHANGES = [
    datetime(2024, 3, 31, 1, tzinfo=UTC),
    datetime(2024, 10, 27, 1, tzinfo=UTC),
    datetime(2024, 3, 10, 7, tzinfo=UTC),
    datetime(2024, 11, 3, 6, tzinfo=UTC),
    datetime(2024, 4, 6, 15, tzinfo=UTC),
    datetime(2024, 10, 5, 15, 30, tzinfo=UTC),
    datetime(2018, 11, 4, 3, tzinfo=UTC),
    datetime(2011, 12, 30, 10, tzinfo=UTC),
]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "zone", "now", "last", "following"),
    [
        ("0 3 * * *", "UTC", "2024-05-01T03:00", "2024-05-01T03:00", "2024-05-02T03:00"),
        ("0 3 * * *", "UTC", "2024-05-01T02:59", "2024-04-30T03:00", "2024-05-01T03:00"),
        ("0 3 * * mon", BERLIN, "2024-05-01T00:00", "2024-04-29T01:00", "2024-05-06T01:00"),
        ("0 3 * * 7", BERLIN, "2024-01-09T00:00", "2024-01-07T02:00", "2024-01-14T02:00"),
        ("*/20 9-10 1,15 * *", "UTC", "2024-05-15T10:41", "2024-05-15T10:40", "2024-06-01T09:00"),
        ("0 0 13 * fri", "UTC", "2024-09-12T00:00", "2024-09-06T00:00", "2024-09-13T00:00"),
        ("0 0 29 feb *", "UTC", "2024-02-28T00:00", "2020-02-29T00:00", "2024-02-29T00:00"),
        ("@weekly", "UTC", "2024-05-01T00:00", "2024-04-28T00:00", "2024-05-05T00:00"),
        # 02:30 is left out on 31 March, and comes at 03:30
        ("30 2 * * *", BERLIN, "2024-03-31T00:00", "2024-03-30T01:30", "2024-03-31T01:30"),
        # 02:30 comes twice on 27 October: the first counts
        ("30 2 * * *", BERLIN, "2024-10-27T00:00", "2024-10-26T00:30", "2024-10-27T00:30"),
        ("30 2 * * *", BERLIN, "2024-10-27T01:30", "2024-10-27T00:30", "2024-10-28T01:30"),
    ],
)
def test_times_of_an_expression(expression: str, zone: str, now: str, last: str, following: str) -> None:
    cron = parse_cron(expression, zone)
    assert (cron.last(at(now)), cron.following(at(now))) == (at(last), at(following))


def test_what_never_comes_is_none() -> None:
    cron = parse_cron("0 0 30 2 *", "UTC")
    assert cron.last(at("2024-05-01T00:00")) is cron.following(at("2024-05-01T00:00")) is None


@pytest.mark.parametrize(
    ("expression", "zone", "message"),
    [
        ("0 3 * *", "UTC", "must be five fields"),
        ("61 3 * * *", "UTC", "minute must lie between 0 and 59, got '61'"),
        ("0 3 * * someday", "UTC", "day of week must lie between"),
        ("0 5-3 * * *", "UTC", "hour must be a range from low to high, got '5-3'"),
        ("*/0 * * * *", "UTC", "minute must be"),
        ("0 3, * * *", "UTC", "hour must be"),
        ("0 3 * * *", "Mars/Olympus", "must be a time zone"),
        ("0 3 * * *", "../../etc/passwd", "must be a time zone"),
    ],
)
def test_what_is_no_expression_is_told(expression: str, zone: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_cron(expression, zone)


def matches(cron: Cron, local: datetime) -> bool:
    day, weekday = local.day in cron.days, local.isoweekday() % 7 in cron.weekdays
    fits = (day or weekday) if cron.either else (day and weekday)
    return local.minute in cron.minutes and local.hour in cron.hours and local.month in cron.months and fits


@cache
def clock(zone: str, change: datetime) -> list[tuple[datetime, datetime]]:
    """The instant of each local minute around a change, by what the clock shows minute by minute.

    Of a minute that is shown twice the first instant; one that is left out comes as much later as was left out.
    """
    tz, times = ZoneInfo(zone), []
    now = change - timedelta(days=6)
    before, before_wall = now, now.astimezone(tz).replace(tzinfo=None)
    wall = before_wall
    while now < change + timedelta(days=6):
        local = now.astimezone(tz)
        if local.fold == 0:
            shown = local.replace(tzinfo=None)
            while wall < shown:  # left out: counted on from the last minute that was shown
                times.append((before + (wall - before_wall), wall))
                wall += MINUTE
            times.append((now, shown))
            before, before_wall, wall = now, shown, shown + MINUTE
        now += MINUTE
    return times


def due_by_the_clock(cron: Cron, zone: str, change: datetime, start: datetime, end: datetime) -> list[datetime]:
    times = clock(zone, change)
    return sorted({at for at, wall in times if start <= at <= end and matches(cron, wall)})


FIELD_OF_HOURS = st.sampled_from(["*", "*/2", "0", "1,2,3", "2", "0-3", "23", "12"])
FIELD_OF_MINUTES = st.sampled_from(["0", "*/20", "30", "5,59", "15-45/15"])
DAYS = st.sampled_from([("*", "*"), ("*", "sun"), ("30,31", "*"), ("1-7", "mon,sat")])


@given(
    zone=st.sampled_from(ZONES),
    change=st.sampled_from(CHANGES),
    offset=st.integers(-30 * 60, 30 * 60),
    minute=FIELD_OF_MINUTES,
    hour=FIELD_OF_HOURS,
    days=DAYS,
)
@example(zone=BERLIN, change=CHANGES[0], offset=0, minute="30", hour="2", days=("*", "*"))
@example(zone=BERLIN, change=CHANGES[1], offset=0, minute="30", hour="2", days=("*", "*"))
@example(zone="Pacific/Apia", change=CHANGES[7], offset=0, minute="0", hour="12", days=("30,31", "*"))
def test_changes_of_the_clocks(
    zone: str, change: datetime, offset: int, minute: str, hour: str, days: tuple[str, str]
) -> None:
    cron = parse_cron(f"{minute} {hour} {days[0]} * {days[1]}", zone)
    now = change + offset * MINUTE
    span = timedelta(days=2)
    due = due_by_the_clock(cron, zone, change, now - span, now + span)
    earlier, later = [each for each in due if each <= now], [each for each in due if each > now]
    last, following = cron.last(now), cron.following(now)
    assert last is not None
    assert following is not None
    assert last <= now < following
    assert last == earlier[-1] if earlier else last < now - span
    assert following == later[0] if later else following > now + span
