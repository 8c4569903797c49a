from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.clock import ManualClock, to_us
from raymlops.errors import SchemaMismatch
from raymlops.features import (
    Entity,
    FeatureReader,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    OnDemandView,
    WindowAggregate,
    point_in_time_join,
)
from raymlops.tables.columns import INSTANT
from tests.support.examples import examples

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
VIEW = FeatureView(
    "v",
    Entity("e", ["k"]),
    [Field("x", "int64")],
    created_at="created_at",
    ttl=4 * MINUTE,
    online=False,
    aggregates=[WindowAggregate("n", "count", "x", 3 * MINUTE), WindowAggregate("last", "last", "x", 6 * MINUTE)],
)
FOREVER = FeatureView("f", Entity("e", ["k"]), [Field("x", "int64")], created_at="created_at", source="v", online=False)
WORLD = FeatureView("w", Entity("world", []), [Field("x", "int64")], created_at="created_at", source="v", online=False)
UNDATED = FeatureView("u", Entity("e", ["k"]), [Field("x", "int64")], source="v", online=False)
ALIAS = VIEW.aliased("a", {"k": "who"})
ADDED = OnDemandView("od", ["v:x", "u:x"], [Field("sum", "float64")], f"{__name__}:added")
SERVICE = FeatureService("s", ["v:x", "v:n", "v:last", "f:x", "w:x", "u:x", "a:x", "od:sum"])


def added(columns: dict[str, Any]) -> dict[str, Any]:
    return {"sum": columns["v__x"] + columns["u__x"]}


_row = st.tuples(st.integers(0, 2), st.integers(-6, 6), st.none() | st.integers(-6, 8))
_ask = st.tuples(st.none() | st.integers(0, 3), st.integers(-6, 8), st.integers(-6, 9))


def rows_of(rows: list[Any]) -> pa.Table:
    created = [None if late is None else T + late * MINUTE for _, _, late in rows]
    return pa.table(
        {
            "k": pa.array([k for k, _, _ in rows], pa.int64()),
            "event_time": pa.array([T + at * MINUTE for _, at, _ in rows], INSTANT),
            "created_at": pa.array(created, INSTANT),
            "x": pa.array(range(len(rows)), pa.int64()),
        }
    )


def spine_of(asked: list[Any]) -> tuple[pa.Table, np.ndarray]:
    spine = pa.table(
        {
            "k": pa.array([k for k, _, _ in asked], pa.int64()),
            "who": pa.array([k for k, _, _ in asked[::-1]], pa.int64()),
            "event_time": pa.array([T + at * MINUTE for _, at, _ in asked], INSTANT),
        }
    )
    return spine, np.array([to_us(T + known * MINUTE) for _, _, known in asked], dtype=np.int64)


@given(st.lists(_row, min_size=1, max_size=25), st.lists(_ask, max_size=8), st.integers(1, 8))
@settings(deadline=None, max_examples=examples(40))
def test_it_is_the_join_over_the_rows_that_were_known(rows: list[Any], asked: list[Any], chunk: int) -> None:
    """For each spine row by itself: filter the table by created-at, then join."""
    table = rows_of(rows)
    spine, known_us = spine_of(asked)
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, __name__, sys.modules[__name__])
        patch.setattr("raymlops.features.offline.knowledge._CHUNK_ROWS", chunk)
        store = FeatureStore(Path(root), clock=ManualClock(T))
        store.apply(VIEW, FOREVER, WORLD, UNDATED, ALIAS, ADDED, SERVICE)
        store.ingest("v", table, ingest_id="one")
        found = FeatureReader(Path(root)).features_known_at("s", spine, known_us)
        store.close()
    plain = ["v__x", "v__n", "v__last", "f__x", "w__x", "a__x"]
    assert found.column_names == [*plain, "od__sum"]
    for place in range(spine.num_rows):
        by_then = pc.less_equal(table["created_at"].cast(pa.int64()), int(known_us[place]))
        known = table.filter(pc.fill_null(by_then, False))
        tables = {"v": known, "f": known, "w": known, "u": table, "a": known}
        one = point_in_time_join(spine.slice(place, 1), [VIEW, FOREVER, WORLD, UNDATED, ALIAS], tables)
        assert found.slice(place, 1).select(plain).to_pylist() == one.select(plain).to_pylist()
        parts = [one["v__x"][0].as_py(), one["u__x"][0].as_py()]
        assert found["od__sum"][place].as_py() == (None if None in parts else sum(parts))


def test_a_spine_without_its_columns_is_refused(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, clock=ManualClock(T))
    store.apply(VIEW, FeatureService("s", ["v:x"]))
    store.ingest("v", rows_of([(1, 0, 0)]), ingest_id="one")
    reader = FeatureReader(tmp_path)
    spine, known_us = spine_of([(1, 0, 0)])
    with pytest.raises(SchemaMismatch, match=r"columns \['event_time'\] are missing"):
        reader.features_known_at("s", spine.drop_columns(["event_time"]), known_us)
    store.close()
