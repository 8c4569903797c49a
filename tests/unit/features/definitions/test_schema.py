from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymlops.errors import DataError, SchemaMismatch
from raymlops.features import Entity, FeatureView, Field
from raymlops.features.definitions.schema import FaultTally, RowFault, conform, key_column, row_faults, typed
from raymlops.tables.columns import INSTANT
from raymlops.tables.sources import FileSource

T = datetime(2024, 3, 1, tzinfo=UTC)
VIEW = FeatureView(
    "v",
    Entity("e", ["k"]),
    [
        Field("f", "float64", ge=0, le=10),
        Field("i", "int64", nullable=False),
        Field("s", "string", allowed=["x", "y"]),
        Field("b", "bool"),
    ],
    created_at="created_at",
)


def table(**columns: Any) -> pa.Table:
    rows = len(next(iter(columns.values()))) if columns else 1
    plain: dict[str, Any] = {
        "k": pa.array([1] * rows),
        "event_time": pa.array([T] * rows, INSTANT),
        "created_at": pa.array([T] * rows, INSTANT),
        "f": [1.0] * rows,
        "i": [1] * rows,
        "s": ["x"] * rows,
        "b": [True] * rows,
    }
    return pa.table({**plain, **columns})


def test_columns_come_in_the_views_order_and_types() -> None:
    mixed = table(
        f=pa.array([1], pa.int32()),
        i=pa.array([7], pa.uint8()),
        s=pa.array(["x"], pa.large_string()).dictionary_encode(),
        b=pa.array([None], pa.null()),
        k=pa.array([3], pa.int16()),
    ).select(["b", "s", "k", "f", "created_at", "i", "event_time"])
    found = conform(VIEW, mixed)
    assert found.column_names == ["k", "event_time", "created_at", "f", "i", "s", "b"]
    assert found.schema.types == [pa.int64(), INSTANT, INSTANT, pa.float64(), pa.int64(), pa.string(), pa.bool_()]
    assert found.to_pylist() == [{"k": 3, "event_time": T, "created_at": T, "f": 1.0, "i": 7, "s": "x", "b": None}]


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("i", pa.array([1.0, 1.5]), "column 'i' must fit int64, got a double that does not: 1.5 in row 1"),
        ("f", pa.array(["1"]), "column 'f' must be float64, got string"),
        ("f", pa.array([2**60 + 1]), "column 'f' must fit float64, got a int64"),
        ("i", pa.array([2**63], pa.uint64()), "column 'i' must fit int64"),
        ("b", pa.array([1]), "column 'b' must be bool, got int64"),
        ("s", pa.array([1]), "column 's' must be string, got int64"),
        ("k", pa.array([1.5]), "column 'k' must fit int64, got a double that does not: 1.5"),
        (
            "event_time",
            pa.array([T.replace(tzinfo=None)]),
            "'event_time' must be a tz-aware timestamp, got timestamp\\[us\\]",
        ),
        ("event_time", pa.array(["2024-03-01"]), "must be a tz-aware timestamp, got string"),
        ("created_at", pa.array([1]), "'created_at' must be a tz-aware timestamp, got int64"),
    ],
)
def test_types_that_do_not_fit_are_refused(name: str, column: pa.Array, message: str) -> None:
    with pytest.raises(SchemaMismatch, match=message):
        conform(VIEW, table(**{name: column}))


def test_a_key_of_nulls_alone_has_no_type_to_store() -> None:
    nulls = table(k=pa.array([None], pa.null()))
    assert conform(VIEW, nulls)["k"].null_count == 1
    with pytest.raises(SchemaMismatch, match="key 'k' must be integers or strings, got null"):
        conform(VIEW, nulls, exact=True)


def test_missing_unknown_and_doubled_columns() -> None:
    with pytest.raises(SchemaMismatch, match="columns \\['i'\\] are missing"):
        conform(VIEW, table().drop_columns(["i"]))
    with pytest.raises(SchemaMismatch, match="columns \\['more'\\] are not declared"):
        conform(VIEW, table(more=[1]), exact=True)
    assert "more" not in conform(VIEW, table(more=[1])).column_names
    with pytest.raises(SchemaMismatch, match="must be unique, got \\['f'\\]"):
        conform(VIEW, table().append_column("f", pa.array([1.0])))


def test_created_at_is_filled_only_where_it_is_not_there() -> None:
    later = T.replace(year=2025)
    filled = conform(VIEW, table().drop_columns(["created_at"]), created_at=later, exact=True)
    assert filled["created_at"].to_pylist() == [later]
    assert conform(VIEW, table(), created_at=later)["created_at"].to_pylist() == [T]


def test_not_a_number_is_null_and_zero_has_one_sign() -> None:
    column = typed("v", "f", pa.array([float("nan"), -0.0, None, 1.5]), "float64")
    assert column.to_pylist() == [None, 0.0, None, 1.5]
    assert not np.signbit(column[1].as_py())


def test_keys_keep_their_kind() -> None:
    assert key_column("v", "k", pa.array(["a", None]).dictionary_encode()).to_pylist() == ["a", None]
    assert key_column("v", "k", pa.array([1], pa.uint8())).type == pa.int64()


def _check(view: FeatureView, rows: pa.Table) -> None:
    tally = FaultTally()
    tally.add(row_faults(view, rows), 0)
    tally.raise_if_any(f"view {view.name!r}", view=view.name)


def test_values_are_checked_all_at_once() -> None:
    bad = table(
        k=pa.array([1, None, 3, 4], pa.int64()),
        event_time=pa.array([T, T, None, T], INSTANT),
        f=pa.array([-1.0, 11.0, float("inf"), None]),
        i=pa.array([1, None, 1, 1]),
        s=pa.array(["x", "z", None, "y"]),
        b=[None] * 4,
    )
    with pytest.raises(DataError) as caught:
        _check(VIEW, conform(VIEW, bad))
    problems = {(p["column"], p["rule"]): p["rows"] for p in caught.value.context["problems"]}  # type: ignore[attr-defined]
    assert problems == {
        ("event_time", "must not be null"): [2],
        ("k", "must not be null"): [1],
        ("f", "must lie within -1e+100 and 1e+100"): [2],
        ("f", "must be at least 0"): [0],
        ("f", "must be at most 10"): [1, 2],
        ("i", "must not be null"): [1],
        ("s", "must be one of ['x', 'y']"): [1],
    }
    assert "'i' must not be null, broken by 1 rows, first [1]" in str(caught.value)


def test_good_values_pass() -> None:
    good = table(f=pa.array([0.0, 10.0, None]), i=[1, 2, 3], s=["x", "y", None], b=[True, None, False])
    _check(VIEW, conform(VIEW, good))


def test_a_key_that_is_a_nullable_field_may_be_null() -> None:
    view = FeatureView("v", Entity("e", ["k"]), [Field("k", "string"), Field("f", "float64")])
    rows = pa.table({"k": pa.array([None], pa.string()), "event_time": pa.array([T], INSTANT), "f": [1.0]})
    _check(view, conform(view, rows, exact=True))


def test_an_instant_that_python_does_not_have_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "far.parquet"
    pq.write_table(pa.table({"at": pa.array([2**60], pa.timestamp("ms", "UTC"))}), file)
    tally = FaultTally()
    for table in FileSource(file).tables():
        if table.num_rows:
            tally.add([RowFault("at", "must fit timestamp", np.array([True]), of_type=True)], 0, table)
    with pytest.raises(SchemaMismatch, match=r"must fit timestamp, .*first \[0\]; got .* in .*far\.parquet, row 0$"):
        tally.raise_if_any("view 'v'")
