"""The key columns of a spine, matched with the keys of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymlops.errors import SchemaMismatch
from raymlops.features.definitions.schema import check_columns, key_column
from raymlops.features.offline.key_numbers import UNKNOWN, KeyIndex

__all__ = ["key_columns", "match_rows"]

Ints = npt.NDArray[np.int64]


def match_rows(owner: str, spine: Any, index: KeyIndex, columns: Sequence[str]) -> Ints:
    """Number the keys of other rows by the same numbers.

    Args:
        owner: Whom an error names.
        spine: Rows with the key columns.
        index: From ``group_rows``.
        columns: The spine's columns that hold the keys, in the index's order.

    Returns:
        One number per row, ``UNKNOWN`` where the key has no number or a part of it is null.

    Raises:
        SchemaMismatch: a key column is missing, or has strings where the table has integers, or the reverse.
    """
    if not columns:
        return np.zeros(spine.num_rows, np.int64)
    if not len(index):
        key_columns(owner, spine, columns)
        return np.full(spine.num_rows, UNKNOWN)
    return index.find(key_columns(owner, spine, columns, list(index.types.values())))


def key_columns(owner: str, spine: Any, columns: Sequence[str], types: Sequence[Any] | None = None) -> list[Any]:
    """The key columns of a spine, as int64 or string.

    Args:
        owner: Whom an error names.
        spine: Rows with the key columns.
        columns: Their names.
        types: The types they must have, one each; ``None``: either.

    Raises:
        SchemaMismatch: a column is missing, or of another type. One of nulls alone has any type.
    """
    check_columns(owner, spine.column_names, columns)
    found = []
    for place, name in enumerate(columns):
        column = key_column(owner, name, spine[name])
        if types is not None and column.type != types[place]:
            if spine[name].null_count < spine.num_rows:
                reason = f"{owner}: key {name!r} must be {types[place]} as in the view's table, got {spine[name].type}"
                raise SchemaMismatch(reason, column=name)
            column = pa.nulls(spine.num_rows, types[place])
        found.append(column)
    return found
