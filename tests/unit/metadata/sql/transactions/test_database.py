from __future__ import annotations

import pickle
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.pool import Pool

from raymlops.errors import ConfigError, StorageError
from raymlops.metadata import MetadataService
from raymlops.metadata.sql.transactions.database import Database


def _fill(service: MetadataService, entries: int, size: int = 2000) -> int:
    for number in range(entries):
        service.ledger.append_entry("churn", "note", "x" * size, key=f"fill-{number}")
    return entries


@contextmanager
def _disk_of(pages: int) -> Iterator[None]:
    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}").close()

    event.listen(Pool, "connect", limit)
    try:
        yield
    finally:
        event.remove(Pool, "connect", limit)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("not a url", "not a url"),
        ("mysql://host/db", "mysql"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
    ],
)
def test_a_url_that_cannot_work_is_named(url: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        Database(url)


def test_a_path_and_its_url_are_the_same_database(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "metadata.db"
    with closing(MetadataService(path)) as service:
        service.ledger.append_entry("churn", "note", "", key="1")
    with closing(MetadataService(f"sqlite:///{path}")) as service:
        assert service.ledger.verify_ledger() == 1


def test_writes_are_synced_to_a_write_ahead_log(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "metadata.db")) as database, database.read() as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "metadata.db")) as database:

        def write() -> None:
            with database.write() as connection:
                connection.execute(text("UPDATE ledger_head SET count = 7"))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            write()
        with database.read() as connection:
            assert connection.execute(text("SELECT count FROM ledger_head")).scalar() == 0


def test_a_reader_keeps_its_snapshot_while_others_write(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "metadata.db")) as database, database.read() as reader:
        count = text("SELECT count FROM ledger_head")
        assert reader.execute(count).scalar() == 0
        with database.write() as writer:
            writer.execute(text("UPDATE ledger_head SET count = 7"))
        assert reader.execute(count).scalar() == 0


def test_a_full_disk_is_an_error_that_names_the_file_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    MetadataService(path).close()
    with _disk_of(pages=60), closing(MetadataService(path)) as service:
        with pytest.raises(StorageError, match=r"metadata\.db: database or disk is full") as caught:
            _fill(service, 1000)
        acknowledged = len(service.ledger.entries())
        assert service.ledger.verify_ledger() == acknowledged > 0
    assert pickle.loads(pickle.dumps(caught.value)).retryable
    with closing(MetadataService(path)) as service:
        _fill(service, acknowledged + 1)
        assert service.ledger.verify_ledger() == acknowledged + 1


def test_a_database_locked_by_another_process_is_named_and_still_read(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    with closing(MetadataService(path, lock_timeout_s=0.05)) as service:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageError, match=r"metadata\.db: database is locked"):
                service.ledger.append_entry("churn", "note", "", key="1")
            assert service.ledger.entries() == []
        assert service.ledger.append_entry("churn", "note", "", key="1").sequence == 1


def test_a_write_that_another_thread_holds_up_is_given_up(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "metadata.db", lock_timeout_s=0.05)) as database:
        entered, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with database.write():
                entered.set()
                leave.wait(5)

        holder = threading.Thread(target=hold)
        holder.start()
        entered.wait(5)
        with pytest.raises(StorageError, match=r"metadata\.db: database is locked"), database.write():
            pass
        leave.set()
        holder.join()
        with database.write():
            pass


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(StorageError, match=r"metadata\.db: file is not a database"):
        MetadataService(path)


def test_a_truncated_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    with closing(MetadataService(path)) as service:
        _fill(service, 50)
    path.write_bytes(path.read_bytes()[: 4096 * 5])
    with pytest.raises(StorageError, match=r"metadata\.db: "), closing(MetadataService(path)) as service:
        service.ledger.verify_ledger()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/metadata\.db"):
        MetadataService(tmp_path / "file" / "metadata.db")


def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    MetadataService(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match=r"revision must be '[0-9]+', got '9999': written by a newer"):
        MetadataService(path)


def test_a_stored_record_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    with closing(MetadataService(path)) as service:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("INSERT INTO plans (model, number, body) VALUES ('churn', 1, '{}')")
        with pytest.raises(StorageError, match="ServingPlan"):
            service.plans.get_plan("churn")


def test_many_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    services: list[MetadataService] = []
    start = threading.Barrier(8)

    def open_it() -> None:
        start.wait(5)
        services.append(MetadataService(tmp_path / "metadata.db"))

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(services) == 8
    assert {service.ledger.verify_ledger() for service in services} == {0}
    for service in services:
        service.close()


@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_connection_that_is_in_use_while_the_database_closes_is_closed_when_its_block_ends(
    tmp_path: Path, kind: str
) -> None:
    database = Database(tmp_path / "metadata.db")
    with getattr(database, kind)() as connection:
        driver = connection.connection.dbapi_connection
        database.close()
        assert connection.execute(text("SELECT count FROM ledger_head")).scalar() == 0
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        driver.execute("SELECT 1")


def test_a_closed_database_opens_nothing_anew(tmp_path: Path) -> None:
    service = MetadataService(tmp_path / "metadata.db")
    service.close()
    service.close()
    with pytest.raises(StorageError, match=r"metadata\.db: the metadata store is closed"):
        service.ledger.verify_ledger()
    with pytest.raises(StorageError, match=r"metadata\.db: the metadata store is closed"):
        service.ledger.append_entry("churn", "note", "", key="1")
