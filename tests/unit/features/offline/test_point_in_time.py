"""The conformance cases of the join, each also on shuffled, chunked and partitioned inputs."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pytest

from raymlops.errors import ConfigError, DataError, FeatureViewNotFound, SchemaMismatch
from raymlops.features import Entity, FeatureView, Field, WindowAggregate, point_in_time_join
from tests.support.point_in_time import expected_features, join_every_way, spine_of, table_of

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
US = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
SHOP = Entity("shop", ["shop"])


def view(**options: Any) -> FeatureView:
    return FeatureView("sales", SHOP, [Field("amount", "float64")], **options)


def joined(of: FeatureView, rows: list[dict[str, Any]], asked: list[dict[str, Any]], **options: Any) -> list[Any]:
    spine = spine_of(asked)
    result = join_every_way(spine, [of], {of.name: table_of(of, rows)}, **options)
    assert result.num_rows == spine.num_rows
    assert result.select(spine.column_names).equals(spine)
    values: list[Any] = result[f"{of.name}__{of.fields[0].name}"].to_pylist()
    return values


def row(offset: timedelta, amount: float | None, shop: Any = "a", **more: Any) -> dict[str, Any]:
    return {"shop": shop, "event_time": T + offset, "amount": amount, **more}


ASK = {"shop": "a", "event_time": T}


def test_p01_p02_the_instant_itself_counts_and_a_microsecond_later_does_not() -> None:
    assert joined(view(), [row(-US, 1.0), row(timedelta(0), 2.0), row(US, 3.0)], [ASK]) == [2.0]
    assert joined(view(), [row(-US, 1.0), row(US, 3.0)], [ASK]) == [1.0]


@pytest.mark.parametrize(("age", "kept"), [(HOUR - US, True), (HOUR, True), (HOUR + US, False)])
def test_p03_a_row_as_old_as_the_ttl_is_kept(age: timedelta, kept: bool) -> None:
    assert joined(view(ttl=HOUR), [row(-age, 1.0)], [ASK]) == [1.0 if kept else None]


@pytest.mark.parametrize("ttl", [None, timedelta(0)])
def test_p04_no_ttl_is_unlimited(ttl: timedelta | None) -> None:
    assert joined(view(ttl=ttl), [row(-timedelta(days=20_000), 1.0)], [ASK]) == [1.0]


@pytest.mark.parametrize("order", list(permutations([1, 2, 3])))
def test_p05_of_equal_event_times_the_last_created_wins(order: tuple[int, ...]) -> None:
    rows = [row(-HOUR, float(n), created_at=T - HOUR + n * US) for n in order]
    assert joined(view(created_at="created_at"), rows, [ASK]) == [3.0]


def test_p06_of_full_ties_the_last_to_arrive_wins() -> None:
    rows = [row(-HOUR, float(n), created_at=T - HOUR) for n in range(5)]
    assert joined(view(created_at="created_at"), rows, [ASK]) == [4.0]
    assert joined(view(), [row(-HOUR, 1.0, _seq=7), row(-HOUR, 2.0, _seq=3)], [ASK]) == [1.0]


def test_p07_exact_duplicates_do_not_fan_out() -> None:
    assert joined(view(), [row(-HOUR, 1.0)] * 3, [ASK]) == [1.0]


def test_p08_a_late_row_counts_unless_cut_off() -> None:
    late = view(created_at="created_at")
    rows = [row(-2 * HOUR, 1.0, created_at=T - 2 * HOUR), row(-HOUR, 2.0, created_at=T + HOUR)]
    assert joined(late, rows, [ASK]) == [2.0]
    assert joined(late, rows, [ASK], knowledge_cutoff=True) == [1.0]


def test_p09_all_rows_cut_off() -> None:
    rows = [row(-HOUR, 1.0, created_at=T + US), row(-2 * HOUR, 2.0, created_at=T + HOUR)]
    assert joined(view(created_at="created_at"), rows, [ASK], knowledge_cutoff=True) == [None]


def test_p10_a_row_never_created_loses_ties_and_is_cut_off() -> None:
    created = view(created_at="created_at")
    rows = [row(-HOUR, 2.0, created_at=T - 9 * HOUR), row(-HOUR, 1.0, created_at=None)]
    assert joined(created, rows, [ASK]) == [2.0]
    assert joined(created, rows[1:], [ASK]) == [1.0]
    assert joined(created, rows[1:], [ASK], knowledge_cutoff=True) == [None]


def test_p11_a_null_in_the_newest_row_is_the_answer() -> None:
    assert joined(view(), [row(-2 * HOUR, 1.0), row(-HOUR, None)], [ASK]) == [None]


def test_p12_p13_p14_rows_without_a_candidate_survive() -> None:
    asked = [ASK, {"shop": "b", "event_time": T}, {"shop": "nowhere", "event_time": T}]
    assert joined(view(ttl=HOUR), [row(HOUR, 1.0), row(-2 * HOUR, 2.0, shop="b")], asked) == [None, None, None]


def test_p15_a_null_key_never_matches() -> None:
    rows = [row(-HOUR, 1.0), row(-HOUR, 2.0, shop=None)]
    assert joined(view(), rows, [{"shop": None, "event_time": T}, ASK]) == [None, 1.0]
    assert joined(view(), rows[:1], [{"shop": None, "event_time": T}, ASK]) == [None, 1.0]
    assert joined(view(), rows[1:], [ASK]) == [None]


def test_p16_equal_spine_rows_are_all_kept() -> None:
    asked = [{**ASK, "label": 0}, {**ASK, "label": 1}, {**ASK, "label": 1}]
    assert joined(view(), [row(-HOUR, 1.0)], asked) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("left", "right"), [((1, 11), (11, 1)), (("a", "bc"), ("ab", "c")), (("a_", "b"), ("a", "_b"))]
)
def test_p17_composite_keys_do_not_run_into_each_other(left: tuple[Any, Any], right: tuple[Any, Any]) -> None:
    pair = FeatureView("pair", Entity("pair", ["x", "y"]), [Field("v", "int64")])
    rows = [{"x": x, "y": y, "event_time": T, "v": n} for n, (x, y) in enumerate([left, right])]
    asked = [{"x": x, "y": y, "event_time": T} for x, y in [right, left, (left[0], right[1])]]
    assert joined(pair, rows, asked) == [1, 0, None]


def test_p18_integer_keys_widen_and_other_types_are_refused() -> None:
    table = table_of(view(), [row(-HOUR, 1.0, shop=5)])
    narrow = pa.table({"event_time": spine_of([ASK])["event_time"], "shop": pa.array([5], pa.int32())})
    assert join_every_way(narrow, [view()], {"sales": table})["sales__amount"].to_pylist() == [1.0]
    encoded = pa.table({"event_time": narrow["event_time"], "shop": pa.array(["x"]).dictionary_encode()})
    text = table_of(view(), [row(-HOUR, 1.0, shop="x")])
    assert join_every_way(encoded, [view()], {"sales": text})["sales__amount"].to_pylist() == [1.0]
    with pytest.raises(SchemaMismatch, match="'shop' must be int64 as in the view's table, got string"):
        point_in_time_join(spine_of([ASK]), [view()], {"sales": table})
    whole = narrow.set_column(1, "shop", pa.array([5.0]))
    assert join_every_way(whole, [view()], {"sales": table})["sales__amount"].to_pylist() == [1.0]
    with pytest.raises(SchemaMismatch, match=r"'shop' must fit int64, got a double that does not: 5.5 in row 0"):
        point_in_time_join(narrow.set_column(1, "shop", pa.array([5.5])), [view()], {"sales": table})


@pytest.mark.parametrize("zone", ["UTC", "+01:00", "US/Pacific", "Asia/Kathmandu"])
def test_p19_the_same_instant_in_any_zone_is_the_same(zone: str) -> None:
    table = table_of(view(), [row(timedelta(0), 1.0), row(US, 2.0)])
    times = spine_of([ASK])["event_time"].cast(pa.timestamp("us", tz=zone))
    spine = pa.table({"event_time": times, "shop": ["a"]})
    assert join_every_way(spine, [view()], {"sales": table})["sales__amount"].to_pylist() == [1.0]


def test_p19_instants_of_mixed_zones_in_one_column() -> None:
    """As a data frame holds them: an object column of datetimes, each with a zone of its own."""
    zones = ["UTC", "Asia/Kathmandu", "US/Pacific"]
    instants = [(T + n * US).astimezone(ZoneInfo(zone)) for n, zone in enumerate(zones)]
    frame = pd.DataFrame({"shop": ["a"] * 3, "event_time": pd.Series(instants, dtype=object)})
    table = table_of(view(), [row(n * US, float(n)) for n in range(3)])
    result = join_every_way(pa.Table.from_pandas(frame), [view()], {"sales": table})
    assert result["sales__amount"].to_pylist() == [0.0, 1.0, 2.0]
    frame["event_time"] = pd.Series([instants[0], instants[1].replace(tzinfo=None), instants[2]], dtype=object)
    naive = pa.Table.from_pandas(frame.iloc[1:])
    with pytest.raises(SchemaMismatch, match="'event_time' must be a tz-aware timestamp"):
        point_in_time_join(naive, [view()], {"sales": table})


def test_p19_both_sides_of_a_dst_fold_and_gap() -> None:
    pacific = ZoneInfo("US/Pacific")
    fold = datetime(2024, 11, 3, 1, 30, tzinfo=pacific)
    instants = [fold.replace(fold=0), fold.replace(fold=1), datetime(2024, 3, 10, 1, 59, tzinfo=pacific)]
    utc = [instant.astimezone(UTC) for instant in instants]
    assert utc[1] - utc[0] == HOUR
    rows = [{"shop": "a", "event_time": at, "amount": float(n)} for n, at in enumerate(utc)]
    rows.append({"shop": "a", "event_time": utc[2] + timedelta(minutes=1), "amount": 3.0})  # 03:00, after the gap
    asked = [*utc, datetime(2024, 3, 10, 3, 0, tzinfo=pacific).astimezone(UTC)]
    assert joined(view(), rows, [{"shop": "a", "event_time": at} for at in asked]) == [0.0, 1.0, 2.0, 3.0]


def test_p19_naive_instants_are_refused() -> None:
    naive = pa.table({"event_time": pa.array([T.replace(tzinfo=None)], pa.timestamp("us")), "shop": ["a"]})
    with pytest.raises(SchemaMismatch, match="'event_time' must be a tz-aware timestamp"):
        point_in_time_join(naive, [view()], {"sales": table_of(view(), [])})
    table = table_of(view(), [row(-HOUR, 1.0)]).set_column(1, "event_time", naive["event_time"])
    with pytest.raises(SchemaMismatch, match="view 'sales': column 'event_time' must be a tz-aware timestamp"):
        point_in_time_join(spine_of([ASK]), [view()], {"sales": table})


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_p20_a_microsecond_decides_whatever_the_spines_unit(unit: str) -> None:
    """P02 and P03 again: a coarser spine is widened, the table's microseconds are not cut off."""
    times = spine_of([ASK])["event_time"].cast(pa.timestamp(unit, tz="UTC"))
    spine = pa.table({"event_time": times, "shop": ["a"]})
    for rows, expected in [
        ([row(-US, 1.0), row(US, 2.0)], 1.0),
        ([row(-HOUR - US, 1.0)], None),
        ([row(-HOUR, 1.0), row(US, 2.0)], 1.0),
    ]:
        table = table_of(view(ttl=HOUR), rows)
        assert join_every_way(spine, [view(ttl=HOUR)], {"sales": table})["sales__amount"].to_pylist() == [expected]


@pytest.mark.parametrize("left", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("right", ["s", "ms", "us", "ns"])
def test_p20_units_do_not_matter(left: str, right: str) -> None:
    table = table_of(view(), [row(timedelta(0), 1.0), row(timedelta(seconds=1), 2.0)])
    table = table.set_column(1, "event_time", table["event_time"].cast(pa.timestamp(right, tz="UTC")))
    times = spine_of([ASK])["event_time"].cast(pa.timestamp(left, tz="UTC"))
    spine = pa.table({"event_time": times, "shop": ["a"]})
    assert join_every_way(spine, [view()], {"sales": table})["sales__amount"].to_pylist() == [1.0]


def test_p20_what_is_finer_than_a_microsecond_is_refused_not_truncated() -> None:
    table = table_of(view(), [row(timedelta(0), 1.0)])
    finer = pa.array([table["event_time"].cast(pa.int64())[0].as_py() * 1000 + 1]).cast(pa.timestamp("ns", tz="UTC"))
    with pytest.raises(SchemaMismatch, match="must fit timestamp"):
        point_in_time_join(spine_of([ASK]), [view()], {"sales": table.set_column(1, "event_time", finer)})


def test_p21_p22_order_and_columns_of_the_spine_are_kept() -> None:
    rows = [row(timedelta(minutes=n), float(n), shop=f"s{n % 4}") for n in range(40)]
    asked = [
        {"shop": f"s{n % 5}", "event_time": T + timedelta(minutes=n * 13 % 41), "label": n, "note": f"n{n}"}
        for n in range(60)
    ]
    expected = []
    for ask in asked:
        minute = (ask["event_time"] - T) // timedelta(minutes=1)
        found = [n for n in range(40) if f"s{n % 4}" == ask["shop"] and n <= minute]
        expected.append(float(max(found)) if found else None)
    assert joined(view(), rows, asked) == expected


@pytest.mark.parametrize("rows", [1, 2, 13, 14, 15, 250])
def test_p22_files_and_buckets_end_anywhere(rows: int) -> None:
    """Tables that are split within a key, within an instant, and into more parts than they have rows."""
    table = [row(timedelta(minutes=n // 3), float(n), shop=f"s{n % 2}", _seq=n) for n in range(rows)]
    asked = [{"shop": f"s{n % 3}", "event_time": T + timedelta(minutes=n)} for n in range(0, rows // 3 + 2)]
    chance = random.Random(rows)
    chance.shuffle(table)
    expected = [expected_features(view(), table, ask)["amount"] for ask in asked]
    assert joined(view(), table, asked) == expected


def test_p23_a_view_without_an_entity_joins_on_time_alone() -> None:
    world = FeatureView("rate", Entity("world", []), [Field("v", "float64")])
    rows = [{"event_time": T - HOUR, "v": 1.0}, {"event_time": T, "v": 2.0}]
    asked = [{"event_time": T - 2 * HOUR}, {"event_time": T - US}, {"event_time": T}]
    assert joined(world, rows, asked) == [None, 1.0, 2.0]


def test_p24_p25_two_views_of_one_table_are_independent() -> None:
    city = [Field("temp", "float64")]
    origin = FeatureView("at_origin", Entity("origin", ["origin"]), city, ttl=HOUR)
    dest = FeatureView("at_dest", Entity("dest", ["dest"]), city)
    table = pa.table({"city": ["a", "b"], "event_time": [T - 2 * HOUR, T - HOUR], "temp": [1.0, 2.0]})
    tables = {
        name: table.rename_columns([key, "event_time", "temp"])
        for name, key in [("at_origin", "origin"), ("at_dest", "dest")]
    }
    result = join_every_way(
        spine_of([{"origin": "a", "dest": "b", "event_time": T}, {"origin": "b", "dest": "a", "event_time": T}]),
        [origin, dest],
        tables,
    )
    assert result.column_names == ["event_time", "origin", "dest", "at_origin__temp", "at_dest__temp"]
    assert result["at_origin__temp"].to_pylist() == [None, 2.0]
    assert result["at_dest__temp"].to_pylist() == [2.0, 1.0]


def test_p24_one_table_under_two_aliases() -> None:
    weather = FeatureView("weather", Entity("city", ["city"]), [Field("temp", "float64")])
    origin, dest = (weather.aliased(f"at_{column}", {"city": column}) for column in ("origin", "dest"))
    rows = [{"city": "a", "event_time": T - HOUR, "temp": 1.0}, {"city": "b", "event_time": T, "temp": 2.0}]
    asked = [{"origin": "a", "dest": "b", "event_time": T}, {"origin": "b", "dest": "a", "event_time": T - US}]
    tables = {name: table_of(weather, rows) for name in ("at_origin", "at_dest")}
    result = join_every_way(spine_of(asked), [origin, dest], tables)
    assert result["at_origin__temp"].to_pylist() == [1.0, None]
    assert result["at_dest__temp"].to_pylist() == [2.0, 1.0]
    with pytest.raises(ConfigError, match="join_keys must rename keys of 'city', got \\['town'\\]"):
        weather.aliased("wrong", {"town": "origin"})


ALL = FeatureView(
    "all",
    SHOP,
    [Field("i", "int64"), Field("f", "float64"), Field("b", "bool"), Field("s", "string"), Field("t", "timestamp")],
    aggregates=[
        WindowAggregate("n", "count", "s", HOUR),
        WindowAggregate("total", "sum", "i", HOUR),
        WindowAggregate("newest", "last", "s", HOUR),
        WindowAggregate("first_t", "min", "t", HOUR),
        WindowAggregate("share", "mean", "b", HOUR),
    ],
)
TYPES = [
    pa.int64(),
    pa.float64(),
    pa.bool_(),
    pa.string(),
    pa.timestamp("us", tz="UTC"),
    pa.int64(),
    pa.float64(),
    pa.string(),
    pa.timestamp("us", tz="UTC"),
    pa.float64(),
]


def test_p26_empty_inputs_keep_their_types() -> None:
    empty = table_of(ALL, [])
    one = table_of(ALL, [{"shop": "a", "event_time": T, "i": 2**60 + 1, "f": 0.5, "b": True, "s": "x", "t": T}])
    spine = spine_of([ASK])
    nothing = join_every_way(spine.slice(0, 0), [ALL], {"all": one})
    assert (nothing.num_rows, nothing.schema.types[2:]) == (0, TYPES)
    misses = join_every_way(spine, [ALL], {"all": empty})
    assert misses.schema.types[2:] == TYPES
    assert [column.to_pylist() for column in misses.columns[2:]] == [[None]] * 5 + [[0]] + [[None]] * 4
    assert join_every_way(spine.slice(0, 0), [ALL], {"all": empty}).schema.types[2:] == TYPES


def test_p27_integers_with_misses_stay_integers() -> None:
    one = table_of(ALL, [{"shop": "a", "event_time": T, "i": 2**60 + 1, "t": T}])
    result = join_every_way(spine_of([ASK, {"shop": "b", "event_time": T}]), [ALL], {"all": one})
    assert result["all__i"].to_pylist() == [2**60 + 1, None]
    assert result["all__first_t"].to_pylist() == [T, None]


@pytest.mark.parametrize(
    "at",
    [
        datetime(1, 1, 2, tzinfo=UTC),
        datetime(1969, 12, 31, 23, tzinfo=UTC),
        datetime(2262, 4, 12, tzinfo=UTC),
        datetime(9999, 12, 31, tzinfo=UTC),
    ],
)
def test_p32_far_instants_do_not_overflow(at: datetime) -> None:
    windowed = view(
        ttl=timedelta(days=365_000), aggregates=[WindowAggregate("n", "count", "amount", timedelta(days=365_000))]
    )
    rows = [{"shop": "a", "event_time": moment, "amount": 1.0} for moment in (at - HOUR, at)]
    table = table_of(windowed, [*rows, {"shop": "b", "event_time": datetime(9999, 1, 1, tzinfo=UTC), "amount": 0.0}])
    result = join_every_way(spine_of([{"shop": "a", "event_time": at}]), [windowed], {"sales": table})
    assert result.select(["sales__amount", "sales__n"]).to_pylist() == [{"sales__amount": 1.0, "sales__n": 2}]


def test_other_time_columns() -> None:
    dated = FeatureView("dated", SHOP, [Field("v", "int64")], event_time="happened")
    table = pa.table({"shop": ["a"], "happened": pa.array([T], pa.timestamp("us", tz="UTC")), "v": [1]})
    spine = spine_of([ASK]).rename_columns(["asked", "shop"])
    assert point_in_time_join(spine, [dated], {"dated": table}, event_time="asked")["dated__v"].to_pylist() == [1]


def test_a_view_reads_the_table_of_its_source() -> None:
    table = table_of(view(), [row(-HOUR, 1.0)]).append_column("city", pa.array(["rome"]))
    by_city = FeatureView("by_city", Entity("city", ["city"]), [Field("amount", "float64")], source="sales@1")
    spine = spine_of([{"city": "rome", "event_time": T}])
    assert point_in_time_join(spine, [by_city], {"sales": table})["by_city__amount"].to_pylist() == [1.0]
    with pytest.raises(FeatureViewNotFound, match="view 'by_city' has no table, got tables \\['x'\\]"):
        point_in_time_join(spine, [by_city], {"x": table})


def test_faults_in_the_spine_are_named() -> None:
    tables = {"sales": table_of(view(), [row(-HOUR, 1.0)])}
    spine = spine_of([ASK])
    with pytest.raises(SchemaMismatch, match="spine: columns \\['event_time'\\] are missing"):
        point_in_time_join(spine.select(["shop"]), [view()], tables)
    with pytest.raises(SchemaMismatch, match="spine: columns \\['shop'\\] are missing"):
        point_in_time_join(spine.select(["event_time"]), [view()], tables)
    with pytest.raises(SchemaMismatch, match="must be unique, got \\['shop'\\]"):
        point_in_time_join(spine.append_column("shop", spine["shop"]), [view()], tables)
    with pytest.raises(SchemaMismatch, match="'sales__amount' is the name of a feature"):
        point_in_time_join(spine.append_column("sales__amount", spine["shop"]), [view()], tables)
    missing = pa.table({"event_time": pa.array([T, None], pa.timestamp("us", tz="UTC")), "shop": ["a", "a"]})
    with pytest.raises(
        DataError, match="spine: column 'event_time' must not be null, got null in 1 rows, first \\[1\\]"
    ):
        point_in_time_join(missing, [view()], tables)


def test_faults_in_a_table_are_named() -> None:
    spine, table = spine_of([ASK]), table_of(view(), [row(-HOUR, 1.0)])
    summed = view(aggregates=[WindowAggregate("s", "sum", "amount", HOUR)])
    with pytest.raises(SchemaMismatch, match="view 'sales': columns \\['amount'\\] are missing"):
        point_in_time_join(spine, [view()], {"sales": table.drop_columns(["amount"])})
    with pytest.raises(DataError, match="'amount' must lie within"):
        point_in_time_join(spine, [summed], {"sales": table_of(view(), [row(-HOUR, float("inf"))])})
    with pytest.raises(SchemaMismatch, match="'_seq' must be integers without nulls, got string"):
        point_in_time_join(spine, [view()], {"sales": table.append_column("_seq", pa.array(["x"]))})
    with pytest.raises(DataError, match="view 'sales': column 'event_time' must not be null"):
        point_in_time_join(spine, [view()], {"sales": table_of(view(), [{"shop": "a", "amount": 1.0}])})
    with pytest.raises(ConfigError, match="knowledge_cutoff needs created_at"):
        point_in_time_join(spine, [view()], {"sales": table}, knowledge_cutoff=True)
    with pytest.raises(ConfigError, match="entity 'shop' is only named"):
        point_in_time_join(spine, [FeatureView("sales", "shop", [Field("amount", "float64")])], {"sales": table})


def test_faults_in_keys_and_names_are_named() -> None:
    table = table_of(view(), [row(-HOUR, 1.0)])
    doubled = table.append_column("shop", table["shop"])
    with pytest.raises(SchemaMismatch, match=r"view 'sales': its table: column names must be unique, got \['shop'\]"):
        point_in_time_join(spine_of([ASK]), [view()], {"sales": doubled})
    flags = pa.array([True])
    with pytest.raises(SchemaMismatch, match="view 'sales': key 'shop' must be integers or strings, got bool"):
        point_in_time_join(spine_of([ASK]), [view()], {"sales": table.set_column(0, "shop", flags)})
    spine = spine_of([ASK]).set_column(1, "shop", flags)
    with pytest.raises(SchemaMismatch, match="spine: key 'shop' must be integers or strings, got bool"):
        point_in_time_join(spine, [view()], {"sales": table})
    with pytest.raises(SchemaMismatch, match="view 'sales': column 'amount' must be float64, got string"):
        point_in_time_join(spine_of([ASK]), [view()], {"sales": table.set_column(2, "amount", pa.array(["1"]))})
    with pytest.raises(FeatureViewNotFound, match="view 'sales' has no table"):
        point_in_time_join(spine_of([ASK]), [view()], {})
    with pytest.raises(SchemaMismatch, match="'sales__amount' is the name of a feature"):
        point_in_time_join(spine_of([ASK]), [view(), view()], {"sales": table})


def test_not_a_number_is_missing() -> None:
    assert joined(view(), [row(-2 * HOUR, 1.0), row(-HOUR, float("nan"))], [ASK]) == [None]
