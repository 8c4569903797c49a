"""Digests of ingested rows, which tell a repeated ingest from another one under the same ingest id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import ConflictError
from raymlops.tables.codes import coded_where_few, of_codes, plain_type

__all__ = ["DIGEST", "RowsDigest", "check_repeat", "rows_digest"]

DIGEST = "raymlops/digest/"
"""Followed by an ingest id: the application id of a table's log whose transaction version is the digest of its rows."""

_BATCH_ROWS = 1 << 15  # what it works on stays in the processor's cache
_CODED_ROWS = 1 << 20  # texts of so many rows are hashed once each
_MANY_BYTES = 2048
_PLACES = 64
"""Of texts of one length, so many bytes of each are worked on at once."""
_NULL = np.uint64(0x9E3779B97F4A7C16)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

Hashes = npt.NDArray[np.uint64]


class RowsDigest:
    """Digest of the rows of some tables of one schema, in whatever order and in however many tables they come.

    Codes count as the texts that they stand for.

    Tells different rows apart, not those that somebody makes up to collide.
    """

    def __init__(self) -> None:
        self._columns: set[str] = set()
        self._rows = 0
        self._sum = 0

    def update(self, table: Any) -> None:
        """Take in rows; a table without any says nothing, for the types of its columns may be a guess."""
        if not table.num_rows:
            return
        self._rows += table.num_rows
        self._columns.update(f"{field.name}\x00{plain_type(field.type)}" for field in table.schema)
        salts = [
            np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")) for name in table.schema.names
        ]
        for piece in table.to_batches(max_chunksize=_CODED_ROWS):
            columns = [_hashed_once(column) for column in piece.columns]
            for start in range(0, piece.num_rows, _BATCH_ROWS):
                hashes = np.zeros(min(_BATCH_ROWS, piece.num_rows - start), np.uint64)
                for salt, column in zip(salts, columns, strict=True):
                    part = column[start : start + _BATCH_ROWS]
                    hashes += _mixed((part if isinstance(part, np.ndarray) else _told(part)) ^ salt)
                self._sum = (self._sum + int(_mixed(hashes).sum())) % 2**64

    def short(self) -> int:
        """62 bits, as the log of a table keeps them; columns count in no order."""
        whole = "\x01".join([str(self._rows), str(self._sum), *sorted(self._columns)])
        return int.from_bytes(hashlib.sha256(whole.encode()).digest()[:8], "big") >> 2


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


def _hashed_once(column: Any) -> Any:
    """Hashes of the rows where texts seem to be few, each text hashed once; else the column."""
    types = pa.types
    if types.is_dictionary(column.type) and column.dictionary.null_count:
        column = column.dictionary_decode()
    column = coded_where_few(column)
    return of_codes(column, _hashes, _NULL) if types.is_dictionary(column.type) else column


def _told(array: Any) -> Hashes:
    """One hash per value, nulls alike."""
    found = _hashes(array)
    return np.where(array.is_valid().to_numpy(zero_copy_only=False), found, _NULL) if array.null_count else found


def _hashes(array: Any) -> Hashes:
    """One hash per value; the hashes of nulls have no meaning."""
    types, given = pa.types, array.type
    if types.is_string(given) or types.is_large_string(given):
        return _of_texts(array.cast(pa.large_string()))
    if types.is_binary(given) or types.is_large_binary(given):
        return _of_texts(array.cast(pa.large_binary()))
    if types.is_boolean(given):
        array = array.cast(pa.uint8())
    if types.is_temporal(given) and not types.is_interval(given):
        array = array.cast(pa.int32() if given.bit_width == 32 else pa.int64()).cast(pa.int64())
    if types.is_floating(array.type):
        numbers = pc.fill_null(array.cast(pa.float64()), 0.0).to_numpy()
        bits: Hashes = np.ascontiguousarray(numbers).view(np.uint64)
        return bits
    if types.is_integer(array.type):
        zero = pa.scalar(0, pa.int8()).cast(array.type)
        whole: Hashes = pc.fill_null(array, zero).to_numpy().astype(np.uint64)
        return whole
    texts = [repr(value).encode() for value in array.to_pylist()]
    return _of_texts(pa.array(texts, pa.large_binary()))


def _of_texts(array: Any) -> Hashes:
    """Hash texts: the sum of each byte times a number for its place, and the length."""
    full = pc.fill_null(array, "" if pa.types.is_large_string(array.type) else b"")
    _, ends, data = full.buffers()
    if not len(full):
        return np.zeros(0, np.uint64)
    offsets = np.frombuffer(ends, np.int64)[full.offset : full.offset + len(full) + 1]
    content = np.frombuffer(data, np.uint8) if offsets[-1] > offsets[0] else np.zeros(0, np.uint8)
    starts, lengths = offsets[:-1], np.diff(offsets)
    found: Hashes = lengths.astype(np.uint64)
    short = np.minimum(lengths, _MANY_BYTES)
    shortest, longest = int(short.min()), int(short.max())
    if shortest == longest and 0 < longest < _MANY_BYTES:  # one behind the other, as in a matrix
        weights = np.concatenate([_weighed(place)[:1] for place in range(longest)])
        bytes_of = content[starts[0] : starts[0] + len(starts) * longest].reshape(-1, longest)
        found += weights.sum(dtype=np.uint64)
        for start in range(0, longest, _PLACES):
            found += bytes_of[:, start : start + _PLACES].astype(np.uint64) @ weights[start : start + _PLACES]
        return found
    for place in range(shortest):
        found += _weighed(place)[content[starts + place]]
    by_length = np.argsort(-short, kind="stable") if longest > shortest else short
    having = np.searchsorted(-short[by_length], -np.arange(shortest, longest)) if longest > shortest else ()
    for place, count in zip(range(shortest, longest), having, strict=True):
        rows = by_length[:count]
        found[rows] += _weighed(place)[content[starts[rows] + place]]
    for row in np.flatnonzero(lengths > _MANY_BYTES).tolist():
        start, stop = int(starts[row]), int(starts[row] + lengths[row])
        found[row : row + 1] += _sum_of(content[start + _MANY_BYTES : stop], first=_MANY_BYTES)
    return found


def _sum_of(content: npt.NDArray[np.uint8], first: int) -> Hashes:
    places = np.arange(first + 1, first + len(content) + 1, dtype=np.uint64)
    weighed = (content.astype(np.uint64) + np.uint64(1)) * _mixed(places * _GOLDEN)
    summed: Hashes = np.sum(weighed, dtype=np.uint64, keepdims=True)
    return summed


@cache
def _weighed(place: int) -> Hashes:
    """What each byte adds at a place."""
    weight = _mixed(np.array([place + 1], np.uint64) * _GOLDEN)
    return (np.arange(256, dtype=np.uint64) + np.uint64(1)) * weight


def _mixed(numbers: Hashes) -> Hashes:
    """Every bit of a number over all bits: the finish of SplitMix64."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
