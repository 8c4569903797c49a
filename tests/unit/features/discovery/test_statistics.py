from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.errors import SchemaMismatch
from raymlops.features import Entity, FeatureView, Field
from raymlops.features.discovery.statistics import profile_view
from raymlops.records.people.discovery import FrequentValue, ViewStatistics
from raymlops.tables.columns import INSTANT

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
VIEW = FeatureView(
    "v",
    Entity("e", ["k", "j"]),
    [
        Field("i", "int64"),
        Field("x", "float64"),
        Field("s", "string"),
        Field("b", "bool"),
        Field("t", "timestamp"),
    ],
    created_at="created_at",
)


def table(rows: list[dict[str, Any]]) -> pa.Table:
    types = {"k": pa.int64(), "j": pa.string(), "i": pa.int64(), "x": pa.float64(), "s": pa.string(), "b": pa.bool_()}
    schema = pa.schema([*types.items(), ("event_time", INSTANT), ("created_at", INSTANT), ("t", INSTANT)])
    return pa.Table.from_pylist(rows, schema=schema)


def row(k: int, at: datetime, late: timedelta | None = None, **fields: Any) -> dict[str, Any]:
    created = {} if late is None else {"created_at": at + late}
    return {"k": k, "j": "a", "event_time": at, **created, **fields}


def profile(*tables: pa.Table, view: FeatureView = VIEW) -> ViewStatistics:
    return profile_view(view, tables, table="v", table_version=3)


def test_a_small_table_is_described_exactly() -> None:
    first = table(
        [
            row(1, T, HOUR, i=5, x=1.0, s="red", b=True, t=T),
            row(1, T, 2 * HOUR, i=7, x=None, s="red", b=False, t=T + DAY),  # same key and event time
            row(2, T + HOUR, 8 * DAY, i=None, x=3.0, s="blue", b=True),
        ]
    )
    second = table([row(1, T + DAY, None, i=5, x=float("nan"), s=None, b=None), row(2, T - DAY, timedelta(0), x=8.0)])
    found = profile(first, second)
    assert (found.view, found.table, found.table_version) == ("v@1", "v", 3)
    assert (found.rows, found.keys, found.duplicates) == (5, 2, 1)
    assert (found.first_event_time, found.last_event_time) == (T - DAY, T + DAY)
    assert found.last_created_at == T + HOUR + 8 * DAY
    assert found.late_rows == {"1h": 2, "1d": 1, "7d": 1}
    assert (found.newest_by_key[0], found.newest_by_key[-1]) == (T + HOUR, T + DAY)
    i, x, s, b, t = (found.fields[name] for name in "ixsbt")
    assert (i.values, i.distinct, i.distinct_error, i.minimum, i.maximum) == (3, 2, 0.0, 5, 7)
    assert i.missing_share == pytest.approx(0.4)
    assert (i.mean, i.std) == (pytest.approx(17 / 3), pytest.approx(np.std([5, 7, 5])))
    assert (i.quantiles["0.5"], i.quantile_error) == (5, 0.0)
    assert (x.values, x.mean, x.quantiles["0.99"]) == (3, 4.0, 8.0)
    assert s.frequent == (FrequentValue(value="red", rows=2), FrequentValue(value="blue", rows=1))
    assert (s.minimum, s.maximum, s.mean, s.quantiles) == ("blue", "red", None, {})
    assert (b.mean, b.frequent[0]) == (pytest.approx(2 / 3), FrequentValue(value=True, rows=2))
    assert (t.minimum, t.quantiles["0.95"], t.mean) == (T.isoformat(), (T + DAY).isoformat(), None)
    assert ViewStatistics.model_validate_json(found.model_dump_json()) == found


def test_an_empty_table_and_a_column_of_nulls() -> None:
    empty = profile(table([]))
    assert (empty.rows, empty.keys, empty.first_event_time, empty.newest_by_key) == (0, 0, None, ())
    assert empty.fields["x"].missing_share == 0.0
    nulls = profile(table([row(1, T)])).fields["x"]
    assert (nulls.values, nulls.missing_share, nulls.mean, nulls.quantiles) == (0, 1.0, None, {})


def test_rows_without_a_key_count_as_rows_only() -> None:
    found = profile(table([row(1, T), {**row(1, T), "j": None}, {**row(1, T), "j": None}]))
    assert (found.rows, found.keys, found.duplicates) == (3, 1, 0)


def test_rows_without_the_views_event_time_are_left_out() -> None:
    by_t = FeatureView("w", Entity("e", ["k"]), [Field("x", "float64")], event_time="t", source="v")
    found = profile(table([row(1, T, t=T, x=1.0), row(2, T, x=2.0)]), view=by_t)
    assert (found.rows, found.keys, found.late_rows, found.fields["x"].maximum) == (1, 1, None, 1.0)


def test_a_view_about_the_world_has_one_key() -> None:
    world = FeatureView("w", Entity("world", []), [Field("x", "float64")])
    found = profile(table([row(1, T), row(2, T), row(3, T + HOUR)]), view=world)
    assert (found.keys, found.duplicates) == (1, 1)


def test_times_beyond_pythons_calendar_are_shown_as_its_end() -> None:
    far = table([row(1, T)]).set_column(6, "event_time", pa.array([2**62], pa.int64()).cast(INSTANT))
    assert profile(far).last_event_time == datetime.max.replace(tzinfo=UTC)


def test_long_texts_are_cut() -> None:
    found = profile(table([row(1, T, s="x" * 5000)])).fields["s"]
    assert len(str(found.maximum)) == len(str(found.frequent[0].value)) == 200


def test_a_table_of_other_columns_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match=r"columns \['x'\] are missing"):
        profile(table([row(1, T)]).drop_columns(["x"]))


_rows = st.lists(
    st.tuples(st.integers(0, 3), st.integers(-3, 3), st.none() | st.floats(-10, 10), st.none() | st.sampled_from("ab")),
    max_size=30,
)


@given(_rows, st.integers(1, 7))
@settings(deadline=None, max_examples=60)
def test_how_the_rows_are_cut_into_batches_does_not_matter(rows: list[Any], size: int) -> None:
    whole = table([row(k, T + at * HOUR, timedelta(0), x=x, s=s) for k, at, x, s in rows])
    parts = [whole.slice(start, size) for start in range(0, whole.num_rows, size)]
    once, apart = profile(whole), profile(*parts)
    assert apart.model_copy(update={"fields": {}}) == once.model_copy(update={"fields": {}})
    assert apart.fields["s"] == once.fields["s"]
    x, y = apart.fields["x"], once.fields["x"]
    assert (x.values, x.minimum, x.maximum, x.quantiles) == (y.values, y.minimum, y.maximum, y.quantiles)
    assert x.mean == pytest.approx(y.mean, abs=1e-12)
    assert x.std == pytest.approx(y.std, abs=1e-9)
    frame = pl.DataFrame({"k": [each[0] for each in rows], "at": [each[1] for each in rows]})
    assert once.keys == frame["k"].n_unique()
    assert once.duplicates == frame.height - frame.unique().height
