"""Jobs: every row once, all or nothing, killed and begun again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import parquet

from raymlops.errors import (
    AlreadyRegistered,
    ConflictError,
    DataError,
    DeploymentError,
    SchemaMismatch,
    StorageError,
    UnavailableError,
)
from raymlops.records.runs import RunStatus
from raymlops.records.scoring import Part, PartReceipt
from raymlops.scoring.scorer import files_of

World = Any


class Killed(BaseException):
    """As SIGKILL: nobody handles it."""


def test_every_row_is_scored_once_as_the_model_scores_it(world: World) -> None:
    rows = world.rows(1000)
    job = world.job(world.table(rows))
    receipt = job.run(world.in_process(job))
    scored = world.scored()
    assert (receipt.rows, receipt.parts, receipt.output_version, receipt.duplicate) == (1000, 5, 0, False)
    assert scored["_row"].to_pylist() == list(range(1000))
    assert scored.select(["user", "event_time"]).equals(rows.select(["user", "event_time"]))
    assert scored["probability"].to_pylist() == world.expected(rows)
    assert scored["prediction"].to_pylist() == [row[1] > row[0] for row in world.expected(rows)]
    assert set(scored["model_version"].to_pylist()) == {3}


@pytest.mark.parametrize("rows", [0, 1, 100, 101])
def test_few_rows_and_none(world: World, rows: int) -> None:
    table = world.rows(rows)
    job = world.job(world.table(table))
    assert job.run(world.in_process(job)).rows == rows
    assert world.scored()["probability"].to_pylist() == (world.expected(table) if rows else [])


def test_a_huge_row_group_goes_through_in_blocks(world: World) -> None:
    rows = world.rows(3000)
    job = world.job(world.table(rows, row_group_size=3000))
    receipt = job.run(world.in_process(job))
    (part,) = job.parts
    assert receipt.parts == 1
    assert [file.rows for file in job.directory.state(job.parts).files] == [120] * 25
    assert world.scored()["probability"].to_pylist() == world.expected(rows)
    assert part.rows == 3000


@pytest.mark.parametrize("killed_after", range(7))
def test_what_is_killed_goes_on_and_loses_and_doubles_nothing(
    world: World, killed_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many parts; at 5, right before the commit, and at 6, right after it."""
    rows = world.rows(1000)
    path = world.table(rows)
    job = world.job(path)

    def execute(parts: list[Part]) -> Iterator[PartReceipt]:
        for number, receipt in enumerate(world.in_process(job)(parts)):
            if number == killed_after:
                raise Killed
            yield receipt

    def no_commit(*_: object) -> int:
        raise Killed

    with monkeypatch.context() as patch:
        if killed_after == 5:
            patch.setattr(type(job.output), "commit", no_commit)
        if killed_after == 6:
            patch.setattr(type(job), "_finish", no_commit)
        with pytest.raises(Killed):
            job.run(execute)
    if killed_after < 6:
        assert job.output.committed(job._commit_id) is None
    done: list[int] = []
    again = world.job(path)
    receipt = again.run(world.in_process(again, done))
    finished = min(killed_after, 5)
    assert done == list(range(finished, 5))
    assert (receipt.rows, receipt.resumed_parts, receipt.output_version) == (1000, finished, 0)
    assert world.scored()["probability"].to_pylist() == world.expected(rows)
    run = world.metadata.runs.get_run(receipt.run_id)
    assert (run.status, run.result["rows"]) == (RunStatus.SUCCEEDED, 1000)
    assert [entry.action for entry in world.metadata.ledger.entries("m")] == ["score"]
    files = [path for path in Path(job.plan.output).glob("*.parquet")]
    assert len(files) == len(job.directory.state(job.parts).files)


@pytest.mark.parametrize(("error", "resumed"), [(UnavailableError, 1), (DataError, 0), (ValueError, 0)])
def test_a_part_that_fails_leaves_nothing_visible_and_is_tried_again(
    world: World, error: type[Exception], resumed: int
) -> None:
    """Of what would fail alike the next time, no file is left; of what may not, the parts that are done."""
    path = world.table(world.rows(1000))
    job = world.job(path)
    output = Path(job.plan.output)

    def execute(parts: list[Part]) -> Iterator[PartReceipt]:
        yield job.scorer.score(parts[0])
        job.scorer.score(parts[1])  # written, and not noted
        (output / f".{files_of(job.plan)}half.parquet.1").write_bytes(b"a worker was killed here")
        raise error("the second part is too much")

    with pytest.raises(error):
        job.run(execute)
    assert job.output.committed(job._commit_id) is None
    assert output.exists() == bool(resumed)
    again = world.job(path)
    receipt = again.run(world.in_process(again))
    failed, succeeded = (run for run in sorted(world.metadata.runs.list_runs("batch-score"), key=lambda run: run.id))
    assert (failed.status, failed.error) == (RunStatus.FAILED, f"{error.__name__}: the second part is too much")
    assert (succeeded.id, succeeded.status) == (f"{failed.id}-2", RunStatus.SUCCEEDED)
    assert receipt.resumed_parts == resumed


def test_a_failure_takes_no_file_of_a_table_that_is_there(world: World) -> None:
    path = world.table(world.rows(300))
    first = world.job(path, table_versions={"sales": 4})
    first.run(world.in_process(first))
    before = world.scored()
    second = world.job(path, table_versions={"sales": 5}, mode="append")
    broken = world.job(path, table_versions={"sales": 6}, mode="append")

    def execute(parts: list[Part]) -> Iterator[PartReceipt]:
        yield broken.scorer.score(parts[0])
        raise DataError("the second part is too much")

    second.run(world.in_process(second))
    with pytest.raises(DataError):
        broken.run(execute)
    assert world.scored(0).equals(before)
    assert world.scored().num_rows == 600


def test_the_same_again_writes_nothing(world: World) -> None:
    path = world.table(world.rows(300))
    job = world.job(path)
    first = job.run(world.in_process(job))
    again = world.job(path)
    done: list[int] = []
    second = again.run(world.in_process(again, done))
    assert (second.duplicate, second.run_id, second.output_version, done) == (True, first.run_id, 0, [])
    assert len(world.metadata.runs.list_runs("batch-score")) == 1


def test_newer_features_are_a_new_job_but_never_mix_into_one_that_is_begun(world: World) -> None:
    path = world.table(world.rows(600))
    job = world.job(path, table_versions={"sales": 4})

    def execute(parts: list[Part]) -> Iterator[PartReceipt]:
        yield job.scorer.score(parts[0])
        raise Killed

    with pytest.raises(Killed):
        job.run(execute)
    resumed = world.job(path, table_versions={"sales": 5})
    assert resumed.plan.table_versions == {"sales": 4}
    assert resumed.run(world.in_process(resumed)).resumed_parts == 1
    fresh = world.job(path, table_versions={"sales": 5}, mode="create")
    assert fresh.plan.table_versions == {"sales": 5}
    with pytest.raises(AlreadyRegistered, match="is there already: choose append or overwrite"):
        fresh.run(world.in_process(fresh))


def test_append_and_overwrite(world: World) -> None:
    first, second = world.rows(200), world.rows(300, seed=9)
    job = world.job(world.table(first))
    job.run(world.in_process(job))
    added = world.job(world.table(second, name="more.parquet"), mode="append")
    assert added.run(world.in_process(added)).output_version == 1
    assert world.scored().num_rows == 500
    assert world.scored(0)["probability"].to_pylist() == world.expected(first)
    instead = world.job(world.table(second, name="instead.parquet"), mode="overwrite")
    assert instead.run(world.in_process(instead)).output_version == 2
    assert world.scored()["probability"].to_pylist() == world.expected(second)


def test_lineage_tells_what_a_version_scored(world: World) -> None:
    path = world.table(world.rows(300))
    job = world.job(path)
    receipt = job.run(world.in_process(job))
    assert world.metadata.artifacts.runs_using(job.plan.digest) == [receipt.run_id]
    assert world.metadata.artifacts.runs_using(job.plan.source.digest) == [receipt.run_id]
    run = world.metadata.runs.get_run(receipt.run_id)
    assert (run.pipeline, run.parameters["version"], run.result["output_version"]) == ("batch-score", 3, 0)
    (entry,) = world.metadata.ledger.entries("m")
    assert (entry.action, entry.reason) == ("score", "version 3 scored 300 rows of rows.parquet")


def test_files_that_somebody_removed_are_made_again(world: World) -> None:
    rows = world.rows(1000)
    path = world.table(rows)
    job = world.job(path)

    def execute(parts: list[Part]) -> Iterator[PartReceipt]:
        yield job.scorer.score(parts[0])
        yield job.scorer.score(parts[1])
        raise Killed

    with pytest.raises(Killed):
        job.run(execute)
    lost = job.directory.state(job.parts).files[0]
    (Path(job.plan.output) / lost.path).unlink()
    again = world.job(path)
    done: list[int] = []
    again.run(world.in_process(again, done))
    assert done == [0, 2, 3, 4]
    assert world.scored()["probability"].to_pylist() == world.expected(rows)


def test_two_at_once_are_told(world: World) -> None:
    job = world.job(world.table(world.rows(10)))
    with job.directory.locked(), pytest.raises(ConflictError, match="another process is at work on this job"):
        job.run(world.in_process(job))


def changed(rows: pa.Table, name: str, values: Any) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, values)


def broken(rows: pa.Table) -> dict[str, tuple[pa.Table, str]]:
    missing = pa.nulls(rows.num_rows, pa.float64())
    infinite = pc.if_else(pc.equal(rows["event_time"], rows["event_time"][777]), pa.scalar(float("inf")), rows["a"])
    return {
        "dropped": (rows.drop_columns(["a"]), r"rows\.parquet: columns \['a'\] are missing"),
        "text": (changed(rows, "a", rows["a"].cast(pa.string())), "input 'a' must be FP64, got BYTES"),
        "missing": (changed(rows, "b", missing), "is refused: b: 100.0% of the values are missing"),
        "infinite": (changed(rows, "a", infinite), r"row 777: inputs \['a'\] must be finite"),
    }


@pytest.mark.parametrize("how", ["dropped", "text", "missing", "infinite"])
def test_broken_rows_are_refused_and_nothing_is_committed(world: World, how: str) -> None:
    rows, told = broken(world.rows(2000))[how]
    with pytest.raises(DataError, match=told):  # noqa: PT012 - a column that is missing is found when the job is made
        job = world.job(world.table(rows))
        job.run(world.in_process(job))
    assert not (Path(world.setting.plan.output) / "_delta_log").exists()


def test_rows_that_break_late_are_refused_in_the_end(world: World) -> None:
    """The sample does not see them, the profile of all rows does."""
    rows = world.rows(40_000)
    late = pc.less(pa.array(range(40_000)), 15_000)
    rows = changed(rows, "b", pc.if_else(late, rows["b"], pa.scalar(None, pa.float64())))
    job = world.job(world.table(rows, row_group_size=40_000), part_rows=50_000, block_rows=10_000)
    assert job.check().verdict == "ok"
    with pytest.raises(DataError, match=r"is refused: b: 6\d\.\d% of the values are missing"):
        job.run(world.in_process(job))
    assert job.output.committed(job._commit_id) is None
    (run,) = world.metadata.runs.list_runs("batch-score")
    assert (run.status, "is refused" in str(run.error)) == (RunStatus.FAILED, True)


def test_rows_that_have_moved_are_scored_with_a_warning(world: World) -> None:
    rows = world.rows(2000)
    job = world.job(world.table(changed(rows, "a", pc.add(rows["a"], 1.5))))
    receipt = job.run(world.in_process(job))
    assert (receipt.verdict, receipt.rows) == ("warn", 2000)
    assert any("drift: 1 of 2 inputs have moved: a (" in warning for warning in receipt.reasons)


def test_files_that_differ_are_named(world: World) -> None:
    directory = world.root / "many"
    world.table(world.rows(10), name="many/1.parquet")
    parquet.write_table(world.rows(10).drop_columns(["b"]), directory / "2.parquet")
    with pytest.raises(SchemaMismatch, match=r"2\.parquet lacks columns \['b'\], which other files have"):
        world.job(directory)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda rows: {"value": np.zeros((rows, 2))}, "answered outputs of the wrong shape for"),
        (lambda rows: 1 / 0, r"rows 0 to \d+: the model failed: ZeroDivisionError: division by zero"),
    ],
)
def test_a_model_that_fails_is_told_in_one_line_before_the_first_row(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: Any, told: str
) -> None:
    job = world.job(world.table(world.rows(300)))
    monkeypatch.setattr(job.scorer._model, "_ask", lambda encoded: answer(len(encoded))["value"])
    monkeypatch.setattr(job.scorer._model, "_labels", ())
    with pytest.raises(DeploymentError, match=told):
        job.check()
    with pytest.raises(DeploymentError, match=told):
        job.run(world.in_process(job))
    assert not Path(job.plan.output).exists()


def test_whoever_scores_is_closed_where_a_note_cannot_be_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job = world.job(world.table(world.rows(1000)))
    closed: list[bool] = []

    def execute(parts: list[Part]) -> Iterator[PartReceipt]:
        try:
            yield from world.in_process(job)(parts)
        finally:
            closed.append(True)

    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(type(job.directory), "put_part", full)
    with pytest.raises(StorageError) as caught:
        job.run(execute)
    assert closed == [True], caught
