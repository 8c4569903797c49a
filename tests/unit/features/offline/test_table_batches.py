from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from raymlops.errors import NotFoundError
from raymlops.features.offline.table_batches import read_batches
from raymlops.tables import delta
from raymlops.tables.delta import DeltaTables


def rows(*numbers: int) -> pa.Table:
    texts = pa.array([str(number) for number in numbers], pa.string())
    return pa.table({"n": pa.array(numbers, pa.int64()), "text": texts})


@pytest.fixture
def tables(tmp_path: Path) -> DeltaTables:
    found = DeltaTables(tmp_path)
    found.append("t", rows(5, 1, 4), ingest_id="one")
    found.append("t", rows(2), ingest_id="two")
    return found


@pytest.mark.parametrize("cells", [1, 2, 4, 6, 100])
def test_rows_come_in_the_order_of_their_arrival_and_no_more_at_a_time_than_are_asked_for(
    tables: DeltaTables, cells: int
) -> None:
    read = list(read_batches(tables, "t", ["n", "text"], cells=cells))
    assert max(table.num_rows for table in read) == min(4, max(1, cells // 2))
    assert pa.concat_tables(read).equals(tables.read("t"))


def test_what_came_later_than_a_version_is_left_out(tables: DeltaTables) -> None:
    assert [number for table in read_batches(tables, "t", ["n"], 0, cells=1) for number in table["n"].to_pylist()] == [
        5,
        1,
        4,
    ]
    begun = read_batches(tables, "t", ["n"], cells=1)
    first = next(begun)
    tables.append("t", rows(9), ingest_id="three")
    assert pa.concat_tables([first, *begun])["n"].to_pylist() == [5, 1, 4, 2]


def test_packed_files_keep_the_order(tables: DeltaTables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "_COMPACT_EVERY", 2)
    for number in range(20, 26):
        tables.append("t", rows(number), ingest_id=f"{number}")
    read = pa.concat_tables(read_batches(tables, "t", ["n"], cells=3))
    assert read["n"].to_pylist() == [5, 1, 4, 2, *range(20, 26)]


def test_a_table_without_rows_gives_an_empty_one_and_no_table_none(tables: DeltaTables) -> None:
    tables.append("empty", rows(), ingest_id="one")
    (only,) = read_batches(tables, "empty", ["n"])
    assert (only.num_rows, only.column_names) == (0, ["n"])
    with pytest.raises(NotFoundError, match="nothing was ingested"):
        next(read_batches(tables, "none", ["n"]))
