"""Connections to the metadata database, its transactions, and the translation of its errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from raymlops.errors import ConfigError, StorageError
from raymlops.metadata.sql.schema import REVISION
from raymlops.metadata.sql.transactions.groups import WriteGroup, WriteQueue

__all__ = ["Database"]

_WRITE = "raymlops_write"
_SAVEPOINT = "one_block"
_ADVISORY_LOCK = 0x7261796D
"""Taken by every write on PostgreSQL, as SQLite's single writer lock is there."""


class Database:
    """Transactions on the metadata database; every backend error leaves here as a ``StorageError`` naming the file.

    Thread-safe. Writes are serialised: in this process by a queue, between processes by the database, so that what a
    write has read still holds when it commits. Reads see one snapshot and never wait. A write is on disk when its
    block ends (SQLite: WAL with ``synchronous=FULL``).

    Args:
        url: SQLAlchemy URL (``sqlite:///FILE`` or ``postgresql+psycopg://...``), or the path of an SQLite file.
        lock_timeout_s: How long a write waits for another writer.
        home: The root of ``below_home`` and ``in_home``; by default the directory of an SQLite file.

    Raises:
        ConfigError: The URL is malformed, names no file, or the schema is of a newer release.
        StorageError: The database cannot be opened.
    """

    def __init__(self, url: str | Path, *, lock_timeout_s: float = 5.0, home: Path | None = None) -> None:
        self._url = _parse(url)
        self._home = url.absolute().parent if home is None and isinstance(url, Path) else home
        self.name = self._url.database if self._is_sqlite else self._url.render_as_string(hide_password=True)
        self._lock_timeout_s = lock_timeout_s
        self._writers = WriteQueue(self._commit, lock_timeout_s)
        self._driver_error: type[Exception] = sqlite3.Error
        self._closed = False
        with self._errors():
            self._engine = self._open()
            event.listen(self._engine, "checkin", self._close_late)
            self._driver_error = self._engine.dialect.loaded_dbapi.Error
            try:
                self._initialise()
            except BaseException:
                self._engine.dispose()
                raise

    def below_home(self, path: str) -> str:
        """A path as it is recorded: relative to the home where it lies there."""
        if self._home is not None and Path(path).is_relative_to(self._home):
            return str(Path(path).relative_to(self._home))
        return path

    def in_home(self, path: str) -> str:
        """A recorded path as it is used."""
        if self._home is None:
            return path
        if not Path(path).is_absolute():
            return str(self._home / path)
        # recorded whole, by an earlier release, and perhaps in a home that was moved since
        moved = self._home.joinpath(*Path(path).parts[-3:])
        return str(moved) if not Path(path).exists() and moved.is_dir() else path

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is the only writer; committed, durably, when the block has ended without an error.

        Threads that write at the same time share a commit, and so one wait for the disk: each runs its block behind a
        savepoint of one transaction, and the last in line commits for all. A block that fails takes back nothing but
        itself; where the commit fails, it fails for all of them.
        """
        group = self._writers.enter()
        if group is None:
            raise StorageError(f"{self.name}: database is locked: waited {self._lock_timeout_s} s for another thread")
        try:
            with self._errors():
                if group.connection is None:
                    group.connection = self._begin_write()
                yield from _behind_savepoint(group.connection)
        except BaseException as error:
            if group.connection is not None and not _is_open(group.connection):
                group.error = error  # the database rolled the whole group back
            raise
        finally:
            self._writers.leave(group)
            # also a refusal may depend on the others' writes
            group.ended.wait()
            if group.error is not None:
                raise StorageError(str(group.error), database=self.name) from group.error

    def _begin_write(self) -> Connection:
        connection = self._connect(write=True)
        try:
            connection.begin()
            if not self._is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        except BaseException:
            connection.close()
            raise
        return connection

    def _commit(self, group: WriteGroup) -> None:
        if group.connection is None:
            return
        try:
            with group.connection, self._errors():
                if group.error is None:
                    group.connection.commit()
        except StorageError as error:
            group.error = error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one snapshot."""
        with self._errors(), self._connect(write=False) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Close every connection: one that is in use, when its block ends. What is asked afterwards is refused."""
        self._closed = True
        self._engine.dispose()

    def _close_late(self, _connection: object, record: ConnectionPoolEntry) -> None:
        if self._closed:
            record.invalidate()

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    def _connect(self, *, write: bool) -> Connection:
        if self._closed:
            raise StorageError(f"{self.name}: the metadata store is closed", database=self.name)
        if self._is_sqlite:
            return self._engine.connect().execution_options(**{_WRITE: write})
        # A writer must see what was committed while it waited for the lock; a reader must not.
        level: Any = "READ COMMITTED" if write else "REPEATABLE READ"
        return self._engine.connect().execution_options(isolation_level=level)

    def _open(self) -> Engine:
        if not self._is_sqlite:
            milliseconds = int(self._lock_timeout_s * 1000)
            options = f"-c lock_timeout={milliseconds}"
            connect_args = {"options": options, "connect_timeout": 5}
            try:
                return create_engine(self._url, pool_pre_ping=True, connect_args=connect_args)
            except ImportError as error:
                raise ConfigError(f"{self.name}: needs the extra 'postgres': {error}") from error
        Path(str(self._url.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(self._url, connect_args={"timeout": self._lock_timeout_s})
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _initialise(self) -> None:
        with self.read() as connection:
            found = _revision(connection)
        if found == REVISION:
            return
        from raymlops.metadata.sql.migrations import migrate, revisions  # Alembic, which few starts need

        with self.write() as connection:
            found = _revision(connection)  # another process may have been first: it held the lock then
            if found == REVISION:
                return
            if found is not None and found not in revisions():
                raise ConfigError(
                    f"{self.name}: schema revision must be {REVISION!r}, got {found!r}: written by a newer RayMLOps",
                    expected=REVISION,
                    found=found,
                )
            migrate(connection, found)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise StorageError(f"{self.name}: {error.orig}", database=self.name) from error
        except (SQLAlchemyError, self._driver_error, OSError) as error:
            raise StorageError(f"{self.name}: {error}", database=self.name) from error


def _behind_savepoint(connection: Connection) -> Iterator[Connection]:
    # straight to the driver: through SQLAlchemy these three would cost as much as the work of most blocks
    driver: Any = connection.connection.dbapi_connection
    driver.execute(f"SAVEPOINT {_SAVEPOINT}").close()
    try:
        yield connection
    except BaseException:
        if _is_open(connection):
            driver.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}").close()
            driver.execute(f"RELEASE SAVEPOINT {_SAVEPOINT}").close()
        raise
    driver.execute(f"RELEASE SAVEPOINT {_SAVEPOINT}").close()


def _is_open(connection: Connection) -> bool:
    """Whether the transaction goes on: SQLite ends it by itself where the disk is full, PostgreSQL with the session."""
    if connection.closed or connection.invalidated:
        return False
    driver: Any = connection.connection.dbapi_connection
    return bool(driver.in_transaction) if isinstance(driver, sqlite3.Connection) else not driver.closed


def _parse(url: str | Path) -> URL:
    if isinstance(url, Path):
        return URL.create("sqlite", database=str(url.expanduser()))
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(f"metadata url must be an SQLAlchemy URL or a path, got {url!r}") from error
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise ConfigError(f"metadata url must name sqlite or postgresql, got {parsed.get_backend_name()!r}")
    if parsed.get_backend_name() == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ConfigError(f"metadata url must name a file, got {url!r}: each thread would see a database of its own")
    # Which driver a bare scheme stands for depends on SQLAlchemy's version.
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()
    return found


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own transactions begin too late to guard a read-then-write; _begin_sqlite opens them instead.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
