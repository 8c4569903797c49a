"""Times are read in one form and one zone, or refused in one line."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest

from raymlops.errors import DataError, SchemaMismatch
from raymlops.projects.instants import read_instants


def read(values: list[object], zone: str = "UTC") -> list[str | None]:
    found = read_instants(pa.table({"at": values}), "at", zone)
    return [None if value is None else value.isoformat() for value in found.to_pylist()]


@pytest.mark.parametrize(
    ("values", "zone", "expected"),
    [
        (["2024-05-17T08:30:00Z", None], "Europe/Berlin", ["2024-05-17T08:30:00+00:00", None]),
        (["2024-05-17 08:30:00.25", "2024-05-17 08:30:00"], "UTC",
         ["2024-05-17T08:30:00.250000+00:00", "2024-05-17T08:30:00+00:00"]),
        (["2024-05-17 08:30"], "Europe/Berlin", ["2024-05-17T06:30:00+00:00"]),
        (["2024-01-17T08:30:00+01:00", "2024-07-17T08:30:00+02:00"], "UTC",
         ["2024-01-17T07:30:00+00:00", "2024-07-17T06:30:00+00:00"]),
        (["17.05.2024", "03.05.2024"], "UTC", ["2024-05-17T00:00:00+00:00", "2024-05-03T00:00:00+00:00"]),
        (["5/17/2024 08:30 PM", "5/3/2024 9:00 AM"], "UTC", ["2024-05-17T20:30:00+00:00", "2024-05-03T09:00:00+00:00"]),
        (["17 May 2024", "3 Jun 2024"], "UTC", ["2024-05-17T00:00:00+00:00", "2024-06-03T00:00:00+00:00"]),
        (["20240517"], "UTC", ["2024-05-17T00:00:00+00:00"]),
        ([1715934600, 1715934601], "UTC", ["2024-05-17T08:30:00+00:00", "2024-05-17T08:30:01+00:00"]),
        (["1715934600", " 1715934601", None], "Asia/Tokyo",
         ["2024-05-17T08:30:00+00:00", "2024-05-17T08:30:01+00:00", None]),
        (["1715934600250"], "UTC", ["2024-05-17T08:30:00.250000+00:00"]),
        (["1715934600000001"], "UTC", ["2024-05-17T08:30:00.000001+00:00"]),
        ([date(2024, 5, 17)], "Asia/Tokyo", ["2024-05-16T15:00:00+00:00"]),
    ],
)  # fmt: skip
def test_one_form_in_one_zone_is_read(values: list[object], zone: str, expected: list[str | None]) -> None:
    assert read(values, zone) == expected


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["2024-05-17 08:30:00", "17/05/2024", "May 17 2024", "2024-05-17", "8:30 17.05.2024"], "in one form, got 5"),
        (["2024-05-17T08:30:00Z", "2024-05-17T08:30:00"], "with a zone or times without one, got both"),
        (["2024-05-17T08:30:00+02:00", "2024-05-17T08:30:00-05:00"], "of one zone, got offsets"),
        (["03/04/2024", "05/06/2024"], "must tell days from months"),
        (["17/05/2024", "05/17/2024"], "must tell days from months"),
        (["17/05/24", "18/05/24"], "such as 2024-05-17"),
        (["1715934600", "1715934600250"], "in one form, got 2"),
        (["202405170830", "202405170900"], "such as 2024-05-17"),
        (["soon", "later"], "such as 2024-05-17"),
        ([1.5, 2.5], "no seconds since 1970"),
        ([[1], [2]], "must hold instants"),
    ],
)
def test_what_may_mean_two_things_is_refused(values: list[object], said: str) -> None:
    with pytest.raises(SchemaMismatch, match=said) as refused:
        read(values)
    assert "\n" not in str(refused.value)


def test_a_local_time_that_is_there_twice_is_refused() -> None:
    with pytest.raises(DataError, match="has once"):
        read(["2024-10-27 02:30:00"], "Europe/Berlin")
