from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from raymlops.clock import to_us
from raymlops.errors import DataError, StorageError
from raymlops.features import Entity, FeatureView, Field, WindowAggregate
from raymlops.features.keys import encode_key
from raymlops.features.run_reader import ViewReader
from raymlops.features.runs import Run, RunLayout, runs_of
from raymlops.testing.point_in_time import table_of

T = datetime(2024, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MINUTE_US = 60_000_000
VIEW = FeatureView(
    "v",
    Entity("e", ["k"]),
    [Field("x", "float64"), Field("s", "string"), Field("b", "bool"), Field("t", "timestamp")],
    aggregates=[WindowAggregate("m", "mean", "x", 2 * MINUTE), WindowAggregate("d", "std", "x", 3 * MINUTE)],
)
LAYOUT = RunLayout(VIEW)
FEATURES = ["s", "x", "b", "t", "m", "d"]


def row(minute: int, x: float | None, **more: Any) -> dict[str, Any]:
    return {"k": "a", "event_time": T + minute * MINUTE, "x": x, **more}


def run(*rows: dict[str, Any], first: int = 0) -> Run:
    table = table_of(VIEW, rows)
    ((key, made),) = runs_of(LAYOUT, table, np.arange(first, first + len(rows)))
    assert key == encode_key(["a"])
    return made


def read(blob: bytes, minute: int) -> list[Any]:
    values, event_us = ViewReader(VIEW, FEATURES).read(memoryview(blob), to_us(T + minute * MINUTE))
    return [*values, None if event_us is None else (event_us - to_us(T)) // MINUTE_US]


def test_what_is_encoded_is_read() -> None:
    blob = run(row(0, 1.5, s="é", b=True, t=T), row(1, None, s=None, b=None), row(2, 2.5, s="", b=False)).encode(LAYOUT)
    assert read(blob, -1) == [None, None, None, None, None, None, None]
    assert read(blob, 0) == ["é", 1.5, True, to_us(T), 1.5, 0.0, 0]
    assert read(blob, 1) == [None, None, None, None, 1.5, 0.0, 1]
    assert read(blob, 2) == ["", 2.5, False, None, 2.5, 0.5, 2]
    assert read(blob, 9) == ["", 2.5, False, None, None, None, 2]
    again = Run.decode(LAYOUT, blob)
    assert again.encode(LAYOUT) == blob


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_rows_are_merged_wherever_they_belong(order: tuple[int, ...]) -> None:
    rows = [row(0, 0.1, s="a"), row(1, None, s="bb"), row(2, 1e20, s=None), row(2, -1e20, s="dddd")]
    merged = run(rows[order[0]], first=order[0])
    for place in order[1:]:
        merged = Run.decode(LAYOUT, merged.encode(LAYOUT)).merged(run(rows[place], first=place))
    together = run(*rows)
    assert [read(merged.encode(LAYOUT), minute) for minute in range(5)] == [
        read(together.encode(LAYOUT), minute) for minute in range(5)
    ]
    assert merged.sequence.tolist() == [0, 1, 2, 3]


def test_what_no_question_needs_is_let_go() -> None:
    whole = run(*(row(minute, float(minute)) for minute in range(20)))
    kept = whole.trimmed(to_us(T + 15 * MINUTE), LAYOUT.window_us)
    assert kept.event.tolist() == whole.event[13:].tolist()  # the window of 3 minutes is open at minute 12
    assert kept.complete_from == to_us(T + 15 * MINUTE)
    blob, full = kept.encode(LAYOUT), whole.encode(LAYOUT)
    assert [read(blob, minute) for minute in range(15, 24)] == [read(full, minute) for minute in range(15, 24)]
    with pytest.raises(DataError, match="at must not be before 2024-03-01T00:15:00\\+00:00, where the online history"):
        read(blob, 14)


def test_the_newest_row_is_kept_however_old() -> None:
    whole = run(row(0, 1.0), row(1, 2.0))
    kept = whole.trimmed(to_us(T + 1_000 * MINUTE), LAYOUT.window_us)
    assert kept.event.tolist() == whole.event[1:].tolist()
    assert kept.trimmed(to_us(T + 2_000 * MINUTE), LAYOUT.window_us) is kept
    assert whole.trimmed(to_us(T - MINUTE), LAYOUT.window_us) is whole


def test_a_late_row_that_was_let_go_changes_nothing() -> None:
    kept = run(*(row(minute, float(minute)) for minute in range(20))).trimmed(to_us(T + 15 * MINUTE), LAYOUT.window_us)
    later = kept.merged(run(row(3, 99.0), first=20)).trimmed(to_us(T + 15 * MINUTE), LAYOUT.window_us)
    assert later.encode(LAYOUT) == kept.encode(LAYOUT)


def test_the_running_sums_of_a_trimmed_run_start_at_0() -> None:
    whole = run(*(row(minute, 1e9 + minute) for minute in range(20)))
    kept = whole.trimmed(to_us(T + 15 * MINUTE), LAYOUT.window_us)
    assert all((sums.rows[:, 0] == 0).all() for sums in kept.sums)


def test_rows_are_cut_by_entity_and_null_keys_left_out() -> None:
    rows = [row(0, 1.0), {**row(1, 2.0), "k": "b"}, {**row(2, 3.0), "k": None}, row(3, 4.0)]
    made = dict(runs_of(LAYOUT, table_of(VIEW, rows), np.arange(4)))
    assert {key: one.sequence.tolist() for key, one in made.items()} == {
        encode_key(["a"]): [0, 3],
        encode_key(["b"]): [1],
    }
    assert list(runs_of(LAYOUT, table_of(VIEW, []), np.arange(0))) == []


@pytest.mark.parametrize("blob", [b"", b"\x00" * 400, b"short"])
def test_bytes_that_are_no_run_are_refused(blob: bytes) -> None:
    with pytest.raises(StorageError, match="run of view 'v@1'"):
        read(blob, 0)
    with pytest.raises(StorageError, match="run of view 'v@1'"):
        Run.decode(LAYOUT, blob)
