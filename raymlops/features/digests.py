"""Digests of what an ingest id stands for, by which a repeat is told from an id that is used twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import ConflictError

__all__ = ["DIGEST", "RowsDigest", "check_repeat", "rows_digest"]

DIGEST = "raymlops/digest/"
"""Followed by an ingest id: the application id of a table's log whose transaction version is the digest of its rows."""


class RowsDigest:
    """Digest of the rows of some tables of one schema, one behind the other, wherever one ends and the next begins."""

    def __init__(self) -> None:
        self._columns: dict[str, tuple[Any, Any, Any]] = {}
        self._rows = 0

    def update(self, table: Any) -> None:
        """Take in rows."""
        self._rows += table.num_rows
        for field, column in zip(table.schema, table.columns, strict=True):
            name = f"{field.name}\x00{field.type}"
            streams = self._columns.setdefault(name, (hashlib.sha256(), hashlib.sha256(), hashlib.sha256()))
            for chunk in column.chunks:
                streams[0].update(chunk.is_valid().cast(pa.uint8()).to_numpy())
                values, lengths = _bytes(chunk)
                streams[1].update(values)
                streams[2].update(lengths)

    def short(self) -> int:
        """The first 62 bits, as the log of a table keeps them; columns count in no order."""
        whole = hashlib.sha256(str(self._rows).encode())
        for name, streams in sorted(self._columns.items()):
            whole.update(name.encode())
            for stream in streams:
                whole.update(stream.digest())
        return int.from_bytes(whole.digest()[:8], "big") >> 2


def rows_digest(table: Any, columns: Iterable[str] | None = None) -> int:
    """The short digest of one table, of some of its columns or of all."""
    digest = RowsDigest()
    digest.update(table if columns is None else table.select(list(columns)))
    return digest.short()


def check_repeat(name: str, ingest_id: str, kept: int | None, given: int | None) -> None:
    """Refuse an ingest id that comes with other rows than before.

    Args:
        name: Name of the table.
        ingest_id: The id, which the table knows.
        kept: Digest of the rows it came with; ``None`` where that was not kept.
        given: Digest of the rows it comes with now; ``None`` where nobody says.

    Raises:
        ConflictError: the rows are others.
    """
    if kept is not None and given is not None and kept != given:
        rule = "an id stands for the same rows for ever: take a new id for new rows"
        raise ConflictError(f"table {name!r}: id {ingest_id!r} came with other rows before: {rule}", table=name)


def _bytes(array: Any) -> tuple[Any, Any]:
    """The bytes of the values, and their lengths where these differ; a null is as empty or zero."""
    types, given = pa.types, array.type
    if types.is_dictionary(given):
        return _bytes(array.dictionary_decode())
    if types.is_string(given) or types.is_large_string(given) or types.is_binary(given) or types.is_large_binary(given):
        kind = pa.large_binary() if "binary" in str(given) else pa.large_string()
        full = pc.fill_null(array.cast(kind), pa.scalar(b"" if kind == pa.large_binary() else "", kind))
        _, ends, data = full.buffers()
        offsets = np.frombuffer(ends, np.int64)[full.offset : full.offset + len(full) + 1]
        if not len(full) or data is None:
            return b"", np.zeros(len(full), np.int64)
        return memoryview(data)[offsets[0] : offsets[-1]], np.diff(offsets)
    if types.is_boolean(given):
        return pc.fill_null(array, False).cast(pa.uint8()).to_numpy(), b""
    if types.is_temporal(given) and not types.is_interval(given):
        array = array.cast(pa.int32() if given.bit_width == 32 else pa.int64())
    if types.is_integer(array.type) or types.is_floating(array.type):
        zero = pa.scalar(0, pa.int8()).cast(array.type)
        return np.ascontiguousarray(pc.fill_null(array, zero).to_numpy()), b""
    texts = [repr(value).encode() for value in array.to_pylist()]
    return b"".join(texts), np.array([len(text) for text in texts], np.int64)
