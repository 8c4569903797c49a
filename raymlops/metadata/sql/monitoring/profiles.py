"""Profiles of closed windows by version, role and segment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from raymlops.clock import from_us, to_us
from raymlops.errors import StaleWrite
from raymlops.metadata.sql.schema import tables
from raymlops.metadata.sql.store import SqlStore
from raymlops.records.windows import WindowProfile

__all__ = ["SqlProfileStore"]

window_profiles = Table(
    "window_profiles",
    tables,
    Column("model", String, primary_key=True),
    Column("start_us", BigInteger, primary_key=True, autoincrement=False),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("role", String, primary_key=True),
    Column("segment", String, primary_key=True),
    Column("late", Boolean, primary_key=True),
    Column("champion", Integer, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("profile", LargeBinary, nullable=False),
)

profile_marks = Table(
    "profile_marks",
    tables,
    Column("model", String, primary_key=True),
    Column("body", Text, nullable=False),
)

_columns = window_profiles.c


class SqlProfileStore(SqlStore):
    """``ProfileStore`` in SQL."""

    def put_profiles(self, model: str, start: datetime, profiles: Sequence[WindowProfile]) -> None:
        with self._database.write() as connection:
            connection.execute(
                delete(window_profiles).where(_columns.model == model, _columns.start_us == to_us(start))
            )
            _insert(connection, profiles)

    def list_profiles(
        self, model: str, start: datetime | None = None, end: datetime | None = None, segment: str | None = None
    ) -> list[WindowProfile]:
        wanted = select(window_profiles).where(_columns.model == model)
        wanted = wanted.order_by(_columns.start_us, _columns.version, _columns.role, _columns.segment, _columns.late)
        if start is not None:
            wanted = wanted.where(_columns.start_us >= to_us(start))
        if end is not None:
            wanted = wanted.where(_columns.start_us < to_us(end))
        if segment is not None:
            wanted = wanted.where(_columns.segment == segment)
        with self._database.read() as connection:
            return [
                WindowProfile(
                    model=row.model,
                    start=from_us(row.start_us),
                    version=row.version,
                    role=row.role,
                    segment=row.segment,
                    late=row.late,
                    champion=row.champion,
                    rows=row.rows,
                    profile=bytes(row.profile),
                )
                for row in connection.execute(wanted)
            ]

    def late_rows(self, model: str, start: datetime | None = None, end: datetime | None = None) -> dict[datetime, int]:
        wanted = select(_columns.start_us, func.sum(_columns.rows)).group_by(_columns.start_us)
        wanted = wanted.where(_columns.model == model, _columns.late, _columns.segment == "")
        if start is not None:
            wanted = wanted.where(_columns.start_us >= to_us(start))
        if end is not None:
            wanted = wanted.where(_columns.start_us < to_us(end))
        with self._database.read() as connection:
            return {from_us(at): int(rows) for at, rows in connection.execute(wanted.order_by(_columns.start_us))}

    def profile_marks(self, model: str) -> dict[str, int] | None:
        with self._database.read() as connection:
            body = _marks(connection, model)
        return None if body is None else {str(name): int(mark) for name, mark in orjson.loads(body).items()}

    def add_late_profiles(
        self,
        model: str,
        profiles: Sequence[WindowProfile],
        marks: Mapping[str, int],
        previous: Mapping[str, int] | None,
    ) -> None:
        body = _encode(marks)
        with self._database.write() as connection:
            known = _marks(connection, model)
            if known == body:
                return
            if known != (None if previous is None else _encode(previous)):
                raise StaleWrite(f"late rows of model {model!r} were added by another meanwhile", model=model)
            for profile in profiles:
                connection.execute(delete(window_profiles).where(*_key(profile)))
            _insert(connection, profiles)
            if known is None:
                connection.execute(insert(profile_marks).values(model=model, body=body))
            else:
                connection.execute(update(profile_marks).where(profile_marks.c.model == model).values(body=body))

    def drop_profiles(self, model: str, before: datetime) -> int:
        outdated = delete(window_profiles).where(_columns.model == model, _columns.start_us < to_us(before))
        with self._database.write() as connection:
            return int(connection.execute(outdated).rowcount)


def _key(profile: WindowProfile) -> list[ColumnElement[bool]]:
    return [
        _columns.model == profile.model,
        _columns.start_us == to_us(profile.start),
        _columns.version == profile.version,
        _columns.role == profile.role,
        _columns.segment == profile.segment,
        _columns.late == profile.late,
    ]


def _insert(connection: Connection, profiles: Sequence[WindowProfile]) -> None:
    for profile in profiles:
        values = profile.model_dump(exclude={"start"})
        connection.execute(insert(window_profiles).values(start_us=to_us(profile.start), **values))


def _marks(connection: Connection, model: str) -> str | None:
    return connection.execute(select(profile_marks.c.body).where(profile_marks.c.model == model)).scalar_one_or_none()


def _encode(marks: Mapping[str, int]) -> str:
    return orjson.dumps(dict(marks), option=orjson.OPT_SORT_KEYS).decode()
