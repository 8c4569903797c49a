"""Buckets of keys: rows with equal keys are in the same bucket, in every process and for every table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["MOST_BUCKETS", "bucket_numbers", "order_by_bucket"]

MOST_BUCKETS = 1 << 16

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST = np.uint64(31)
_HALF = np.uint64(32)

Hashes = npt.NDArray[np.uint64]
Buckets = npt.NDArray[np.uint16]


def bucket_numbers(columns: Sequence[Any], buckets: int, rows: int) -> Buckets:
    """The bucket of each key, by a hash that is the same on every machine and in every release.

    Args:
        columns: The key columns, int64 or string; a null counts as 0 or as the empty text.
        buckets: How many there are, at most ``MOST_BUCKETS``.
        rows: Number of keys.
    """
    hashed = np.zeros(rows, np.uint64)
    for column in columns:
        hashed *= _STEP
        hashed += _hashes(column)
        hashed = _mixed(hashed)
    hashed >>= _HALF
    hashed *= np.uint64(buckets)
    hashed >>= _HALF
    return hashed.astype(np.uint16)


def order_by_bucket(numbers: Buckets, buckets: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Positions sorted by bucket, otherwise as they were; and where each bucket starts, with the end."""
    starts = np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=buckets))])
    return np.argsort(numbers, kind="stable"), starts


def _hashes(column: Any) -> Hashes:
    if pa.types.is_integer(column.type):
        integers: Hashes = pc.fill_null(column, 0).cast(pa.int64()).to_numpy().view(np.uint64)
        return integers
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = []
    for chunk in chunks:
        encoded = pc.fill_null(chunk, "").cast(pa.string()).dictionary_encode()
        parts.append(_text_hashes(encoded.dictionary)[encoded.indices.to_numpy()])
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def _text_hashes(texts: Any) -> Hashes:
    """Polynomials over the bytes of each text, modulo 2**64, from one running sum over all of them."""
    _, offsets_buffer, data = texts.buffers()
    if data is None or not len(texts):
        return np.zeros(len(texts), np.uint64)
    offsets = np.frombuffer(offsets_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    characters = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]].astype(np.uint64) + np.uint64(1)
    offsets -= offsets[0]
    lengths = np.diff(offsets)
    places = np.arange(len(characters)) - np.repeat(offsets[:-1], lengths)
    powers = np.cumprod(np.full(int(lengths.max(initial=0)) + 1, _STEP))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(characters * powers[places])])
    hashes: Hashes = sums[offsets[1:]] - sums[offsets[:-1]]
    return hashes


def _mixed(hashed: Hashes) -> Hashes:
    for shift, factor in _MIX:
        hashed = (hashed ^ (hashed >> shift)) * factor
    mixed: Hashes = hashed ^ (hashed >> _LAST)
    return mixed
