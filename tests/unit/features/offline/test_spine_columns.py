"""A spine may carry columns of any Arrow type: the training set is rebuilt byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field
from raymlops.tables.columns import as_table
from raymlops.tables.content import content_digest

T = datetime(2026, 1, 1, tzinfo=UTC)
INT, TEXT = pa.int64(), pa.string()
COLUMNS: dict[str, Any] = {
    "list": pa.array([[1, 2], None, [None], []]),
    "list of texts": pa.array([["a"], None]),
    "list of lists": pa.array([[[1], None], [], None]),
    "list named element": pa.array([[1]], pa.list_(pa.field("element", INT))),
    "list without nulls": pa.array([[1]], pa.list_(pa.field("item", INT, nullable=False))),
    "list of codes": pa.ListArray.from_arrays([0, 2], pa.array(["a", "b"]).dictionary_encode()),
    "list of nothing": pa.array([[None]]),
    "large list": pa.array([[1.0]], pa.large_list(pa.float64())),
    "list view": pa.array([[1]], pa.list_view(INT)),
    "embedding": pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
    "map": pa.array([[("a", 1)], None, []], pa.map_(TEXT, INT)),
    "map of lists": pa.array([[("a", [1])]], pa.map_(TEXT, pa.list_(INT))),
    "struct": pa.array([{"a": 1, "b": "x"}, None]),
    "struct of lists": pa.array([{"a": [1]}, None]),
    "list of structs": pa.array([[{"a": 1}], None]),
    "empty struct": pa.array([{}], pa.struct([])),
    "instants far away in lists": pa.array([[2**60]]).cast(pa.list_(pa.timestamp("s"))),
    "spans far away in a struct": pa.StructArray.from_arrays([pa.array([2**62], pa.duration("s"))], ["a"]),
    "instants far away in maps": pa.array([[("a", 2**60)]], pa.map_(TEXT, INT)).cast(pa.map_(TEXT, pa.timestamp("s"))),
    "broken text in lists": pa.ListArray.from_arrays([0, 1], pa.array([b"\xff"]).view(TEXT)),
    "embeddings far away": pa.array([[2**60]], pa.list_(INT, 1)).cast(pa.list_(pa.timestamp("s"), 1)),
    "codes": pa.array(["a", "b", "a"]).dictionary_encode(),
    "codes of large texts": pa.array(["a", "b", "a"], pa.large_string()).dictionary_encode(),
    "codes of integers": pa.array([1, 2, 1]).dictionary_encode(),
    "ordered codes": pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array(["a", "unused"]), ordered=True),
    "text view": pa.array(["a"], pa.string_view()),
    "runs": pa.RunEndEncodedArray.from_arrays([2], [5]),
    "nothing": pa.nulls(2),
    "unsigned": pa.array([2**64 - 1], pa.uint64()),
    "halves": pa.array([1.5], pa.float16()),
    "decimal": pa.array([Decimal("1.5")], pa.decimal256(50, 2)),
    "span": pa.array([1], pa.duration("s")),
    "time": pa.array([1], pa.time32("s")),
    "date": pa.array([86_400_000], pa.date64()),
    "seconds": pa.array([1], pa.timestamp("s")),
    "nanoseconds": pa.array([1], pa.timestamp("ns", "Europe/Berlin")),
    "interval": pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
    "union": pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]),
    "uuid": pa.array([b"0" * 16], pa.uuid()),
    "tensor": pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.float32(), [2]), pa.array([[1, 2]], pa.list_(pa.float32(), 2))
    ),
}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureReader]:
    root = tmp_path_factory.mktemp("store")
    view = FeatureView("v", Entity("u", ["u"]), [Field("x", "float64")])
    store = FeatureStore(root, clock=ManualClock(T))
    store.apply(view, FeatureService("s", ["v:x"]))
    store.ingest("v", pa.table({"u": [1], "event_time": [T], "x": [1.0]}))
    opened = FeatureReader(root, clock=ManualClock(T))
    yield opened
    opened.close()
    store.close()


@pytest.mark.parametrize("name", COLUMNS)
def test_a_spine_column_is_rebuilt(name: str, reader: FeatureReader) -> None:
    column = pa.chunked_array([COLUMNS[name]] * 2)
    rows = len(column)
    spine = pa.table({"u": [1] * rows, "event_time": [T] * rows, "odd": column})
    column = as_table("spine", spine)["odd"]
    built = reader.training_set("s", spine, name="t")
    again = reader.rebuild(reader.manifest(built.manifest.digest)).table()
    assert again.schema.equals(built.table().schema)
    assert again["odd"].equals(column)
    assert again["v__x"].to_pylist() == [1.0] * rows
    assert content_digest(again) == built.manifest.content_digest
    assert Path(built.manifest.spine_path).exists()
