"""``distinct`` by example; that it meets its definition for all histories is in test_laws."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.features import Entity, FeatureView, Field, WindowAggregate, point_in_time_join
from raymlops.features.offline import distinct
from raymlops.tables.columns import INSTANT
from tests.support.point_in_time import join_every_way, spine_of, table_of

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
US = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
FIELDS = [Field("x", "float64"), Field("i", "int64"), Field("b", "bool"), Field("s", "string"), Field("t", "timestamp")]


def view(*names: str, window: timedelta = HOUR, **options: Any) -> FeatureView:
    aggregates = [WindowAggregate(f"d_{name}", "distinct", name, window) for name in names]
    return FeatureView("v", Entity("e", ["k"]), FIELDS, aggregates=aggregates, **options)


def at(of: FeatureView, rows: list[dict[str, Any]], *asked: datetime, **options: Any) -> list[list[Any]]:
    rows = [{"k": "a", **row} for row in rows]
    spine = spine_of([{"event_time": instant, "k": k} for instant in asked for k in ("a", "unknown")])
    result = join_every_way(spine, [of], {"v": table_of(of, rows)}, **options)
    for aggregate in of.aggregates:
        column = result[f"v__{aggregate.name}"]
        assert column.type == pa.int64()
        assert column.to_pylist()[1::2] == [0] * len(asked)
    return [result[f"v__{aggregate.name}"].to_pylist()[::2] for aggregate in of.aggregates]


def test_different_values_of_every_type() -> None:
    rows = [
        {"event_time": T - HOUR, "x": 9.0, "i": 9, "b": True, "s": "left the window", "t": T},
        {"event_time": T, "x": 1.0, "i": 2**60, "b": False, "s": "a", "t": T},
        {"event_time": T, "x": 1.0 + 2**-52, "i": 2**60 + 1, "b": None, "s": "", "t": T + US},
        {"event_time": T, "x": None, "i": 2**60, "b": False, "s": "a", "t": T},
        {"event_time": T, "x": 1.0, "i": None, "b": None, "s": None, "t": None},
    ]
    assert at(view("x", "i", "b", "s", "t"), rows, T) == [[2], [2], [1], [2], [2]]


def test_a_value_stays_as_long_as_its_last_event_is_in_the_window() -> None:
    rows = [
        {"event_time": T + minutes * timedelta(minutes=1), "i": value} for minutes, value in [(0, 1), (30, 1), (40, 2)]
    ]
    instants = [T - US, T, T + HOUR, T + 1.5 * HOUR - US, T + 1.5 * HOUR, T + 2 * HOUR]
    assert at(view("i"), rows, *instants) == [[0, 1, 2, 2, 1, 0]]


def test_spans_that_touch_are_one() -> None:
    rows = [{"event_time": T, "i": 7}, {"event_time": T + HOUR, "i": 7}]
    assert at(view("i"), rows, T + HOUR - US, T + HOUR, T + HOUR + US, T + 2 * HOUR - US, T + 2 * HOUR) == [
        [1, 1, 1, 1, 0]
    ]


def test_zeros_are_one_value_and_nan_is_missing() -> None:
    table = pa.table(
        {
            "k": ["a"] * 4,
            "event_time": pa.array([T] * 4, INSTANT),
            "x": [0.0, -0.0, float("nan"), 1.0],
        }
    )
    of = FeatureView("v", Entity("e", ["k"]), FIELDS[:1], aggregates=[WindowAggregate("d", "distinct", "x", HOUR)])
    assert point_in_time_join(spine_of([{"event_time": T, "k": "a"}]), [of], {"v": table})["v__d"].to_pylist() == [2]


def test_a_cutoff_leaves_out_what_was_not_yet_known() -> None:
    rows = [
        {"event_time": T, "created_at": T, "i": 1},
        {"event_time": T, "created_at": T + 2 * HOUR, "i": 2},  # known only when it has left the window
        {"event_time": T, "created_at": None, "i": 3},
        {"event_time": T + HOUR / 2, "created_at": T + HOUR, "i": 1},
        {"event_time": T, "created_at": T + HOUR / 2, "i": 4},
    ]
    of = view("i", created_at="created_at")
    instants = [T, T + HOUR / 2, T + HOUR - US, T + HOUR, T + 1.5 * HOUR - US, T + 1.5 * HOUR, T + 2 * HOUR]
    assert at(of, rows, *instants, knowledge_cutoff=True) == [[1, 2, 2, 1, 1, 0, 0]]
    assert at(of, rows, T, T + HOUR) == [[4, 1]]


@pytest.mark.parametrize("bits", [0, 60])
@pytest.mark.parametrize("cutoff", [False, True])
def test_many_rows_are_counted_as_one_by_one(cutoff: bool, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinct, "_SORTABLE_BITS", bits)  # few: as with too many keys and values to be packed
    chance = np.random.default_rng(5)
    rows = [
        {
            "k": str(chance.integers(4)),
            "event_time": T + int(chance.integers(600)) * timedelta(minutes=1),
            "created_at": T + int(chance.integers(700)) * timedelta(minutes=1),
            "i": int(chance.integers(12)) if chance.random() < 0.9 else None,
        }
        for _ in range(800)
    ]
    of = view("i", created_at="created_at", window=2 * HOUR)
    asked = [{"event_time": T + minute * timedelta(minutes=1), "k": str(minute % 5)} for minute in range(0, 900, 3)]
    joined = point_in_time_join(spine_of(asked), [of], {"v": table_of(of, rows)}, knowledge_cutoff=cutoff)
    expected = [
        len(
            {
                row["i"]
                for row in rows
                if row["k"] == ask["k"]
                and row["i"] is not None
                and ask["event_time"] - 2 * HOUR < row["event_time"] <= ask["event_time"]
                and (not cutoff or row["created_at"] <= ask["event_time"])
            }
        )
        for ask in asked
    ]
    assert joined["v__d_i"].to_pylist() == expected
    assert max(expected) > 8
