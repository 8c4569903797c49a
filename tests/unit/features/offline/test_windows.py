"""Window aggregates by example; that they meet their definition for all histories is in test_laws."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from raymlops.features import Entity, FeatureView, Field, WindowAggregate
from tests.support.point_in_time import join_every_way, spine_of, table_of

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
US = timedelta(microseconds=1)
HOUR = timedelta(hours=1)


def view(*aggregates: WindowAggregate, **options: Any) -> FeatureView:
    fields = [Field("x", "float64"), Field("i", "int64"), Field("b", "bool"), Field("s", "string")]
    return FeatureView("v", Entity("e", ["k"]), fields, aggregates=aggregates, **options)


def at(of: FeatureView, rows: list[dict[str, Any]], *asked: datetime, **options: Any) -> list[list[Any]]:
    rows = [{"k": "a", **row} for row in rows]
    spine = spine_of([{"k": "a", "event_time": instant} for instant in asked])
    result = join_every_way(spine, [of], {"v": table_of(of, rows)}, **options)
    return [result[f"v__{aggregate.name}"].to_pylist() for aggregate in of.aggregates]


@pytest.mark.parametrize(
    ("function", "expected"),
    [("count", 3), ("sum", 12.0), ("mean", 4.0), ("std", 8**0.5), ("min", 2.0), ("max", 8.0), ("last", 2.0)],
)
def test_functions(function: Any, expected: float) -> None:
    rows = [
        {"event_time": T - minutes * timedelta(minutes=1), "x": x}
        for minutes, x in [(90, 99.0), (50, 8.0), (40, 2.0), (30, None), (0, 2.0), (-1, 5.0)]
    ]
    assert at(view(WindowAggregate("a", function, "x", HOUR)), rows, T) == [[expected]]


def test_the_window_is_open_at_its_start_and_closed_at_its_end() -> None:
    rows = [
        {"event_time": T - HOUR, "i": 1},
        {"event_time": T - HOUR + US, "i": 10},
        {"event_time": T, "i": 100},
        {"event_time": T + US, "i": 1000},
    ]
    of = view(WindowAggregate("a", "sum", "i", HOUR), WindowAggregate("n", "count", "i", HOUR))
    assert at(of, rows, T, T - US, T + HOUR, T + HOUR + 2 * US) == [[110.0, 11.0, 1000.0, None], [2, 2, 1, 0]]


def test_without_values_counts_are_0_and_the_rest_null() -> None:
    functions: list[Any] = ["count", "sum", "mean", "std", "min", "max", "last"]
    of = view(*(WindowAggregate(function, function, "x", HOUR) for function in functions))
    for rows in (
        [],
        [{"event_time": T, "x": None}],
        [{"event_time": T + US, "x": 1.0}],
        [{"event_time": T - HOUR, "x": 1.0}],
    ):
        assert at(of, rows, T) == [[0]] + [[None]] * 6


def test_the_ttl_does_not_cut_windows() -> None:
    of = view(WindowAggregate("a", "sum", "x", 3 * HOUR), ttl=HOUR)
    assert at(of, [{"event_time": T - 2 * HOUR, "x": 1.0}], T) == [[1.0]]


def test_booleans_are_shares_and_texts_are_counted() -> None:
    of = view(
        WindowAggregate("share", "mean", "b", HOUR),
        WindowAggregate("n", "count", "s", HOUR),
        WindowAggregate("s1", "last", "s", HOUR),
    )
    rows = [
        {"event_time": T, "b": True, "s": "x"},
        {"event_time": T, "b": False, "s": "y"},
        {"event_time": T, "b": None, "s": None},
    ]
    assert at(of, rows, T) == [[0.5], [2], ["y"]]


def test_large_integers_keep_their_bits_where_they_are_picked() -> None:
    of = view(
        WindowAggregate("low", "min", "i", HOUR),
        WindowAggregate("high", "max", "i", HOUR),
        WindowAggregate("l", "last", "i", HOUR),
    )
    rows = [{"event_time": T, "i": 2**62 + 1}, {"event_time": T, "i": None}, {"event_time": T, "i": -(2**62) - 1}]
    assert at(of, rows, T) == [[-(2**62) - 1], [2**62 + 1], [-(2**62) - 1]]


def test_sums_forget_large_values_that_left_the_window() -> None:
    """Running sums in doubles would answer 0 or 16 here."""
    rows = [{"event_time": T - 2 * HOUR, "x": 1e17}, {"event_time": T, "x": 0.1}, {"event_time": T, "x": 0.2}]
    of = view(*(WindowAggregate(f, f, "x", HOUR) for f in ("sum", "mean", "std")))  # type: ignore[arg-type]
    total, mean, deviation = (values[0] for values in at(of, rows, T))
    assert (total, mean) == (0.30000000000000004, 0.15000000000000002)
    assert deviation == pytest.approx(0.05, rel=1e-14)


def test_a_cutoff_leaves_out_what_was_not_yet_known() -> None:
    rows = [
        {"event_time": T - 2 * HOUR, "created_at": T - 2 * HOUR, "x": 1.0},
        {"event_time": T - HOUR, "created_at": T + HOUR, "x": 10.0},
        {"event_time": T - 2 * HOUR, "created_at": T + 3 * HOUR, "x": 100.0},  # known only when it has left the window
        {"event_time": T - HOUR, "created_at": None, "x": 1000.0},
    ]
    functions: list[Any] = ["count", "sum", "min", "max", "last"]
    of = view(*(WindowAggregate(f, f, "x", 4 * HOUR) for f in functions), created_at="created_at")
    asked = (T, T + HOUR, T + 2 * HOUR, T + 3 * HOUR)
    assert at(of, rows, *asked, knowledge_cutoff=True) == [
        [1, 2, 1, 0],
        [1.0, 11.0, 10.0, None],
        [1.0, 1.0, 10.0, None],
        [1.0, 10.0, 10.0, None],
        [1.0, 10.0, 10.0, None],
    ]
