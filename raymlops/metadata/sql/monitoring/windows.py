"""Monitoring windows and their profiles."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Column, LargeBinary, String, Table, Text, insert, select, update

from raymlops.clock import to_us
from raymlops.errors import NotFoundError
from raymlops.metadata.sql.schema import tables
from raymlops.metadata.sql.store import SqlStore, encode
from raymlops.records.windows import WindowRecord

__all__ = ["SqlWindowStore"]

windows = Table(
    "windows",
    tables,
    Column("model", String, primary_key=True),
    Column("start_us", BigInteger, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
    Column("profile", LargeBinary, nullable=False),
)


class SqlWindowStore(SqlStore):
    """``WindowStore`` in SQL."""

    def put_window(self, record: WindowRecord, profile: bytes) -> None:
        key = {"model": record.model, "start_us": to_us(record.start)}
        values = {"body": encode(record), "profile": profile}
        with self._database.write() as connection:
            known = update(windows).where(*(windows.c[column] == value for column, value in key.items()))
            if connection.execute(known.values(**values)).rowcount == 0:
                connection.execute(insert(windows).values(**key, **values))

    def list_windows(
        self, model: str, start: datetime | None = None, end: datetime | None = None
    ) -> list[WindowRecord]:
        wanted = select(windows.c.body).where(windows.c.model == model).order_by(windows.c.start_us)
        if start is not None:
            wanted = wanted.where(windows.c.start_us >= to_us(start))
        if end is not None:
            wanted = wanted.where(windows.c.start_us < to_us(end))
        return self._all(WindowRecord, wanted)

    def get_profile(self, model: str, start: datetime) -> bytes:
        wanted = select(windows.c.profile).where(windows.c.model == model, windows.c.start_us == to_us(start))
        with self._database.read() as connection:
            profile = connection.execute(wanted).scalar_one_or_none()
        if profile is None:
            raise NotFoundError(f"model {model!r} has no window that starts at {start.isoformat()}", model=model)
        return bytes(profile)
