from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from raymlops.errors import SchemaMismatch
from raymlops.features import Entity, FeatureView, Field
from raymlops.features.intake.screening import Screened, screen
from raymlops.tables.columns import INSTANT
from raymlops.tables.texts import KEY_RULE

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
VIEW = FeatureView(
    "v",
    Entity("e", ["k"]),
    [
        Field("f", "float64", ge=0),
        Field("i", "int64", nullable=False),
        Field("b", "bool"),
        Field("s", "string", allowed=["x", "y"]),
    ],
)


def of(**columns: Any) -> pa.Table:
    rows = len(next(iter(columns.values())))
    plain: dict[str, Any] = {
        "k": pa.array([1] * rows),
        "event_time": pa.array([T] * rows, INSTANT),
        "f": [1.0] * rows,
        "i": [1] * rows,
        "b": [True] * rows,
        "s": ["x"] * rows,
    }
    return pa.table({**plain, **columns})


def screened(table: pa.Table, **options: Any) -> Screened:
    return screen(VIEW, table, created_at=T, **options)


def reasons(found: Screened) -> dict[int, list[str]]:
    return {row: found.reasons(row) for row in range(found.rows.num_rows) if found.broken[row]}


def test_good_rows_are_without_the_bad_ones() -> None:
    found = screened(of(f=[1.0, -1.0, float("nan"), float("inf")], i=[1, 2, None, 4]))
    assert reasons(found) == {
        1: ["'f' must be at least 0"],
        2: ["'i' must not be null"],
        3: ["'f' must lie within -1e+100 and 1e+100"],
    }
    assert found.good.to_pylist() == [{"k": 1, "event_time": T, "f": 1.0, "i": 1, "b": True, "s": "x"}]


def test_keys_and_times_that_are_missing_are_faults_of_rows() -> None:
    found = screened(of(k=pa.array(["a", None]), event_time=pa.array([None, T], INSTANT)))
    assert reasons(found) == {0: ["'event_time' must not be null"], 1: ["'k' must not be null"]}
    assert found.good.num_rows == 0


def test_values_that_do_not_survive_are_faults_of_rows() -> None:
    fine = pa.array([0, 1, 1000], pa.timestamp("ns", tz="UTC"))
    found = screened(
        of(
            event_time=fine,
            i=pa.array([2**63, 1, 2], pa.uint64()),
            k=pa.array([1, 2, 2**63], pa.uint64()),
            f=[2**53 + 1, 1, 2],
        )
    )
    assert reasons(found) == {
        0: [
            "'f' must fit float64, got a int64 that does not",
            "'i' must fit int64, got a uint64 that does not",
        ],
        1: [
            "'event_time' must fit timestamp, got a timestamp[ns, tz=UTC] that does not; "
            "round_times=True rounds to microseconds"
        ],
        2: ["'k' must fit int64, got a uint64 that does not"],
    }


def test_all_columns_that_do_not_fit_are_told_at_once() -> None:
    with pytest.raises(SchemaMismatch) as caught:
        screened(of(f=["1"], i=["1"], k=[b"1"], event_time=[T.replace(tzinfo=None)]))
    assert str(caught.value) == (
        "view 'v': key 'k' must be integers or strings, got binary; column 'event_time' must be a tz-aware timestamp, "
        "got timestamp[us]: time_zone= names the zone of naive times; column 'f' must be float64, got string; "
        "column 'i' must be int64, got string"
    )
    assert caught.value.context["columns"] == ["k", "event_time", "f", "i"]


def test_columns_are_those_of_the_view() -> None:
    with pytest.raises(SchemaMismatch, match=r"columns \['more'\] are not declared"):
        screened(of(f=[1.0], more=[1]))
    with pytest.raises(SchemaMismatch, match=r"columns \['i', 'b'\] are missing"):
        screened(of(f=[1.0]).drop_columns(["i", "b"]))
    with pytest.raises(SchemaMismatch, match=r"must be unique, got \['f'\]"):
        screened(of(f=[1.0]).append_column("f", pa.array([1.0])))


def test_texts_are_read_as_declared() -> None:
    texts = pa.table(
        {
            "k": ["1", "2", "3", "x"],
            "event_time": ["2024-03-01T12:00:00Z", "2024-03-01 13:00:00+01:00", "2024-03-01T12:00:00", None],
            "f": ["1.5", "nan", "1e3", "many"],
            "i": ["1", "-2", "3", "4.5"],
            "b": ["true", "false", "1", "maybe"],
            "s": ["x", "y", None, "z"],
        }
    )
    found = screened(texts, text=True, key_dtypes={"k": "int64"})
    assert found.good.to_pylist() == [
        {"k": 1, "event_time": T, "f": 1.5, "i": 1, "b": True, "s": "x"},
        {"k": 2, "event_time": T, "f": None, "i": -2, "b": False, "s": "y"},
    ]
    instant = "'event_time' must be an instant with its zone, as in 2024-03-01T12:00:00Z"
    assert reasons(found) == {
        2: [instant],
        3: [
            f"'k' {KEY_RULE}; where keys are texts, declare Field('k', 'string') in a new version of the view",
            "'f' must be text of float64",
            "'i' must be text of int64",
            "'b' must be text of bool",
            "'event_time' must not be null",
            "'s' must be one of ['x', 'y']",
        ],
    }


def test_many_bad_texts_are_found() -> None:
    texts = of(f=["1.5" if row % 3 else "bad" for row in range(1000)])
    assert screened(texts, text=True).broken.sum() == 334


def test_no_rows() -> None:
    empty = of(f=[1.0]).slice(0, 0)
    found = screened(empty)
    assert (found.faults, found.good.num_rows, found.good.schema.names) == ((), 0, list(VIEW.table_columns))


def test_created_at_is_stamped_where_it_is_not_given() -> None:
    view = FeatureView("v", Entity("e", ["k"]), [Field("f", "float64")], created_at="created_at")
    rows = pa.table({"k": [1], "event_time": pa.array([T], INSTANT), "f": [1.0]})
    later = T + timedelta(hours=1)
    assert screen(view, rows, created_at=later).good["created_at"].to_pylist() == [later]
