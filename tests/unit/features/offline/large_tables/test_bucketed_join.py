from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import SchemaMismatch
from raymlops.features import Entity, FeatureView, Field, WindowAggregate, point_in_time_join
from raymlops.features.definitions.schema import instants_us
from raymlops.features.offline.large_tables.bucketed_join import WantedView, join_in_buckets, split_block
from raymlops.features.offline.large_tables.bucketed_tables import BlockedTable, TableBlock
from raymlops.tables.columns import INSTANT
from tests.support.disk_tasks import DiskTasks
from tests.support.point_in_time import bucketed_join

T = datetime(2024, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
VIEW = FeatureView(
    "v",
    Entity("e", ["k"]),
    [Field("x", "float64"), Field("s", "string"), Field("n", "int64"), Field("b", "bool"), Field("t", "timestamp")],
    created_at="created_at",
    aggregates=[WindowAggregate("sum", "sum", "x", 5 * HOUR), WindowAggregate("last", "last", "s", 5 * HOUR)],
)


def table_of(keys: Any, seed: int = 0) -> pa.Table:
    chance, rows = np.random.default_rng(seed), len(keys)
    happened = pa.array([T + int(hour) * HOUR for hour in chance.integers(0, 50, rows)], INSTANT)
    return pa.table(
        {
            "k": keys,
            "event_time": happened,
            "created_at": pa.array([T + int(hour) * HOUR for hour in chance.integers(0, 60, rows)], INSTANT),
            "x": pa.array(chance.normal(size=rows), mask=chance.random(rows) < 0.2),
            "s": pa.array([f"text {n}" for n in chance.integers(0, 99, rows)], mask=chance.random(rows) < 0.2),
            "n": pa.array(chance.integers(-(2**62), 2**62, rows), mask=chance.random(rows) < 0.2),
            "b": pa.array(chance.random(rows) < 0.5, mask=chance.random(rows) < 0.2),
            "t": pa.array([T + int(n) * HOUR for n in chance.integers(0, 9, rows)], INSTANT),
            "_seq": np.arange(rows),
        }
    )


def spine_of(keys: Any, seed: int = 1) -> pa.Table:
    at = [T + int(hour) * HOUR for hour in np.random.default_rng(seed).integers(-5, 70, len(keys))]
    return pa.table({"label": np.arange(len(keys)), "k": keys, "event_time": pa.array(at, INSTANT)})


CHANCE = np.random.default_rng(5)
KEYS = {
    "many keys": CHANCE.integers(0, 50, 400),
    "one key has most rows": np.where(CHANCE.random(400) < 0.95, 7, CHANCE.integers(0, 50, 400)),
    "one key has all rows": np.full(400, 7),
    "text": pa.array([f"who {n}" for n in CHANCE.integers(0, 50, 400)]),
    "nulls": pa.array(CHANCE.integers(0, 9, 400), mask=CHANCE.random(400) < 0.3),
}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("buckets", [1, 2, 7, 16])
@pytest.mark.parametrize("cutoff", [False, True])
def test_buckets_change_nothing(keys: Any, buckets: int, cutoff: bool, tmp_path: Path) -> None:
    tables, spine = {"v": table_of(keys)}, spine_of(keys[::2])
    expected = point_in_time_join(spine, [VIEW], tables, knowledge_cutoff=cutoff)
    joined = bucketed_join(spine, [VIEW], tables, buckets, pool=lambda: DiskTasks(tmp_path), knowledge_cutoff=cutoff)
    assert joined.equals(expected)
    assert list(tmp_path.iterdir()) == []


def test_views_by_other_columns_share_the_buckets_of_their_table() -> None:
    origin, dest = (VIEW.aliased(f"at_{name}", {"k": name}) for name in ("origin", "dest"))
    spine = spine_of(np.arange(200) % 23).rename_columns(["label", "origin", "event_time"])
    spine = spine.append_column("dest", pa.array(np.arange(200) % 31))
    table = table_of(CHANCE.integers(0, 29, 500))
    expected = point_in_time_join(spine, [origin, dest], {"at_origin": table, "at_dest": table})
    wanted = [WantedView(origin, ["s", "x"]), WantedView(dest, ["sum", "last", "n"])]
    blocked = BlockedTable(table.schema, [TableBlock(table.slice(0, 100)), TableBlock(table.slice(100))], 500)
    with DiskTasks() as tasks:
        at_us = instants_us("spine", "event_time", spine["event_time"])
        first, second = join_in_buckets(tasks, spine, at_us, wanted, blocked, buckets=3)
    assert list(first.columns) == ["at_origin__s", "at_origin__x"]
    assert list(second.columns) == ["at_dest__sum", "at_dest__last", "at_dest__n"]
    for name, column in {**first.columns, **second.columns}.items():
        assert pa.chunked_array([column] if isinstance(column, pa.Array) else column).equals(expected[name])
    assert second.late_rows > 0


def test_a_block_is_cut_by_key_and_rows_without_one_are_left_out() -> None:
    table = table_of(pa.array([1, None, 2, 1, 3, None, 2]))
    parts = split_block(TableBlock(table), ["k"], ["k", "_seq"], 4)
    assert len(parts) == 4
    found = [row for part in parts for row in part.to_pylist()]
    assert sorted(row["_seq"] for row in found) == [0, 2, 3, 4, 6]
    homes = {row["k"]: {n for n, part in enumerate(parts) if row["k"] in part["k"].to_pylist()} for row in found}
    assert all(len(home) == 1 for home in homes.values())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (pa.array(["1", "2"]), "spine: key 'k' must be int64 as in the view's table, got string"),
        (pa.array([1.5, 2.0]), "spine: column 'k' must fit int64, got a double that does not: 1.5 in row 0"),
    ],
)
def test_keys_of_another_type_are_refused_whatever_bucket_they_fall_in(keys: pa.Array, message: str) -> None:
    with pytest.raises(SchemaMismatch, match=message):
        bucketed_join(spine_of(keys), [VIEW], {"v": table_of(np.arange(9))}, 7)


def test_a_spine_without_its_keys_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match=r"spine: columns \['k'\] are missing"):
        bucketed_join(spine_of(np.arange(3)).drop_columns(["k"]), [VIEW], {"v": table_of(np.arange(9))}, 2)


def test_keys_of_nulls_alone_find_nothing() -> None:
    joined = bucketed_join(spine_of(pa.nulls(3)), [VIEW], {"v": table_of(np.arange(9))}, 2)
    assert joined["v__x"].null_count == 3


def test_as_many_buckets_as_the_rows_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymlops.features.offline.large_tables.bucketed_join.ROWS_PER_BUCKET", 100)
    seen = []

    class Counting(DiskTasks):
        def scatter(self, function: Any, calls: Any, parts: int) -> Any:
            seen.append(parts)
            return super().scatter(function, calls, parts)

    spine, table = spine_of(np.arange(50)), table_of(np.arange(400) % 60)
    blocked = BlockedTable(table.schema, [TableBlock(table)], 400)
    with Counting() as tasks:
        at_us = instants_us("spine", "event_time", spine["event_time"])
        (joined,) = join_in_buckets(tasks, spine, at_us, [WantedView(VIEW, ["x"])], blocked)
    assert seen == [5]
    assert pa.chunked_array([joined.columns["v__x"]]).equals(point_in_time_join(spine, [VIEW], {"v": table})["v__x"])
