from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from raymlops.errors import ConflictError, NotFoundError, SchemaMismatch, StorageError
from raymlops.tables import delta
from raymlops.tables.columns import INSTANT
from raymlops.tables.delta import DeltaTables

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
    assert tables.append("t", rows(0), ingest_id="one")[:2] == (0, False)
    assert tables.append("t", rows(3), ingest_id="two")[:2] == (1, False)
    assert tables.append("t", rows(9), ingest_id="one")[:2] == (0, True)
    assert DeltaTables(tmp_path).append("t", rows(9), ingest_id="two")[:2] == (1, True)
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
    assert tables.append("t", rows(0, 0), ingest_id="none")[:2] == (0, False)
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
    assert tables.append("t", rows(99), ingest_id="3")[:2] == (3, True)
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


def elsewhere(call: Callable[[], object]) -> None:
    """Run in another thread: the one that asks for batches is busy writing."""
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


class Stream:
    """Rows that are made anew whenever they are asked for."""

    def __init__(self, *tables: pa.Table) -> None:
        self.tables = tables
        self.schema = tables[0].schema
        self.num_rows = sum(table.num_rows for table in tables)
        self.asked = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        self.asked += 1
        for table in self.tables:
            yield from table.to_batches()


def test_a_stream_is_one_commit(tables: DeltaTables) -> None:
    assert tables.append("t", Stream(rows(0), rows(3)), ingest_id="one") == (0, False, 0)
    assert tables.append("t", Stream(rows(6).select(["event_time", "n"]), rows(9)), ingest_id="two") == (1, False, 6)
    found = tables.read("t", columns=["n", "_seq"])
    assert found["n"].to_pylist() == found["_seq"].to_pylist() == list(range(12))
    with pytest.raises(SchemaMismatch, match="'n'"):
        tables.append("t", Stream(rows(0).drop_columns(["n"])), ingest_id="three")


def test_a_stream_that_breaks_leaves_nothing(tables: DeltaTables) -> None:
    class Broken(Stream):
        def batches(self) -> Iterator[pa.RecordBatch]:
            yield from rows(0).to_batches()
            raise OSError("the disk is gone")

    tables.append("t", rows(0), ingest_id="one")
    with pytest.raises(StorageError, match=r"table 't': cannot append .*the disk is gone"):
        tables.append("t", Broken(rows(3)), ingest_id="two")
    assert tables.version("t") == 0
    assert tables.append("t", rows(3), ingest_id="two")[:2] == (1, False)


def test_another_writer_is_noticed_and_numbered_behind(tables: DeltaTables, tmp_path: Path) -> None:
    """The other one commits while this one is writing, which therefore writes again."""
    other = DeltaTables(tmp_path)
    tables.append("t", rows(0), ingest_id="one")

    class Interrupted(Stream):
        def batches(self) -> Iterator[pa.RecordBatch]:
            yield from super().batches()
            if self.asked == 1:
                elsewhere(lambda: other.append("t", rows(3), ingest_id="other"))

    mine = Interrupted(rows(6))
    assert tables.append("t", mine, ingest_id="mine") == (2, False, 6)
    assert mine.asked == 2
    assert numbers(tables.read("t")) == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert tables.read("t", columns=["_seq"])["_seq"].to_pylist() == list(range(9))


def test_whoever_is_never_first_gives_up(tables: DeltaTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "_ATTEMPTS", 3)
    other = DeltaTables(tmp_path)
    tables.append("t", rows(0), ingest_id="one")

    class Late(Stream):
        def batches(self) -> Iterator[pa.RecordBatch]:
            yield from super().batches()
            elsewhere(lambda: other.append("t", rows(3), ingest_id=f"other {self.asked}"))

    with pytest.raises(StorageError, match="table 't': other writers were faster 3 times"):
        tables.append("t", Late(rows(6)), ingest_id="mine")
    assert tables.version("t") == 3


def test_the_first_append_may_come_from_two(tables: DeltaTables, tmp_path: Path) -> None:
    class Second(Stream):
        def batches(self) -> Iterator[pa.RecordBatch]:
            yield from super().batches()
            if self.asked == 1:
                elsewhere(lambda: DeltaTables(tmp_path).append("t", rows(0), ingest_id="first"))

    assert tables.append("t", Second(rows(3)), ingest_id="second") == (1, False, 3)
    assert numbers(tables.read("t")) == [0, 1, 2, 3, 4, 5]


def test_threads_lose_nothing(tables: DeltaTables) -> None:
    def append(who: int) -> None:
        for number in range(5):
            tables.append(f"t{number % 2}", rows(100 * who + 3 * number), ingest_id=f"{who}/{number}")

    threads = [threading.Thread(target=append, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [tables.read(name, columns=["n", "_seq"]) for name in ("t0", "t1")]
    assert [table["_seq"].to_pylist() for table in found] == [list(range(36)), list(range(24))]
    expected = [100 * who + n for who in range(4) for n in range(15)]
    assert sorted(found[0]["n"].to_pylist() + found[1]["n"].to_pylist()) == expected


def test_a_table_from_before_rows_were_counted_in_the_log(tables: DeltaTables, tmp_path: Path) -> None:
    numbered = rows(0).append_column("_seq", pa.array([0, 1, 2], pa.int64()))
    marks = CommitProperties(app_transactions=[Transaction("one", 0)])
    write_deltalake(str(tmp_path / "t"), numbered, commit_properties=marks)
    assert tables.last_sequence("t") == 2
    assert tables.append("t", rows(0), ingest_id="one")[:2] == (0, True)
    assert tables.append("t", rows(3), ingest_id="two") == (1, False, 3)


def test_the_log_is_never_cut(tables: DeltaTables, tmp_path: Path) -> None:
    """Versions stay readable past checkpoints and the clean-up of logs that are as old as can be."""
    for number in range(102):
        tables.append("t", rows(number, 1), ingest_id=str(number))
    log = tmp_path / "t" / "_delta_log"
    for entry in log.iterdir():
        os.utime(entry, (0, 0))
    handle = DeltaTable(str(tmp_path / "t"))
    handle.create_checkpoint()
    handle.cleanup_metadata()
    tables.append("t", rows(102, 1), ingest_id="last")
    assert (log / f"{99:020}.checkpoint.parquet").exists()
    again = DeltaTables(tmp_path)
    for version in (0, 50, 99, 100, 101, 102):
        assert numbers(again.read("t", version)) == list(range(version + 1))


def test_an_id_of_its_own(tables: DeltaTables) -> None:
    with pytest.raises(SchemaMismatch, match="ingest_id must not be 'raymlops/sequence'"):
        tables.append("t", rows(0), ingest_id="raymlops/sequence")


def first_file(table: Path) -> Path:
    return min(table.glob("*.parquet"))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "data file gone": (lambda table: first_file(table).unlink(), r"\.parquet"),
    "data file cut": (lambda table: cut(first_file(table)), r"\.parquet"),
    "log entry is garbage": (lambda table: (table / f"_delta_log/{101:020}.json").write_text("{"), "Json error"),
    "log entry gone": (lambda table: (table / f"_delta_log/{101:020}.json").unlink(), "Gap|version"),
    "checkpoint cut": (lambda table: cut(table / f"_delta_log/{99:020}.checkpoint.parquet"), "[Pp]arquet"),
    "checkpoint gone": (lambda table: (table / f"_delta_log/{99:020}.checkpoint.parquet").unlink(), "checkpoint"),
    "a file in its place": (lambda table: (shutil.rmtree(table), table.write_text("x")), "t: "),
}


@pytest.fixture(scope="module")
def with_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("damaged")
    tables = DeltaTables(root)
    for number in range(103):
        tables.append("t", rows(number, 1), ingest_id=str(number))
    tables.append("other", rows(0), ingest_id="one")
    return root


@pytest.mark.timeout(60)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_and_disturbs_no_other_table(damage: str, with_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(with_checkpoint, tmp_path / "tables")
    break_it, told = DAMAGE[damage]
    break_it(tmp_path / "tables" / "t")
    tables = DeltaTables(tmp_path / "tables")
    with pytest.raises(StorageError, match=rf"table 't': cannot read .*/tables/t: .*{told}") as caught:
        tables.read("t")
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert numbers(tables.read("other")) == [0, 1, 2]
    assert tables.append("other", rows(3), ingest_id="two")[:2] == (1, False)


@pytest.mark.parametrize("what", ["t", "t/_delta_log"])
def test_a_table_that_was_there_is_not_made_anew(what: str, tables: DeltaTables, tmp_path: Path) -> None:
    tables.append("t", rows(0), ingest_id="one")
    shutil.rmtree(tmp_path / what)
    for ask in (lambda: tables.append("t", rows(3), ingest_id="two"), lambda: tables.version("t")):
        with pytest.raises(StorageError, match=r"table 't': .*_delta_log: its rows were removed behind the store's"):
            ask()


class TestReusedIds:
    """An id stands for the same rows for ever."""

    def test_the_same_rows_again_change_nothing(self, tables: DeltaTables) -> None:
        first = tables.append("t", rows(0), ingest_id="one", digests={"one": 7})
        again = tables.append("t", rows(0), ingest_id="one", digests={"one": 7})
        assert (again.version, again.duplicate) == (first.version, True)

    def test_other_rows_are_refused(self, tables: DeltaTables, tmp_path: Path) -> None:
        tables.append("t", rows(0), ingest_id="one", others=["two"], digests={"one": 7, "two": 8})
        for opened in (tables, DeltaTables(tmp_path)):
            for each in ("one", "two"):
                with pytest.raises(ConflictError, match=f"id '{each}' came with other rows before"):
                    opened.append("t", rows(9), ingest_id=each, digests={each: 9})
        assert tables.version("t") == 0

    def test_an_id_from_before_there_were_digests_is_a_repeat(self, tables: DeltaTables) -> None:
        tables.append("t", rows(0), ingest_id="old")
        assert tables.append("t", rows(5), ingest_id="old", digests={"old": 3}).duplicate

    def test_ids_of_the_tables_own_are_refused(self, tables: DeltaTables) -> None:
        with pytest.raises(SchemaMismatch, match="must not begin with 'raymlops/digest/'"):
            tables.append("t", rows(0), ingest_id="raymlops/digest/one")
