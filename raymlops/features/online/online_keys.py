"""Entity keys as bytes: the addresses in the online store of all keys of a table, and of the rows of a request."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from raymlops.errors import DataError, SchemaMismatch
from raymlops.features.online.online_store import NOWHERE, address

__all__ = ["RequestKeys", "encode_key", "encode_keys", "key_of_row"]

SMALLEST, LARGEST = -(2**63), 2**63 - 1
_LONGEST_BYTES = 400  # LMDB takes 511 at most, and the view's name goes in front

_PLAIN_BYTES = 200  # up to here ``encode_key`` shortens nothing; what is longer is left to it


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
        DataError: a value is neither null nor of the table's type, an integer beyond 64 bits, or no valid text.
    """
    values: list[int | str] = []
    for position, key in enumerate(keys):
        if key not in row:
            raise SchemaMismatch(f"{owner}: key {key!r} is missing, got {sorted(row)}", column=key)
        value: Any = row[key]
        if value is None:
            return None
        allowed = types[position] if types else (int, str)
        fits = isinstance(value, allowed) and not isinstance(value, bool)
        if not fits:
            want = allowed.__name__ if isinstance(allowed, type) else "int or str"
            raise DataError(f"{owner}: key {key!r} must be {want}, got {value!r}", column=key)
        if isinstance(value, int) and not SMALLEST <= value <= LARGEST:
            raise DataError(f"{owner}: key {key!r} must fit 64 bits, got {value!r}", column=key)
        values.append(value)
    try:
        return encode_key(values)
    except UnicodeEncodeError as error:
        raise DataError(f"{owner}: keys must be valid text, got {values!r}", columns=list(keys)) from error


def encode_keys(distinct: pl.DataFrame, keys: Sequence[str]) -> tuple[list[bytes], Any]:
    """The bytes of all keys of a table, ascending.

    Args:
        distinct: Distinct keys without nulls: integers or strings.
        keys: The key columns; none at all: the one entity of the world.

    Returns:
        What ``encode_key`` gives, sorted; and the row of ``distinct`` that each is from.
    """
    if not keys:
        return [b""], pl.Series([0]).to_numpy()
    parts: list[pl.Expr] = []
    for key in keys:
        column = pl.col(key)
        if distinct.schema[key] == pl.String:
            parts += [pl.lit("s"), column.str.len_bytes().cast(pl.String), pl.lit(":"), column]
        else:
            parts += [pl.lit("i"), column.cast(pl.String), pl.lit(":")]
    encoded = distinct.select(pl.concat_str(parts).cast(pl.Binary)).to_series()
    longer = encoded.bin.size() > _PLAIN_BYTES
    if longer.any():
        rows = distinct.select(keys).filter(longer).rows()
        encoded = encoded.scatter(longer.arg_true(), [encode_key(row) for row in rows])
    order = encoded.arg_sort()
    return encoded.gather(order).to_list(), order.to_numpy()


class RequestKeys:
    """Finds the addresses of request rows in one view. Immutable.

    Args:
        view: ``NAME@VERSION``.
        columns: The columns of a request that hold the keys.
        types: ``int`` or ``str`` for each; empty while the view's table has no rows.
        owner: Whom an error names.
    """

    def __init__(self, view: str, columns: Sequence[str], types: Sequence[type], owner: str) -> None:
        self._columns = tuple(columns)
        self._types = tuple(types)
        self._owner = owner
        self._prefix = address(view, b"")
        self._integer = self._prefix + b"i%d:"
        self._text = self._prefix + b"s%d:%b"

    def addresses(self, rows: Sequence[Mapping[str, object]]) -> list[bytes]:
        """One address per row; ``NOWHERE`` where a part of the key is null.

        Raises:
            SchemaMismatch: a key column is missing.
            DataError: a value is neither null nor of the table's type.
        """
        if len(self._columns) == 1 and self._types:
            (column,), (kind,) = self._columns, self._types
            values: list[Any] = [row.get(column) for row in rows]
            if set(map(type, values)) == {kind}:
                quick = self._integers(values) if kind is int else self._texts(values)
                if quick is not None:
                    return quick
        return [self._address(row) for row in rows]

    def _integers(self, values: Sequence[int]) -> list[bytes] | None:
        if min(values) < SMALLEST or max(values) > LARGEST:
            return None
        template = self._integer
        return [template % value for value in values]

    def _texts(self, values: Sequence[str]) -> list[bytes] | None:
        template, prefix = self._text, self._prefix
        try:
            texts = [value.encode() for value in values]
        except UnicodeEncodeError:
            return None
        if max(map(len, texts)) > _PLAIN_BYTES - 8:
            return [prefix + encode_key([value]) for value in values]
        return [template % (len(text), text) for text in texts]

    def _address(self, row: Mapping[str, object]) -> bytes:
        key = key_of_row(row, self._columns, self._types, self._owner)
        return NOWHERE if key is None else self._prefix + key
