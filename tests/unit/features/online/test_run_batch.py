"""Runs made, merged, cut and written; what they answer is asked through a ``ViewReader``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from raymlops.clock import to_us
from raymlops.errors import DataError, StorageError
from raymlops.features import Entity, FeatureView, Field, WindowAggregate
from raymlops.features.online import run_batch as run_batch_module
from raymlops.features.online.online_keys import encode_key
from raymlops.features.online.run_batch import RunBatch, run_batches
from raymlops.features.online.run_reader import ViewReader
from raymlops.features.online.runs import MAGIC, RunLayout
from tests.support.point_in_time import table_of

T = datetime(2024, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MINUTE_US = 60_000_000
VIEW = FeatureView(
    "v",
    Entity("e", ["k"]),
    [Field("x", "float64"), Field("s", "string"), Field("b", "bool"), Field("t", "timestamp"), Field("u", "string")],
    aggregates=[WindowAggregate("m", "mean", "x", 2 * MINUTE), WindowAggregate("d", "std", "x", 3 * MINUTE)],
)
LAYOUT = RunLayout(VIEW)
READER = ViewReader(VIEW, ["s", "x", "b", "t", "u", "m", "d"])
EVER = 10**18


def row(minute: int, x: float | None, **more: Any) -> dict[str, Any]:
    return {"k": "a", "event_time": T + minute * MINUTE, "x": x, **more}


def batch(*rows: dict[str, Any], first: int = 0) -> RunBatch:
    """The rows, all of key ``a``."""
    (made,) = run_batches(LAYOUT, table_of(VIEW, rows), np.arange(first, first + len(rows)))
    assert made.keys == [encode_key(["a"])]
    return made


def blob(made: RunBatch, *, now: int = 0, history: int = EVER) -> bytes:
    """The one run of a batch; all of it unless ``history`` says how many microseconds before minute ``now`` to keep."""
    (run,) = made.trimmed(to_us(T + now * MINUTE), history).encode().values()
    return run


def read(run: bytes, minute: int) -> list[Any]:
    columns, (event_us,) = READER.read([memoryview(run)], [to_us(T + minute * MINUTE)])
    return [*(column[0] for column in columns), None if event_us is None else (event_us - to_us(T)) // MINUTE_US]


def events(run: bytes) -> list[int]:
    """Minutes of the rows in a run, oldest first."""
    count = len(run)
    assert count
    made = batch(row(0, None)).with_stored([run])
    return sorted((made.records["event"][:-1] - to_us(T)) // MINUTE_US)  # type: ignore[no-any-return]


def test_what_is_encoded_is_read() -> None:
    run = blob(
        batch(row(0, 1.5, s="é", b=True, t=T, u="one"), row(1, None, s=None, b=None), row(2, 2.5, s="", b=False, u="x"))
    )
    nothing = [None] * 8
    assert read(run, -1) == nothing
    assert read(run, 0) == ["é", 1.5, True, to_us(T), "one", 1.5, 0.0, 0]
    assert read(run, 1) == [None, None, None, None, None, 1.5, 0.0, 1]
    assert read(run, 2) == ["", 2.5, False, None, "x", 2.5, 0.5, 2]
    assert read(run, 9) == ["", 2.5, False, None, "x", None, None, 2]


def test_what_is_stored_is_written_again_as_it_was() -> None:
    run = blob(batch(row(0, 0.1, s="é", u="more"), row(1, 1e20, s=None, u=""), row(2, None, s="abc", b=True, t=T)))
    empty = RunBatch.of_rows(LAYOUT, [encode_key(["a"])], np.zeros(0, np.int64), table_of(VIEW, []), np.arange(0))
    assert blob(empty.with_stored([run])) == run


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_rows_are_merged_wherever_they_belong(order: tuple[int, ...]) -> None:
    rows = [row(0, 0.1, s="a"), row(1, None, s="bb"), row(2, 1e20, s=None), row(2, -1e20, s="dddd", u="u")]
    merged = blob(batch(rows[order[0]], first=order[0]))
    for place in order[1:]:
        merged = blob(batch(rows[place], first=place).with_stored([merged]))
    assert merged == blob(batch(*rows))


def test_what_no_question_needs_is_let_go() -> None:
    rows = [row(minute, float(minute)) for minute in range(20)]
    whole, kept = blob(batch(*rows)), blob(batch(*rows), now=30, history=4 * MINUTE_US)
    assert events(kept) == list(range(13, 20))  # the window of 3 minutes is open at minute 12
    assert [read(kept, minute) for minute in range(15, 24)] == [read(whole, minute) for minute in range(15, 24)]
    with pytest.raises(DataError, match="at must not be before 2024-03-01T00:15:00\\+00:00, where the online history"):
        read(kept, 14)


def test_the_newest_row_is_kept_however_old() -> None:
    rows = batch(row(0, 1.0), row(1, 2.0))
    kept = blob(rows, now=1_000, history=0)
    assert events(kept) == [0, 1]  # in the window that ends with the newest row
    assert events(blob(batch(row(0, 1.0), row(9, 2.0)), now=1_000, history=0)) == [9]
    assert read(kept, 1_000)[:2] == [None, 2.0]


def test_a_late_row_that_was_let_go_changes_nothing() -> None:
    kept = blob(batch(*(row(minute, float(minute)) for minute in range(20))), now=19, history=4 * MINUTE_US)
    late = batch(row(3, 99.0), first=20).with_stored([kept])
    assert blob(late, now=19, history=4 * MINUTE_US) == kept


def test_an_event_from_the_future_pushes_nothing_out() -> None:
    run = blob(batch(row(0, 1.0), row(1, 2.0), row(1_000, 3.0)), now=1, history=0)
    assert events(run) == [0, 1, 1_000]
    assert read(run, 1)[:2] == [None, 2.0]


def test_rows_are_cut_by_entity_and_null_keys_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(0, 1.0), {**row(1, 2.0), "k": "b"}, {**row(2, 3.0), "k": None}, row(3, 4.0), {**row(4, 5.0), "k": "c"}]
    table = table_of(VIEW, rows)
    expected = {encode_key(["a"]): [0, 3], encode_key(["b"]): [1], encode_key(["c"]): [4]}
    for size in (1, 2, 3, 100):
        monkeypatch.setattr(run_batch_module, "_BATCH_ROWS", size)
        made = list(run_batches(LAYOUT, table, np.arange(5)))
        assert {
            key: part.records["sequence"][part.numbers == number].tolist()
            for part in made
            for number, key in enumerate(part.keys)
        } == expected
        runs = {key: run for part in made for key, run in part.trimmed(0, EVER).encode().items()}
        assert list(runs) == sorted(expected)
        assert read(runs[encode_key(["a"])], 3)[1] == 4.0
    assert list(run_batches(LAYOUT, table_of(VIEW, []), np.arange(0))) == []
    assert list(run_batches(LAYOUT, table.slice(2, 1), np.arange(1))) == []


def test_runs_of_one_row_and_of_many_are_written_alike() -> None:
    plain = FeatureView("p", Entity("e", ["k"]), [Field("x", "float64"), Field("s", "string")])
    layout, reader = RunLayout(plain), ViewReader(plain, ["x", "s"])
    rows = [{"k": k, "event_time": T, "x": x, "s": k * 3} for k, x in [("a", 1.0), ("b", 2.0)]]
    more = [*rows, {"k": "b", "event_time": T - MINUTE, "x": 9.0, "s": "old"}]
    single, several = (
        next(run_batches(layout, table_of(plain, part), np.arange(len(part)))).trimmed(to_us(T), MINUTE_US).encode()
        for part in (rows, more)
    )
    a, b = encode_key(["a"]), encode_key(["b"])
    assert single[a] == several[a]
    assert single[b] != several[b]
    for run in (single[b], several[b]):
        assert reader.read([memoryview(run)], [to_us(T)])[0] == [[2.0], ["bbb"]]
    assert reader.read([memoryview(several[b])], [to_us(T - MINUTE)])[0] == [[9.0], ["old"]]


GOOD = blob(batch(row(0, 1.0, s="text"), row(1, 2.0)))


@pytest.mark.parametrize(
    "broken",
    [b"", b"\x00" * 400, b"short", GOOD[:40], (MAGIC - 1).to_bytes(4, "little") + GOOD[4:]],
    ids=["empty", "zeros", "short", "cut", "older layout"],
)
def test_bytes_that_are_no_run_are_refused(broken: bytes) -> None:
    with pytest.raises(StorageError, match="run of view 'v@1'"):
        read(broken, 0)
    with pytest.raises(StorageError, match="run of view 'v@1'"):
        batch(row(0, 1.0)).with_stored([broken])


@pytest.mark.parametrize("cut", [1, 3, 20, 60])
def test_a_run_that_lacks_its_end_is_not_merged(cut: int) -> None:
    with pytest.raises(StorageError, match="run of view 'v@1' is broken"):
        batch(row(0, 1.0)).with_stored([GOOD[:-cut]])
