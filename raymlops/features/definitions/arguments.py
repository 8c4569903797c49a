"""What callers hand in, checked where it comes in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import pyarrow as pa

from raymlops.clock import to_us
from raymlops.errors import ConfigError, DataError, SchemaMismatch

__all__ = ["as_table", "check_free", "check_table_version", "instant_us"]


def as_table(owner: str, given: object) -> Any:
    """A table; a record batch is one of a single chunk.

    Raises:
        SchemaMismatch: it is neither.
    """
    if isinstance(given, pa.RecordBatch):
        return pa.Table.from_batches([given])
    if not isinstance(given, pa.Table):
        raise SchemaMismatch(f"{owner} must be a pyarrow.Table, got {type(given).__name__}", got=type(given).__name__)
    return given


def check_free(owner: str, given: Iterable[str], features: Iterable[str]) -> None:
    """No column may have the name of a feature that is to be added.

    Raises:
        SchemaMismatch: one has.
    """
    taken = set(given)
    for name in features:
        if name in taken:
            raise SchemaMismatch(f"{owner}: column {name!r} is the name of a feature, rename it", column=name)


def check_table_version(owner: str, version: object) -> None:
    """A version of a table is a number.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(version, int) or isinstance(version, bool):
        raise ConfigError(f"{owner}: a table's version must be an integer, got {version!r}")


def instant_us(name: str, given: object) -> int:
    """An instant as microseconds since 1970.

    Raises:
        DataError: it is not a datetime, or naive.
    """
    if not isinstance(given, datetime):
        raise DataError(f"{name} must be a datetime, got {given!r}")
    if given.tzinfo is None:
        raise DataError(f"{name} must be tz-aware, got {given!r}")
    return to_us(given)
