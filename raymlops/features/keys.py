"""Entity keys: as dense numbers for joins, as bytes for the online store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from raymlops.errors import DataError, SchemaMismatch
from raymlops.features.schema import check_columns, key_column

__all__ = ["UNKNOWN", "encode_key", "group_rows", "key_of_row", "match_rows"]

UNKNOWN = -1
"""Number of a key that has no rows, or has a null in it."""

_LONGEST_BYTES = 400  # LMDB takes 511 at most, and the view's name goes in front

Ints = npt.NDArray[np.int64]


def group_rows(table: Any, keys: Sequence[str]) -> tuple[Ints, pl.DataFrame]:
    """Number the keys of a table's rows.

    Args:
        table: Rows with conforming key columns.
        keys: The key columns.

    Returns:
        One number per row, ``UNKNOWN`` where a key is null; and the distinct keys, row ``i`` being key ``i``.
    """
    if not keys:
        return np.zeros(table.num_rows, np.int64), pl.DataFrame({"": [True]})
    rows = pl.DataFrame(table.select(keys))
    distinct = rows.drop_nulls().unique(maintain_order=True)
    return _numbers(rows, distinct, keys), distinct


def match_rows(
    owner: str, spine: Any, keys: Sequence[str], distinct: pl.DataFrame, *, columns: Sequence[str] | None = None
) -> Ints:
    """Number the keys of other rows by the same numbers.

    Args:
        owner: Whom an error names.
        spine: Rows with the key columns.
        keys: The key columns of ``distinct``.
        distinct: From ``group_rows``.
        columns: The spine's columns that hold them, in the same order; ``None``: they have the same names.

    Returns:
        One number per row, ``UNKNOWN`` where the key is not among ``distinct`` or has a null.

    Raises:
        SchemaMismatch: a key column is missing, or has strings where the table has integers, or the reverse.
    """
    named = keys if columns is None else columns
    check_columns(owner, spine.column_names, named)
    if not keys:
        return np.zeros(spine.num_rows, np.int64)
    matched = {}
    for key, name in zip(keys, named, strict=True):
        column = key_column(owner, name, spine[name])
        want = pa.int64() if distinct.schema[key] == pl.Int64 else pa.string()
        if column.type != want and spine[name].null_count < spine.num_rows and len(distinct):
            reason = f"{owner}: key {name!r} must be {want} as in the view's table, got {spine[name].type}"
            raise SchemaMismatch(reason, column=name)
        matched[key] = column if column.type == want else pa.nulls(spine.num_rows, want)
    return _numbers(pl.DataFrame(pa.table(matched)), distinct, keys)


def _numbers(rows: pl.DataFrame, distinct: pl.DataFrame, keys: Sequence[str]) -> Ints:
    numbered = distinct.with_row_index("_number")
    joined = rows.join(numbered, on=list(keys), how="left", maintain_order="left")
    numbers: Ints = joined["_number"].cast(pl.Int64).fill_null(UNKNOWN).to_numpy()
    return numbers


def encode_key(values: Sequence[int | str]) -> bytes:
    """The bytes of a composite key: different for different keys, whatever their parts hold."""
    parts = []
    for value in values:
        if isinstance(value, str):
            text = value.encode()
            parts.append(b"s%d:%b" % (len(text), text))
        else:
            parts.append(b"i%d:" % value)
    encoded = b"".join(parts)
    return encoded if len(encoded) <= _LONGEST_BYTES else b"h" + hashlib.blake2b(encoded, digest_size=32).digest()


def key_of_row(row: Mapping[str, object], keys: Sequence[str], types: Sequence[type], owner: str) -> bytes | None:
    """The bytes of the key in a request row; ``None`` where a part is null.

    Args:
        row: Column name -> value.
        keys: The key columns.
        types: ``int`` or ``str`` for each, as in the view's table; empty while the table has no rows.
        owner: Whom an error names.

    Raises:
        SchemaMismatch: a key column is missing.
        DataError: a value is neither null nor of the table's type.
    """
    values: list[int | str] = []
    for position, key in enumerate(keys):
        if key not in row:
            raise SchemaMismatch(f"{owner}: key {key!r} is missing, got {sorted(row)}", column=key)
        value = row[key]
        if value is None:
            return None
        allowed = types[position] if types else (int, str)
        if isinstance(value, bool) or not isinstance(value, allowed):
            want = allowed.__name__ if isinstance(allowed, type) else "int or str"
            raise DataError(f"{owner}: key {key!r} must be {want}, got {value!r}", column=key)
        values.append(value)  # type: ignore[arg-type]
    return encode_key(values)
