from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from raymlops.errors import InvalidTransition, StorageError
from raymlops.metadata import MetadataService
from raymlops.metadata.sql.schema import runs
from raymlops.metadata.sql.transactions.database import Database
from raymlops.metadata.sql.transactions.groups import WriteGroup, WriteQueue

DEADLINE_S = 20.0


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline, "not within the deadline"
        threading.Event().wait(0.001)


class Line:
    """Threads in a queue, each of which leaves when it is told to."""

    def __init__(self, timeout_s: float = DEADLINE_S) -> None:
        self.commits: list[int] = []
        self.entered: list[str] = []
        self.groups: dict[str, WriteGroup | None] = {}
        self.queue = WriteQueue(lambda group: self.commits.append(group.blocks), timeout_s)
        self._leave = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def join_in(self, name: str) -> None:
        def work() -> None:
            group = self.groups[name] = self.queue.enter()
            if group is None:
                return
            self.entered.append(name)
            self._leave.acquire()
            self.queue.leave(group)
            assert group.ended.wait(DEADLINE_S)

        self._threads.append(threading.Thread(target=work, daemon=True))
        self._threads[-1].start()

    def let_go(self, number: int) -> None:
        self._leave.release(number)

    def wait(self) -> None:
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


def test_a_lone_writer_commits_for_itself() -> None:
    line = Line()
    for name in "ab":
        line.join_in(name)
        line.let_go(1)
        line.wait()
    assert line.commits == [1, 1]


def test_those_in_line_share_one_commit() -> None:
    line = Line()
    line.join_in("first")
    until(lambda: line.entered == ["first"])
    for number in range(7):
        line.join_in(str(number))
    until(lambda: line.queue._waiting == 7)
    assert line.commits == []
    line.let_go(8)
    line.wait()
    assert line.commits == [8]


def test_a_group_has_a_largest_size() -> None:
    line = Line()
    line.join_in("first")
    until(lambda: line.entered == ["first"])
    for number in range(99):
        line.join_in(str(number))
    until(lambda: line.queue._waiting == 99)
    line.let_go(100)
    line.wait()
    assert line.commits == [64, 36]


def test_who_waits_too_long_leaves_the_line_and_the_writer_commits() -> None:
    line = Line(timeout_s=0.05)
    line.join_in("writer")
    until(lambda: line.entered == ["writer"])
    line.join_in("late")
    until(lambda: "late" in line.groups)
    line.let_go(1)
    line.wait()
    assert line.groups["late"] is None
    assert line.commits == [1]


def test_an_interrupted_waiter_commits_for_those_who_counted_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line()
    interrupted = threading.Event()
    plain = line.queue._turn.wait_for

    def wait_for(predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        found = plain(predicate, timeout)
        if threading.current_thread().name == "interrupted":
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(line.queue._turn, "wait_for", wait_for)
    line.join_in("writer")
    until(lambda: line.entered == ["writer"])

    def work() -> None:
        with pytest.raises(KeyboardInterrupt):
            line.queue.enter()
        interrupted.set()

    threading.Thread(target=work, name="interrupted", daemon=True).start()
    until(lambda: line.queue._waiting == 1)
    line.let_go(1)
    line.wait()
    assert interrupted.wait(DEADLINE_S)
    assert line.commits == [1]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "m.db")) as opened:
        yield opened


def insert_run(connection: Connection, name: str) -> None:
    connection.execute(runs.insert(), {"id": name, "pipeline": "p", "status": "s", "created_us": 0, "body": "x" * 5000})


def stored(database: Database) -> set[str]:
    with database.read() as connection:
        return set(connection.execute(runs.select()).scalars(runs.c.id.name))


def in_one_group(database: Database, blocks: dict[str, Callable[[Connection], None]]) -> dict[str, Exception | None]:
    """Run the blocks in one transaction, in their order; what each thread saw."""
    seen: dict[str, Exception | None] = {}
    holding, go_on = threading.Event(), threading.Event()

    def work(name: str, block: Callable[[Connection], None]) -> None:
        try:
            with database.write() as connection:
                if not seen and not holding.is_set():
                    holding.set()
                    assert go_on.wait(DEADLINE_S)
                block(connection)
        except (StorageError, InvalidTransition) as error:
            seen[name] = error
        else:
            seen[name] = None

    threads = []
    for number, (name, block) in enumerate(blocks.items()):
        threads.append(threading.Thread(target=work, args=(name, block), daemon=True))
        threads[-1].start()
        assert holding.wait(DEADLINE_S)
        until(lambda number=number: database._writers._waiting == number)  # type: ignore[misc]
    go_on.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    return seen


def test_a_block_that_fails_takes_back_only_itself(database: Database) -> None:
    commits: list[object] = []
    event.listen(database._engine, "commit", commits.append)

    def refused(connection: Connection) -> None:
        insert_run(connection, "refused")
        raise InvalidTransition("no")

    def doubled(connection: Connection) -> None:
        insert_run(connection, "doubled")
        insert_run(connection, "a")

    blocks: dict[str, Callable[[Connection], None]] = {
        "a": lambda connection: insert_run(connection, "a"),
        "refused": refused,
        "doubled": doubled,
        "b": lambda connection: insert_run(connection, "b"),
    }
    seen = in_one_group(database, blocks)
    assert {name: type(error) for name, error in seen.items()} == {
        "a": type(None),
        "refused": InvalidTransition,
        "doubled": StorageError,
        "b": type(None),
    }
    assert len(commits) == 1
    assert stored(database) == {"a", "b"}


def test_where_the_disk_is_full_nobody_is_told_that_it_was_written(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "m.db")) as database:
        limit = {"pages": 0}

        def full(connection: Connection) -> None:
            limit["pages"] = connection.exec_driver_sql("PRAGMA page_count").scalar_one() + 3
            connection.exec_driver_sql(f"PRAGMA max_page_count={limit['pages']}")
            insert_run(connection, "first")

        blocks: dict[str, Callable[[Connection], None]] = {"first": full}
        for name in "abcdef":
            blocks[name] = lambda connection, name=name: insert_run(connection, name)  # type: ignore[misc]
        seen = in_one_group(database, blocks)
        written = {name for name, error in seen.items() if error is None}
        assert stored(database) == written
        failed = [error for error in seen.values() if error is not None]
        assert failed
        assert all("full" in str(error) for error in failed)
        with database.write() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=1000000")
            insert_run(connection, "later")
        assert "later" in stored(database)


def test_a_chain_of_entries_survives_a_group_in_which_some_fail(tmp_path: Path) -> None:
    with closing(MetadataService(tmp_path / "m.db")) as service:

        def work(number: int) -> None:
            for turn in range(20):
                service.ledger.append_entry("churn", "note", "r", {"n": number}, key=f"{number}-{turn}")
                with pytest.raises(StorageError), service._database.write() as connection:
                    connection.exec_driver_sql("INSERT INTO nowhere VALUES (1)")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
        assert service.ledger.verify_ledger() == 160
