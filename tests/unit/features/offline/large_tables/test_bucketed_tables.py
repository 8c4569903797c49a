from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from raymlops.errors import SchemaMismatch, StorageError
from raymlops.features.offline.large_tables import bucketed_tables
from raymlops.features.offline.large_tables.bucketed_tables import blocks_of


@pytest.fixture
def handle(tmp_path: Path) -> DeltaTable:
    """Four files of three rows, of which the version before the last is used."""
    for number in range(4):
        rows = pa.table({"x": [3 * number, 3 * number + 1, 3 * number + 2], "y": ["a", None, "c"]})
        write_deltalake(str(tmp_path), rows, mode="append")
    return DeltaTable(str(tmp_path), version=2)


def read(table: Any, columns: list[str]) -> list[list[int]]:
    blocks = pickle.loads(pickle.dumps(table.blocks))
    return [pa.concat_tables(list(block.batches(columns)))["x"].to_pylist() for block in blocks]


def test_blocks_are_the_rows_of_the_version_each_once(handle: DeltaTable, monkeypatch: pytest.MonkeyPatch) -> None:
    for most, sizes in [(100, [9]), (6, [3, 6]), (3, [3, 3, 3]), (1, [3, 3, 3])]:
        monkeypatch.setattr(bucketed_tables, "BLOCK_ROWS", most)
        table = blocks_of("t", handle, ["x"])
        found = read(table, ["x"])
        assert sorted(map(len, found)) == sizes
        assert sorted(value for block in found for value in block) == list(range(9))
        assert table.rows == 9


def test_a_large_file_is_cut_by_its_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deltalake import WriterProperties

    rows = pa.table({"x": list(range(100))})
    write_deltalake(str(tmp_path), rows, writer_properties=WriterProperties(max_row_group_size=10, write_batch_size=10))
    monkeypatch.setattr(bucketed_tables, "BLOCK_ROWS", 30)
    table = blocks_of("t", DeltaTable(str(tmp_path)), ["x"])
    found = read(table, ["x"])
    assert max(map(len, found)) <= 30
    assert sorted(value for block in found for value in block) == list(range(100))


def test_only_the_columns_asked_for(handle: DeltaTable) -> None:
    assert next(iter(blocks_of("t", handle, ["y"]).blocks[0].batches(["y"]))).column_names == ["y"]
    with pytest.raises(SchemaMismatch, match=r"table 't': columns \['z'\] are missing"):
        blocks_of("t", handle, ["x", "z"])


def test_a_file_that_is_gone_or_broken_is_named(handle: DeltaTable, tmp_path: Path) -> None:
    table = blocks_of("t", handle, ["x"])
    lost, cut, *_ = tmp_path.glob("*.parquet")
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:20])
    with pytest.raises(StorageError, match=r"table 't': cannot read part-.*parquet"):
        read(table, ["x"])


def test_an_empty_table_has_a_schema_and_no_rows(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path), pa.table({"x": pa.array([], pa.int64())}))
    table = blocks_of("t", DeltaTable(str(tmp_path)), ["x"])
    assert table.rows == 0
    assert table.schema.names == ["x"]
    assert sum(map(len, read(table, ["x"]))) == 0
