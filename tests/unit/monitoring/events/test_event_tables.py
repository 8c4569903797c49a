from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raymlops.clock import to_us
from raymlops.errors import ConflictError, NotFoundError, SchemaMismatch, StorageError
from raymlops.monitoring.events import event_generations
from raymlops.monitoring.events.event_generations import list_generations, read_seal
from raymlops.monitoring.events.event_tables import DeltaEventTables
from raymlops.monitoring.events.shared_appends import SharedAppends
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.serving.answering.events import PredictionEvent, to_tables
from raymlops.serving.models.input_names import check_input_names
from raymlops.serving.protocol.prediction_request import PredictionRequest
from raymlops.serving.protocol.schema import InputSchema
from raymlops.tables.delta import DeltaTables

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
NAME = "predictions/m"


def rows(hour: int, number: int = 4, **more: object) -> pa.Table:
    times = [START + hour * HOUR + timedelta(minutes=i) for i in range(number)]
    return pa.table(
        {
            "request_id": [f"{hour}-{i}" for i in range(number)],
            "event_time": pa.array(times, pa.timestamp("us", tz="UTC")),
            "x": [float(i) for i in range(number)],
            **more,
        }
    )


def ids(table: pa.Table) -> list[str]:
    return list(table["request_id"].to_pylist()) if table.num_columns else []


def fill(tables: DeltaEventTables, hours: int) -> None:
    for hour in range(hours):
        tables.append(NAME, rows(hour), ingest_id=f"b{hour}")


def everything(hours: int) -> list[str]:
    return [f"{hour}-{i}" for hour in range(hours) for i in range(4)]


@pytest.fixture
def tables(tmp_path: Path) -> DeltaEventTables:
    return DeltaEventTables(tmp_path, commits=6)


def test_full_generations_are_followed_by_the_next(tables: DeltaEventTables, tmp_path: Path) -> None:
    fill(tables, 20)
    found = list_generations(tmp_path, NAME)
    assert [part.number for part in found] == [0, 1, 2, 3]
    assert [read_seal(tmp_path, part) is None for part in found] == [False, False, False, True]
    assert ids(tables.read(NAME, None, None, "event_time")) == everything(20)
    assert ids(DeltaEventTables(tmp_path).read(NAME, None, None, "event_time")) == everything(20)


def test_a_repeat_is_known_over_the_end_of_a_generation(tables: DeltaEventTables, tmp_path: Path) -> None:
    fill(tables, 8)
    tables.append(NAME, rows(6), ingest_id="b6")
    tables.append(NAME, rows(7), ingest_id="b7")
    DeltaEventTables(tmp_path, commits=6).append(NAME, rows(2), ingest_id="b2")
    assert ids(tables.read(NAME, None, None, "event_time")) == everything(8)


NAMES = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    [
        "score",
        "Score",
        "ROLE",
        "Age",
        "age",
        "K",
        "\u212a",
        "_seq",
        "_SEQ",
        "a.b",
        "a b",
        "",
        "label",
        "\x00",
        "ß",
        "ss",
    ]
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NAMES, min_size=1, max_size=3, unique=True))
def test_names_of_inputs_are_refused_or_recorded(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    try:
        check_input_names(names)
    except SchemaMismatch:
        return
    signature = Signature(task="regressor", inputs=tuple(ColumnSpec(name=name, dtype="FP64") for name in names))
    columns = {name: np.array([float(place)]) for place, name in enumerate(names)}
    outputs = {"value": np.array([0.5])}
    at_us = [to_us(START)]
    request = PredictionRequest("r", columns, at_us)
    event = PredictionEvent(request, InputSchema(signature), at_us[0], 1, "champion", 5, outputs)
    tables = DeltaEventTables(tmp_path_factory.mktemp("events"))
    tables.append(NAME, to_tables([event])[0], ingest_id="b")
    (row,) = tables.read(NAME, START, None, "served_at").to_pylist()
    assert [row[name] for name in names] == [float(place) for place in range(len(names))]
    assert (row["request_id"], row["score"]) == ("r", 0.5)


@dataclass
class Gathered:
    """Holds the first append back until others have lined up behind it."""

    commits: list[tuple[str, ...]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    fails: bool = False

    def append(self, tables: DeltaEventTables, hours: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> None:
        writing, released, original = threading.Event(), threading.Event(), DeltaTables.append

        def held(
            of: DeltaTables, name: str, table: pa.Table, *, ingest_id: str, others: Sequence[str], **more: Any
        ) -> Any:
            writing.set()
            assert released.wait(30)
            self.commits.append((ingest_id, *others))
            done = original(of, name, table, ingest_id=ingest_id, others=others, **more)
            if self.fails:
                raise StorageError("the disk is full")
            return done

        def one(hour: int) -> None:
            try:
                tables.append(NAME, rows(hour), ingest_id=f"b{hour}")
            except StorageError as error:
                self.errors.append(str(error))

        threads = [threading.Thread(target=one, args=(hour,)) for hour in hours]
        with monkeypatch.context() as patched:
            patched.setattr(DeltaTables, "append", held)
            threads[0].start()
            assert writing.wait(30)
            for thread in threads[1:]:
                thread.start()
            deadline = time.monotonic() + 30
            while tables._line.waiting < len(hours) - 1:
                assert time.monotonic() < deadline
            released.set()
            for thread in threads:
                thread.join()


def test_batches_in_line_share_a_commit(
    tables: DeltaEventTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is there once, one that is known already and one that comes twice among them."""
    tables.append(NAME, rows(0), ingest_id="b0")
    line = Gathered()
    line.append(tables, [1, 2, 3, 3, 0, 4], monkeypatch)
    assert line.commits[0] == ("b1",)
    assert len(line.commits) == 2
    assert sorted(each for commit in line.commits for each in commit) == ["b1", "b2", "b3", "b4"]
    again = DeltaEventTables(tmp_path, commits=6)
    again.append(NAME, rows(2), ingest_id="b2")
    assert sorted(ids(again.read(NAME, None, None, "event_time"))) == everything(5)


def test_a_commit_that_fails_fails_for_all_in_it(tables: DeltaEventTables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it fails after the rows were written: sent again, with others, they are there once."""
    tables.append(NAME, rows(0), ingest_id="b0")
    line = Gathered(fails=True)
    line.append(tables, [1, 2, 3], monkeypatch)
    assert line.errors == ["the disk is full"] * 3
    line.fails = False
    line.append(tables, [4, 3, 2, 1], monkeypatch)
    assert len(line.errors) == 3
    assert sorted(ids(tables.read(NAME, None, None, "event_time"))) == everything(5)


def test_a_query_opens_only_generations_that_can_hold_its_rows(tables: DeltaEventTables, tmp_path: Path) -> None:
    fill(tables, 20)
    for log in (tmp_path / NAME).glob("00000000-*/_delta_log/*.json"):
        log.unlink()  # whoever opened it now would fail
    start = START + 8 * HOUR
    assert ids(tables.read(NAME, start, start + HOUR, "event_time")) == [f"8-{i}" for i in range(4)]
    with pytest.raises((StorageError, NotFoundError)):
        DeltaEventTables(tmp_path).read(NAME, START, START + HOUR, "event_time")


def test_wide_tables_know_their_instants_too(tables: DeltaEventTables, tmp_path: Path) -> None:
    wide = {f"f{i}": [0.0] * 4 for i in range(60)}
    times = rows(0)["event_time"]
    tables.append(NAME, pa.table({**wide, "event_time": times, "request_id": ["a"] * 4}), ingest_id="a")
    tables.maintain(NAME, None, timedelta(seconds=1))
    (part,) = list_generations(tmp_path, NAME)
    seal = read_seal(tmp_path, part)
    assert seal is not None
    assert seal.bounds["event_time"][0] == START


def test_models_whose_inputs_change_write_beside(tables: DeltaEventTables) -> None:
    tables.append(NAME, rows(0), ingest_id="a")
    tables.append(NAME, rows(1, y=["t"] * 4), ingest_id="b")
    tables.append(NAME, rows(2), ingest_id="c")
    found = tables.read(NAME, None, None, "event_time")
    assert sorted(ids(found)) == everything(3)
    assert found["y"].null_count == 8


def test_an_input_of_another_type_spoils_no_query(tables: DeltaEventTables) -> None:
    """Where the log holds both, it is text; where it holds one, it is what it was."""
    tables.append(NAME, rows(0), ingest_id="a")
    tables.append(NAME, rows(1).set_column(2, "x", pa.array(["a", "b", "c", None])), ingest_id="b")
    tables.append(NAME, rows(2).set_column(2, "x", pa.array([1, 2, 3, 4])), ingest_id="c")
    both = tables.read(NAME, None, None, "event_time")
    assert sorted(ids(both)) == everything(3)
    assert sorted(both["x"].to_pylist(), key=str) == ["0", "1", "1", "2", "2", "3", "3", "4", None, "a", "b", "c"]
    assert tables.read(NAME, START, START + HOUR, "event_time")["x"].to_pylist() == [0.0, 1.0, 2.0, 3.0]
    assert tables.read(NAME, START + HOUR, START + 2 * HOUR, "event_time")["x"].to_pylist() == ["a", "b", "c", None]
    assert tables.read(NAME, START + 9 * HOUR, None, "event_time").num_rows == 0


def test_tables_from_before_there_were_generations_are_read(tables: DeltaEventTables, tmp_path: Path) -> None:
    old = rows(0).append_column("_seq", pa.array(range(4)))
    write_deltalake(str(tmp_path / NAME / "0123456789ab"), old)
    assert ids(tables.read(NAME, None, None, "event_time")) == everything(1)
    tables.append(NAME, rows(1), ingest_id="b")
    tables.maintain(NAME, None, DAY)
    assert ids(tables.read(NAME, None, None, "event_time")) == everything(2)


def test_rows_between_marks_are_those_appended_between(tables: DeltaEventTables) -> None:
    assert tables.marks(NAME) == {}
    marks = [tables.marks(NAME)]
    for hour in range(20):
        tables.append(NAME, rows(hour, y=["t"] * 4) if hour % 5 == 4 else rows(hour), ingest_id=f"b{hour}")
        marks.append(tables.marks(NAME))
    for first in range(0, 21, 3):
        for last in range(first, 21):
            found = tables.read(NAME, None, None, "event_time", after=marks[first], until=marks[last])
            assert sorted(ids(found)) == sorted(f"{hour}-{i}" for hour in range(first, last) for i in range(4))
    assert len(marks[-1]) <= 3


def test_compaction_changes_no_answer(tmp_path: Path) -> None:
    tables = DeltaEventTables(tmp_path, commits=100)
    fill(tables, 40)
    marks = tables.marks(NAME)
    queries = [(None, None), (START + 3 * HOUR, START + 9 * HOUR), (START + 39 * HOUR, None)]
    before = [tables.read(NAME, start, end, "event_time") for start, end in queries]
    files = len(list((tmp_path / NAME).rglob("*.parquet")))
    tables.maintain(NAME, None, 365 * DAY)
    assert [tables.read(NAME, start, end, "event_time") for start, end in queries] == before
    assert len(list((tmp_path / NAME).rglob("*.parquet"))) > files  # replaced ones stay for readers that have begun
    assert tables.marks(NAME) == marks
    tables.append(NAME, rows(40), ingest_id="b40")
    tables.append(NAME, rows(39), ingest_id="b39")
    assert ids(tables.read(NAME, None, None, "event_time")) == everything(41)


def test_settled_generations_hold_only_the_files_they_need(
    tables: DeltaEventTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_generations, "_KEEP_FILES", timedelta(0))
    fill(tables, 8)
    orphan = next((tmp_path / NAME).glob("00000000-*")) / "part-of-a-write-cut-off.parquet"
    orphan.write_bytes(b"")
    tables.maintain(NAME, None, 365 * DAY)
    tables.maintain(NAME, None, 365 * DAY)
    first = list_generations(tmp_path, NAME)[0]
    seal = read_seal(tmp_path, first)
    assert seal is not None
    assert seal.settled
    assert len(list((tmp_path / first.name).glob("*.parquet"))) == 1
    assert ids(DeltaEventTables(tmp_path).read(NAME, None, None, "event_time")) == everything(8)


def test_what_is_older_than_the_retention_goes_as_a_whole_generation(tables: DeltaEventTables, tmp_path: Path) -> None:
    fill(tables, 20)
    tables.maintain(NAME, START + 10 * HOUR, 365 * DAY)
    left = ids(tables.read(NAME, None, None, "event_time"))
    assert left == everything(20)[24:]  # the generation of the tenth hour stays whole
    assert ids(DeltaEventTables(tmp_path).read(NAME, None, None, "event_time")) == left
    tables.maintain(NAME, START + 100 * HOUR, 365 * DAY)
    assert ids(tables.read(NAME, None, None, "event_time")) == []
    tables.append(NAME, rows(200), ingest_id="new")
    assert len(ids(tables.read(NAME, None, None, "event_time"))) == 4


def test_a_slow_table_is_cut_by_time(tables: DeltaEventTables, tmp_path: Path) -> None:
    tables.append(NAME, rows(0), ingest_id="a")
    tables.append(NAME, rows(30), ingest_id="b")
    tables.maintain(NAME, None, 16 * DAY)
    assert len(list_generations(tmp_path, NAME)) == 1
    tables.maintain(NAME, None, 8 * DAY)
    tables.append(NAME, rows(31), ingest_id="c")
    assert [part.number for part in list_generations(tmp_path, NAME)] == [0, 1]


def test_a_removal_that_was_cut_off_is_finished(tables: DeltaEventTables, tmp_path: Path) -> None:
    fill(tables, 8)
    first = tmp_path / list_generations(tmp_path, NAME)[0].name
    first.rename(first.with_name(f".removed-{first.name}"))
    left = ids(tables.read(NAME, None, None, "event_time"))
    assert left == everything(8)[24:]
    tables.maintain(NAME, None, 365 * DAY)
    assert list((tmp_path / NAME).glob(".removed-*")) == []


def test_reading_goes_on_while_files_are_packed_and_removed(tmp_path: Path) -> None:
    tables, reader = DeltaEventTables(tmp_path, commits=20), DeltaEventTables(tmp_path)
    fill(tables, 30)
    wanted = everything(30)[4 * 21 :]
    stop, problems = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            found = ids(reader.read(NAME, START + 21 * HOUR, START + 30 * HOUR, "event_time"))
            if found != wanted:
                problems.append(found)
            ids(reader.read(NAME, None, None, "event_time"))

    thread = threading.Thread(target=read)
    thread.start()
    for hour in range(30, 60):
        tables.append(NAME, rows(hour), ingest_id=f"b{hour}")
        if hour % 10 == 0:
            tables.maintain(NAME, START + (hour - 15) * HOUR if hour < 40 else None, 365 * DAY)
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert problems == []


KILLED = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from raymlops.tables.delta import DeltaTables
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.monitoring.events import event_generations
from raymlops.monitoring.events.event_tables import DeltaEventTables
from raymlops.monitoring.events.shared_appends import SharedAppends
place = sys.argv[2]
def die(*args, **more):
    os.kill(os.getpid(), signal.SIGKILL)
if place == "rename": event_generations.shutil.rmtree = die
if place == "seal": event_generations.os.replace = die
if place == "vacuum": event_generations._vacuum = die
tables = DeltaEventTables(Path(sys.argv[1]), commits=100)
from raymlops.clock import from_us
span = timedelta(days=9999 if place == "vacuum" else 0, hours=1)
tables.maintain("predictions/m", from_us(int(sys.argv[3])) if place == "rename" else None, span)
"""


@pytest.mark.parametrize("place", ["rename", "seal", "vacuum"])
def test_maintenance_killed_half_way_loses_nothing(tmp_path: Path, place: str) -> None:
    tables = DeltaEventTables(tmp_path, commits=100)
    fill(tables, 30)
    if place == "rename":
        tables.maintain(NAME, None, timedelta(hours=1))
        tables.append(NAME, rows(100), ingest_id="later")
    if place == "vacuum":
        tables.append(NAME, rows(0, y=["t"] * 4), ingest_id="beside")
    cut = str(int((START + 50 * HOUR).timestamp() * 1e6))
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), place, cut], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    again = DeltaEventTables(tmp_path, commits=100)
    found = ids(again.read(NAME, None, None, "event_time"))
    if place == "rename":
        assert found == [f"100-{i}" for i in range(4)]
    else:
        assert set(found) == set(everything(30))
    again.maintain(NAME, None, timedelta(hours=1))
    again.append(NAME, rows(29), ingest_id="b29") if place != "rename" else None
    assert ids(again.read(NAME, None, None, "event_time")) == found
    assert not list((tmp_path / NAME).glob(".removed-*"))


class TestReusedIds:
    """A batch id stands for the same rows for ever."""

    def test_other_rows_are_refused_and_not_forgotten(self, tables: DeltaEventTables, tmp_path: Path) -> None:
        fill(tables, 8)  # over the end of a generation
        for opened in (tables, DeltaEventTables(tmp_path, commits=6)):
            for each in ("b2", "b7"):
                with pytest.raises(ConflictError, match=f"id '{each}' came with other rows before"):
                    opened.append(NAME, rows(99), ingest_id=each)
            opened.append(NAME, rows(2), ingest_id="b2")
        assert ids(tables.read(NAME, None, None, "event_time")) == everything(8)

    def test_a_repeat_is_told_by_what_the_caller_says(self, tables: DeltaEventTables) -> None:
        """Labels that are sent again may be dated anew."""
        table = rows(0)
        later = table.set_column(1, "event_time", rows(5)["event_time"])
        tables.append(NAME, table, ingest_id="one", told_by=["request_id", "x"])
        tables.append(NAME, later, ingest_id="one", told_by=["request_id", "x"])
        assert tables.read(NAME, None, None, "event_time")["event_time"] == table["event_time"]
        with pytest.raises(ConflictError):
            tables.append(NAME, rows(1), ingest_id="one", told_by=["request_id", "x"])

    def test_an_id_from_before_there_were_digests_is_a_repeat(
        self, tables: DeltaEventTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = DeltaTables.append

        def as_before(of: DeltaTables, name: str, table: pa.Table, *, ingest_id: str, **more: Any) -> Any:
            return original(of, name, table, ingest_id=ingest_id, others=more["others"])

        with monkeypatch.context() as patched:
            patched.setattr(DeltaTables, "append", as_before)
            tables.append(NAME, rows(0), ingest_id="old")
        again = DeltaEventTables(tmp_path, commits=6)
        again.append(NAME, rows(1), ingest_id="old")
        assert ids(again.read(NAME, None, None, "event_time")) == everything(1)

    def test_of_two_in_line_the_second_is_refused(self) -> None:
        begun, released = threading.Event(), threading.Event()
        written: list[list[str]] = []

        def write(_: str, batches: Mapping[str, Any]) -> dict[str, Exception]:
            begun.set()
            assert released.wait(30)
            written.append(list(batches))
            return {}

        line, errors = SharedAppends(write), list[str]()

        def one(ingest_id: str, digest: int) -> None:
            try:
                line.append("t", rows(digest), ingest_id, digest)
            except ConflictError as error:
                errors.append(str(error))

        threads = [threading.Thread(target=one, args=given) for given in (("a", 1), ("b", 2), ("b", 2), ("b", 3))]
        threads[0].start()
        assert begun.wait(30)
        for number, thread in enumerate(threads[1:], start=1):
            thread.start()
            deadline = time.monotonic() + 30
            while line.waiting < number:
                assert time.monotonic() < deadline
        released.set()
        for thread in threads:
            thread.join(30)
        assert written == [["a"], ["b"]]
        assert len(errors) == 1


def test_an_event_of_the_year_9999_keeps_no_generation_from_going(tmp_path: Path) -> None:
    tables = DeltaEventTables(tmp_path, commits=2)
    for hour in range(4):
        served = rows(hour)["event_time"]
        odd = pa.array([datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)] * 4, served.type)
        table = rows(hour, served_at=served)
        tables.append(NAME, table.set_column(1, "event_time", odd), ingest_id=f"b{hour}")
    tables.maintain(NAME, START + 90 * DAY, 400 * DAY)
    assert list_generations(tmp_path, NAME) == list_generations(tmp_path, NAME)[:1]
    assert tables.read(NAME, None, None, "event_time").num_rows <= 8
