"""Digests of a table's content, which do not depend on chunks, buffers or library versions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["content_digest"]

_BATCH_ROWS = 1 << 17


def content_digest(table: Any) -> str:
    """Hex SHA-256 over the columns' names, types and values, in their order; a batch at a time."""
    digest = hashlib.sha256(str(table.num_rows).encode())
    for field, column in zip(table.schema, table.columns, strict=True):
        digest.update(f"\x00{field.name}\x00{field.type}\x00".encode())
        streams = (hashlib.sha256(), hashlib.sha256(), hashlib.sha256())
        for batch in _batches(column):
            streams[0].update(np.packbits(_bools(pc.is_valid(batch))).tobytes())
            for stream, data in zip(streams[1:], _values(batch), strict=True):
                stream.update(data)
        for stream in streams:
            digest.update(stream.digest())
    return digest.hexdigest()


def _batches(column: Any) -> Iterator[Any]:
    """Arrays of the same lengths, however the column is chunked."""
    for start in range(0, len(column), _BATCH_ROWS):
        yield pa.concat_arrays(column.slice(start, _BATCH_ROWS).chunks)


def _bools(array: Any) -> Any:
    return array.to_numpy(zero_copy_only=False)


def _values(array: Any) -> tuple[Any, Any]:
    """The bytes of the values, and their lengths where these differ; a null is as empty or zero."""
    types, given = pa.types, array.type
    if types.is_dictionary(given):
        return _values(array.dictionary_decode())
    if types.is_string(given) or types.is_large_string(given) or types.is_binary(given) or types.is_large_binary(given):
        full = pc.fill_null(array, pa.scalar(b"" if "binary" in str(given) else "", given))
        lengths = pc.binary_length(full).cast(pa.int64()).to_numpy()
        return b"".join(full.cast(_binary(given)).to_pylist()), lengths
    if types.is_boolean(given):
        return np.packbits(_bools(pc.fill_null(array, False))), b""
    if types.is_temporal(given) and not types.is_interval(given):
        array = array.cast(pa.int32() if given.bit_width == 32 else pa.int64())
    if types.is_integer(array.type) or types.is_floating(array.type):
        zero = pa.scalar(0, pa.int8()).cast(array.type)
        return np.ascontiguousarray(pc.fill_null(array, zero).to_numpy()), b""
    try:
        values = array.to_pylist()
    except (OverflowError, ValueError):  # instants and spans that Python has no values for, texts that are none
        values = array.cast(_numbered(given)).to_pylist()
    texts = [repr(value).encode() for value in values]
    return b"".join(texts), np.array([len(text) for text in texts], np.int64)


def _binary(given: Any) -> Any:
    return pa.large_binary() if str(given).startswith("large") else pa.binary()


def _numbered(given: Any) -> Any:
    """A nested type with numbers in place of instants and spans, and bytes in place of texts."""
    types = pa.types
    if types.is_struct(given):
        return pa.struct([field.with_type(_numbered(field.type)) for field in given])
    if types.is_map(given):
        return pa.map_(_numbered(given.key_type), _numbered(given.item_type))
    if types.is_fixed_size_list(given):
        return pa.list_(_numbered(given.value_type), given.list_size)
    if types.is_list(given) or types.is_large_list(given):
        return pa.large_list(_numbered(given.value_type))
    if types.is_temporal(given) and not types.is_interval(given):
        return pa.int32() if given.bit_width == 32 else pa.int64()
    return pa.large_binary() if types.is_string(given) or types.is_large_string(given) else given
