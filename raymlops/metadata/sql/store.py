"""The base class of all SQL stores, and the JSON form of their records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError
from sqlalchemy import Select

from raymlops.clock import Clock
from raymlops.errors import DataError, StorageError
from raymlops.metadata.sql.transactions.database import Database
from raymlops.records.record import Record, canonical_json

__all__ = ["SqlStore", "decode", "encode", "encode_values", "same"]

R = TypeVar("R", bound=Record)


class SqlStore:
    """A store of one entity. Holds no state of its own: any number of threads and processes may share the database.

    Args:
        database: The database of the entity.
        clock: Gives the instants of changes.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def _all(self, cls: type[R], wanted: Select[str]) -> list[R]:
        """The records whose stored forms a statement selects, in its order."""
        with self._database.read() as connection:
            return [decode(cls, body) for body in connection.execute(wanted).scalars()]


def encode(record: Record, *, exclude: set[str] | None = None) -> str:
    """The JSON form a record is stored in.

    Raises:
        DataError: A field holds something that JSON has no form for.
    """
    try:
        return record.model_dump_json(exclude=exclude)
    except (PydanticSerializationError, UnicodeEncodeError) as error:
        raise DataError(f"{type(record).__name__} must hold JSON values only: {error}") from error


def encode_values(values: Mapping[str, object] | None, what: str) -> str:
    """The JSON form that facts beside a record are stored in.

    Raises:
        DataError: A value has none.
    """
    try:
        return canonical_json(dict(values or {})).decode()
    except TypeError as error:
        raise DataError(f"{what} must be JSON values: {error}") from error


def decode(cls: type[R], body: str) -> R:
    """The record stored as ``body``.

    Raises:
        StorageError: The stored form is not a ``cls``.
    """
    try:
        return cls.model_validate_json(body)
    except ValidationError as error:
        raise StorageError(f"stored {cls.__name__} cannot be read: {error}") from error


def same(one: Record, other: Record) -> bool:
    """Whether two records are stored alike: NaN equals NaN, a tuple the list it is read back as."""
    return encode(one) == encode(other)
