"""Runs and their steps."""

from __future__ import annotations

from collections import defaultdict

from pydantic import ValidationError
from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Integer,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    select,
    update,
)

from raymlops.clock import Clock, from_us, to_us
from raymlops.errors import AlreadyRegistered, DataError, InvalidTransition, RunNotFound
from raymlops.metadata.sql.schema import ROW_NUMBER, runs, tables
from raymlops.metadata.sql.store import SqlStore, decode, encode, same
from raymlops.records.names import check_name
from raymlops.records.runs import Run, RunCount, RunStatus, StepRun

__all__ = ["SqlRunStore"]

run_steps = Table(
    "run_steps",
    tables,
    Column("sequence", ROW_NUMBER, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("step", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("run_id", "step", "attempt"),
)

_UPDATABLE = frozenset({"status", "parameters", "reason", "bundle", "job_id", "ended_at", "result", "error"})


class SqlRunStore(SqlStore):
    """``RunStore`` in SQL."""

    def create_run(self, run: Run) -> Run:
        with self._database.write() as connection:
            stored = _find_run(connection, run.id)
            if stored is not None:
                if stored.pipeline != run.pipeline:
                    raise AlreadyRegistered(
                        f"run {run.id!r} must stay a run of {stored.pipeline!r}, got {run.pipeline!r}", run_id=run.id
                    )
                return stored
            check_name("run", run.id)
            connection.execute(insert(runs).values(id=run.id, pipeline=run.pipeline, **_run_values(run)))
            for step in run.steps:
                _put_step(connection, run.id, step)
            return _get_run(connection, run.id)

    def update_run(self, run_id: str, **changes: object) -> Run:
        if unknown := sorted(changes.keys() - _UPDATABLE):
            raise DataError(f"run {run_id!r}: only {sorted(_UPDATABLE)} can be updated, got {unknown}")
        with self._database.write() as connection:
            stored = _get_run(connection, run_id)
            updated = _changed(stored, changes, self._clock)
            if not same(updated, stored):
                connection.execute(update(runs).where(runs.c.id == run_id).values(**_run_values(updated)))
            return updated

    def get_run(self, run_id: str) -> Run:
        with self._database.read() as connection:
            return _get_run(connection, run_id)

    def list_runs(
        self, pipeline: str | None = None, status: RunStatus | str | None = None, limit: int | None = None
    ) -> list[Run]:
        if limit is not None and limit < 0:
            raise DataError(f"limit must be 0 or more, got {limit}")
        wanted = select(runs.c.sequence, runs.c.created_us, runs.c.id, runs.c.body)
        if pipeline is not None:
            wanted = wanted.where(runs.c.pipeline == pipeline)
        if status is not None:
            wanted = wanted.where(runs.c.status == str(status))
        wanted = wanted.order_by(runs.c.created_us.desc(), runs.c.sequence.desc()).limit(limit)
        with self._database.read() as connection:
            return _load_runs(connection, wanted)

    def count_runs(self) -> list[RunCount]:
        key = (runs.c.pipeline, runs.c.status)
        created = runs.c.created_us
        wanted = select(*key, func.count(), func.min(created), func.max(created)).group_by(*key).order_by(*key)
        with self._database.read() as connection:
            return [
                RunCount(
                    pipeline=pipeline,
                    status=RunStatus(status),
                    runs=count,
                    oldest_at=from_us(oldest_us),
                    newest_at=from_us(newest_us),
                )
                for pipeline, status, count, oldest_us, newest_us in connection.execute(wanted)
            ]

    def record_step(self, run_id: str, step: StepRun) -> None:
        with self._database.write() as connection:
            _get_run(connection, run_id)
            _put_step(connection, run_id, step)


def _run_values(run: Run) -> dict[str, object]:
    body = encode(run, exclude={"steps"})
    return {"status": str(run.status), "created_us": to_us(run.created_at), "body": body}


def _changed(run: Run, changes: dict[str, object], clock: Clock) -> Run:
    try:
        updated = Run.model_validate({**run.model_dump(), **changes})
    except ValidationError as error:
        raise DataError(f"run {run.id!r}: {error}", run_id=run.id) from error
    if run.status.final:
        # The job of a short run may end before its launcher has noted the job's id.
        late_id = run.model_copy(update={"job_id": updated.job_id}) if run.job_id is None else run
        if not same(updated, late_id):
            raise InvalidTransition(f"run {run.id!r} is {run.status}, which is final: cannot change {sorted(changes)}")
    elif run.status is RunStatus.RUNNING and updated.status is RunStatus.PENDING:
        raise InvalidTransition(f"run {run.id!r} is running: it cannot become pending again")
    elif updated.status.final and updated.ended_at is None:
        updated = updated.model_copy(update={"ended_at": clock.now()})
    return updated


def _put_step(connection: Connection, run_id: str, step: StepRun) -> None:
    key = {"run_id": run_id, "step": step.step, "attempt": step.attempt}
    body = encode(step)
    known = update(run_steps).where(*(run_steps.c[column] == value for column, value in key.items()))
    if connection.execute(known.values(body=body)).rowcount == 0:
        connection.execute(insert(run_steps).values(**key, body=body))


def _find_run(connection: Connection, run_id: str) -> Run | None:
    wanted = select(runs.c.sequence, runs.c.created_us, runs.c.id, runs.c.body).where(runs.c.id == run_id)
    found = _load_runs(connection, wanted)
    return found[0] if found else None


def _get_run(connection: Connection, run_id: str) -> Run:
    run = _find_run(connection, run_id)
    if run is None:
        raise RunNotFound(f"run {run_id!r} does not exist", run_id=run_id)
    return run


def _load_runs(connection: Connection, wanted: Select[int, int, str, str]) -> list[Run]:
    chosen = wanted.subquery()
    steps_of: defaultdict[str, list[StepRun]] = defaultdict(list)
    steps = select(run_steps.c.run_id, run_steps.c.body).join(chosen, chosen.c.id == run_steps.c.run_id)
    for run_id, body in connection.execute(steps.order_by(run_steps.c.sequence)):
        steps_of[run_id].append(decode(StepRun, body))
    return [
        decode(Run, body).model_copy(update={"steps": tuple(steps_of[run_id])})
        for _, _, run_id, body in connection.execute(wanted)
    ]
