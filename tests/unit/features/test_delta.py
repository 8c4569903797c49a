from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from raymlops.errors import NotFoundError, SchemaMismatch, StorageError
from raymlops.features import delta
from raymlops.features.delta import DeltaTables
from raymlops.features.schema import INSTANT

T = datetime(2024, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def rows(first: int, count: int = 3) -> pa.Table:
    numbers = list(range(first, first + count))
    return pa.table(
        {"n": pa.array(numbers, pa.int64()), "event_time": pa.array([T + n * MINUTE for n in numbers], INSTANT)}
    )


@pytest.fixture
def tables(tmp_path: Path) -> DeltaTables:
    return DeltaTables(tmp_path)


def numbers(table: pa.Table) -> list[int]:
    found: list[int] = table["n"].to_pylist()
    return found


def test_an_append_with_a_known_id_changes_nothing(tables: DeltaTables, tmp_path: Path) -> None:
    assert not tables.exists("t")
    assert tables.append("t", rows(0), ingest_id="one") == (0, False)
    assert tables.append("t", rows(3), ingest_id="two") == (1, False)
    assert tables.append("t", rows(9), ingest_id="one") == (0, True)
    assert DeltaTables(tmp_path).append("t", rows(9), ingest_id="two") == (1, True)
    assert tables.exists("t")
    assert tables.version("t") == 1
    assert numbers(tables.read("t")) == [0, 1, 2, 3, 4, 5]


def test_rows_are_numbered_as_they_arrive(tables: DeltaTables, tmp_path: Path) -> None:
    tables.append("t", rows(0), ingest_id="one")
    again = DeltaTables(tmp_path)
    again.append("t", rows(10), ingest_id="two")
    again.append("t", rows(20, 0), ingest_id="nothing")
    assert again.last_sequence("t") == 5
    assert again.read("t", columns=["_seq", "n"]).to_pylist() == [
        {"_seq": seq, "n": n} for seq, n in enumerate([0, 1, 2, 10, 11, 12])
    ]
    assert numbers(again.read("t", after_sequence=3)) == [11, 12]
    assert again.schema("t").names == ["n", "event_time", "_seq"]


def test_a_first_append_may_be_empty(tables: DeltaTables) -> None:
    assert tables.append("t", rows(0, 0), ingest_id="none") == (0, False)
    assert tables.last_sequence("t") == -1
    tables.append("t", rows(0), ingest_id="some")
    assert tables.last_sequence("t") == 2


def test_another_process_reads_what_was_appended(tables: DeltaTables, tmp_path: Path) -> None:
    tables.append("t", rows(0), ingest_id="one")
    other = DeltaTables(tmp_path)
    assert other.version("t") == 0
    tables.append("t", rows(3), ingest_id="two")
    assert numbers(other.read("t")) == [0, 1, 2, 3, 4, 5]


def test_versions_and_ranges(tables: DeltaTables) -> None:
    for number in range(4):
        tables.append("t", rows(3 * number), ingest_id=str(number))
    assert numbers(tables.read("t", 1)) == [0, 1, 2, 3, 4, 5]
    assert numbers(tables.read("t", start=T + 2 * MINUTE, end=T + 5 * MINUTE)) == [2, 3, 4]
    assert numbers(tables.read("t", 1, start=T + 4 * MINUTE, time_column="event_time")) == [4, 5]
    with pytest.raises(NotFoundError, match="table 't': version must be 0 to 3, got 4"):
        tables.read("t", 4)


def test_compaction_changes_no_row_and_no_old_version(
    tables: DeltaTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta, "_COMPACT_EVERY", 4)
    for number in range(10):
        tables.append("t", rows(3 * number), ingest_id=str(number))
    assert tables.version("t") > 9
    assert numbers(tables.read("t")) == list(range(30))
    assert numbers(DeltaTables(tmp_path).read("t", 3)) == list(range(12))
    assert tables.append("t", rows(99), ingest_id="3") == (3, True)
    assert DeltaTables(tmp_path).last_sequence("t") == 29


def test_a_different_schema_is_refused(tables: DeltaTables) -> None:
    tables.append("t", rows(0), ingest_id="one")
    with pytest.raises(SchemaMismatch, match="got \\(table's, given\\) \\{'n': \\('int64', 'double'\\)\\}"):
        tables.append("t", rows(3).set_column(0, "n", pa.array([1.0, 2.0, 3.0])), ingest_id="two")
    with pytest.raises(SchemaMismatch, match="'m': \\('None', 'int64'\\)"):
        tables.append("t", rows(3).append_column("m", pa.array([1, 2, 3])), ingest_id="two")
    with pytest.raises(SchemaMismatch, match=r"columns \['m'\] must have a type, got null"):
        tables.append("u", rows(3).append_column("m", pa.nulls(3)), ingest_id="one")
    tables.append("t", rows(3).select(["event_time", "n"]), ingest_id="two")
    assert numbers(tables.read("t")) == [0, 1, 2, 3, 4, 5]
    with pytest.raises(SchemaMismatch, match="columns \\['m'\\] do not exist"):
        tables.read("t", columns=["m"])


def test_a_table_that_is_not_there(tables: DeltaTables) -> None:
    for ask in (tables.version, tables.read, tables.schema, tables.last_sequence):
        with pytest.raises(NotFoundError, match="table 't' does not exist: nothing was ingested"):
            ask("t")


def test_files_that_are_gone_or_broken_are_named(tables: DeltaTables, tmp_path: Path) -> None:
    tables.append("t", rows(0), ingest_id="one")
    for file in (tmp_path / "t").glob("*.parquet"):
        file.write_bytes(b"broken")
    with pytest.raises(StorageError, match=r"table 't': cannot read .*/t"):
        DeltaTables(tmp_path).read("t")
    for file in (tmp_path / "t").glob("*.parquet"):
        file.unlink()
    with pytest.raises(StorageError, match=r"table 't': cannot read .*/t"):
        tables.read("t")
    log = tmp_path / "t" / "_delta_log" / f"{0:020}.json"
    log.write_text("{")
    with pytest.raises(StorageError, match=r"table 't': cannot (read|append) .*/t"):
        DeltaTables(tmp_path).append("t", rows(3), ingest_id="two")
    shutil.rmtree(tmp_path / "t")
    assert not tables.exists("t")


def test_an_append_that_cannot_be_written_is_a_storage_error(tables: DeltaTables, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("a file where the table should be")
    with pytest.raises(StorageError, match="table 't': cannot append"):
        tables.append("t", rows(0), ingest_id="one")
