"""Sources: Parquet files, Delta tables at a version, CSV files with the model's types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyarrow import parquet

from raymlops.errors import ConfigError, DataError, NotFoundError
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.records.scoring import Source
from raymlops.scoring import RowSource, cut_parts
from raymlops.scoring.csv_files import typed_copy
from raymlops.scoring.sources import delta_source, file_source, split_version
from raymlops.tables.columns import INSTANT

SIGNATURE = Signature(
    task="regressor", inputs=(ColumnSpec(name="x", dtype="FP64"), ColumnSpec(name="city", dtype="BYTES"))
)


def rows_in(source: Source, columns: list[str], block_rows: int = 4) -> list[dict[str, Any]]:
    opened = RowSource(source)
    blocks = [
        block for part in cut_parts(opened.row_groups(), 10) for block in opened.blocks(part, columns, block_rows)
    ]
    assert all(block.num_rows <= block_rows for block in blocks)
    return [row for block in blocks for row in block.to_pylist()]


def test_files_of_a_directory_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        parquet.write_table(pa.table({"x": [10 * number + n for n in range(7)]}), tmp_path / f"{number}.parquet")
    source = file_source(tmp_path, "rows")
    assert [row["x"] for row in rows_in(source, ["x"])] == [10 * n + m for n in range(3) for m in range(7)]


def test_a_file_that_changes_is_another_source_and_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"x": [1, 2, 3]}), path)
    source = file_source(path, "rows")
    (part,) = cut_parts(RowSource(source).row_groups(), 10)
    parquet.write_table(pa.table({"x": [1, 2]}), path)
    assert file_source(path, "rows").digest != source.digest
    with pytest.raises(DataError, match=r"rows: .* has changed while it was scored"):
        list(RowSource(source).blocks(part, ["x"], 4))


def test_memory_does_not_grow_with_row_groups(tmp_path: Path) -> None:
    path, rows = tmp_path / "rows.parquet", 1_000_000
    chance = np.random.default_rng(0)
    table = pa.table({name: chance.normal(size=rows) for name in "abcd"})
    parquet.write_table(table, path, row_group_size=rows)
    size_bytes = table.nbytes
    del table
    opened = RowSource(file_source(path, "rows"))
    (part,) = cut_parts(opened.row_groups(), 10)
    before, read, most = pa.total_allocated_bytes(), 0, 0
    for block in opened.blocks(part, list("abcd"), 10_000):
        read += block.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    assert read == rows
    assert most < size_bytes / 2, f"{most} bytes held of {size_bytes}"


def test_a_version_of_a_partitioned_delta_table(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    write_deltalake(uri, pa.table({"x": [1, 2, 3], "day": ["a", "b", "a"]}), partition_by=["day"])
    write_deltalake(uri, pa.table({"x": [4], "day": ["c"]}), mode="append")
    found = rows_in(delta_source(uri, 0, "table"), ["day", "x"])
    assert sorted((row["day"], row["x"]) for row in found) == [("a", 1), ("a", 3), ("b", 2)]
    assert len(rows_in(delta_source(uri, None, "table"), ["x"])) == 4
    with pytest.raises(NotFoundError, match="table: version must be 0 to 1, got 2"):
        delta_source(uri, 2, "table")
    with pytest.raises(NotFoundError, match="nothing: there is no table"):
        delta_source(str(tmp_path / "nothing"), None, "nothing")


def test_a_column_that_older_files_lack_is_null(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    write_deltalake(uri, pa.table({"x": [1]}))
    write_deltalake(uri, pa.table({"x": [2], "y": ["new"]}), mode="append", schema_mode="merge")
    found = rows_in(delta_source(uri, None, "table"), ["x", "y"])
    assert sorted(found, key=lambda row: row["x"]) == [{"x": 1, "y": None}, {"x": 2, "y": "new"}]


def test_csv_files_get_the_types_of_the_model(tmp_path: Path) -> None:
    folder, copies = tmp_path / "rows", tmp_path / "typed"
    folder.mkdir()
    (folder / "1.csv").write_text("k,event_time,x,city\n1,2024-03-01T00:00:00Z,2,12\n2,2024-03-02T00:00:00Z,,\n")
    (folder / "2.csv").write_text('k,event_time,x,city\n3,2024-03-03T00:00:00Z,1e3,"a, b"\n')
    copy = typed_copy(folder, SIGNATURE, copies)
    assert copy is not None
    table = parquet.read_table(copy)
    assert table.schema.types == [pa.int64(), INSTANT, pa.float64(), pa.string()]
    assert table["x"].to_pylist() == [2.0, None, 1000.0]
    assert table["city"].to_pylist() == ["12", None, "a, b"]
    assert typed_copy(folder, SIGNATURE, copies) == copy
    (folder / "2.csv").write_text("k,event_time,x,city\n3,2024-03-03T00:00:00Z,much,a\n")
    with pytest.raises(DataError, match=r"2\.csv: column 'x' must be text of double, got 'much' in row 0"):
        typed_copy(folder, SIGNATURE, copies)
    assert len(list(copies.iterdir())) == 1
    parquet.write_table(table, tmp_path / "rows.parquet")
    assert typed_copy(tmp_path / "rows.parquet", SIGNATURE, copies) is None


@pytest.mark.parametrize(
    ("texts", "keys", "expected"),
    [
        (["17", "18"], None, [17, 18]),
        (["17", "00017"], None, ["17", "00017"]),
        (["17", "18"], {"k": pa.string()}, ["17", "18"]),
        (["9223372036854775808", "1"], None, ["9223372036854775808", "1"]),
    ],
)
def test_keys_of_csv_files_are_not_altered(
    texts: list[str], keys: dict[str, Any] | None, expected: list[Any], tmp_path: Path
) -> None:
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.csv").write_text(f"k,x,city\n{text},1,a\n")
    copy = typed_copy(tmp_path, SIGNATURE, tmp_path / "typed", keys=keys)
    assert copy is not None
    assert parquet.read_table(copy)["k"].to_pylist() == expected


def test_a_text_that_is_no_key_of_the_view_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("k,x,city\n17,1,a\n00017,1,a\n")
    with pytest.raises(DataError, match=r"rows\.csv: column 'k' must be a 64-bit integer .*, got '00017' in row 1$"):
        typed_copy(path, SIGNATURE, tmp_path / "typed", keys={"k": pa.int64()})
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "1.csv").write_text("k,x,city\n1,1,a\n")
    (tmp_path / "more" / "2.csv").write_text("k,x\n1,1\n")
    with pytest.raises(DataError, match=r"2\.csv must have the columns of the files before"):
        typed_copy(tmp_path / "more", SIGNATURE, tmp_path / "typed")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rows.parquet", ("rows.parquet", None)),
        ("s3://b/t@v12", ("s3://b/t", 12)),
        ("view:sales@2", ("view:sales@2", None)),
        ("view:sales@2@v0", ("view:sales@2", 0)),
        ("@v1", ("@v1", None)),
        ("t@v", ("t@v", None)),
    ],
)
def test_a_version_stands_behind_the_table(name: str, expected: tuple[str, int | None]) -> None:
    assert split_version(name) == expected


def test_what_is_not_there_or_no_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        file_source(tmp_path / "nothing.parquet", "nothing")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DataError, match="broken is not readable"):
        RowSource(file_source(broken, "broken"))
