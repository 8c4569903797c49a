"""Sketches: quantiles and distinct counts of constant size, whatever the rows, that add up."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from datasketches import kll_doubles_sketch
from numpy.typing import NDArray

from raymlops.errors import DataError

__all__ = ["DistinctSketch", "KnownValues", "QuantileSketch", "hash_texts"]

QUANTILE_K = 1024
"""A rank is off by at most 0.27% of the rows, with 99% confidence; a sketch takes up to 24 kB."""
REGISTER_BITS = 12
"""4,096 registers: the relative standard error of a distinct count is 1.6%."""
_HASH_BITS = 64
_FEWEST_KNOWN_BITS = 10
_MOST_KNOWN_BITS = 20
_HASHED_AT_ONCE = 1 << 15
_SPARSE = 16
"""A set of values is spread over this many times as many bits, while there are enough."""

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]

_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class QuantileSketch:
    """Quantiles of finite numbers (KLL). ``a + b`` sketches both; counts and extremes are exact. Immutable.

    Which of two numbers a full sketch keeps is drawn at random, so sketches of the same numbers need not be
    equal. Their ranks are off by less than 0.3% of the rows, with 99% confidence.
    """

    def __init__(self, values: Floats | None = None) -> None:
        self._sketch = kll_doubles_sketch(QUANTILE_K)
        if values is not None and values.size:
            self._sketch.update(np.ascontiguousarray(values, dtype=np.float64))

    def __add__(self, other: QuantileSketch) -> QuantileSketch:
        """The sketch of both."""
        both = QuantileSketch()
        both._sketch.merge(self._sketch)
        both._sketch.merge(other._sketch)
        return both

    @property
    def rows(self) -> int:
        """Numbers sketched, exactly."""
        return int(self._sketch.n)

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """For each share, the least number that about so much of the rows does not exceed; NaN where there are none."""
        if self._sketch.is_empty():
            return [math.nan] * len(shares)
        return [float(value) for value in self._sketch.get_quantiles(list(shares), True)]

    def ranks(self, values: Sequence[float]) -> list[float]:
        """Share of the rows at or below each value; NaN where there are no rows."""
        if self._sketch.is_empty():
            return [math.nan] * len(values)
        return [float(self._sketch.get_rank(value, True)) for value in values]

    def __reduce__(self) -> tuple[Callable[[str], QuantileSketch], tuple[str]]:
        """How it travels between processes, which the library's own class cannot."""
        return QuantileSketch.loads, (self.dumps(),)

    def dumps(self) -> str:
        """Text to store."""
        return base64.b64encode(self._sketch.serialize()).decode()

    @classmethod
    def loads(cls, text: str) -> Self:
        """The opposite of ``dumps``.

        Raises:
            DataError: ``text`` is no sketch.
        """
        made = cls()
        try:
            made._sketch = kll_doubles_sketch.deserialize(base64.b64decode(text, validate=True))
        except (ValueError, RuntimeError, IndexError) as error:
            raise DataError(f"a quantile sketch must be one of KLL, got {len(text)} other characters") from error
        return made


class DistinctSketch:
    """Number of distinct texts (HyperLogLog). ``a + b`` is the very sketch of both, in any order. Immutable."""

    def __init__(self, hashes: Hashes | None = None) -> None:
        self._registers = np.zeros(1 << REGISTER_BITS, dtype=np.uint8)
        if hashes is not None and hashes.size:
            places = (hashes >> np.uint64(_HASH_BITS - REGISTER_BITS)).astype(np.intp)
            rest = (hashes << np.uint64(REGISTER_BITS)) | np.uint64((1 << REGISTER_BITS) - 1)
            np.maximum.at(self._registers, places, (_leading_zeros(rest) + 1).astype(np.uint8))

    def __add__(self, other: DistinctSketch) -> DistinctSketch:
        """The sketch of both."""
        both = DistinctSketch()
        np.maximum(self._registers, other._registers, out=both._registers)
        return both

    @property
    def error(self) -> float:
        """Relative standard error of the count."""
        return 1.04 / math.sqrt(self._registers.size)

    @property
    def count(self) -> float:
        """The estimate, by Ertl's improved raw estimator (2017), which needs no table of corrections."""
        size, longest = self._registers.size, _HASH_BITS - REGISTER_BITS
        of_length = np.bincount(self._registers, minlength=longest + 2)
        total = size * _tau(1 - of_length[longest + 1] / size)
        for length in range(longest, 0, -1):
            total = (total + of_length[length]) / 2
        total += size * _sigma(of_length[0] / size)
        return size * size / (2 * math.log(2) * total) if math.isfinite(total) else 0.0

    def dumps(self) -> str:
        """Text to store; equal sketches give equal text."""
        return base64.b64encode(self._registers.tobytes()).decode()

    @classmethod
    def loads(cls, text: str) -> Self:
        """The opposite of ``dumps``.

        Raises:
            DataError: ``text`` is no sketch.
        """
        made = cls()
        made._registers = _decode(text, 1 << REGISTER_BITS, "a distinct sketch")
        return made


@dataclass(frozen=True)
class KnownValues:
    """Which texts a reference held, as one bit per hash: never forgets one, and may take another for one.

    Attributes:
        bits: A power of two of them, eight to a byte.
        taken: Share of texts never seen that are taken for known ones.
    """

    bits: NDArray[np.uint8]

    @classmethod
    def fit(cls, hashes: Hashes) -> Self:
        """Remember N hashes; the size is bounded, at the price of a larger ``taken``."""
        number = np.unique(hashes).size
        wanted = math.ceil(math.log2(max(1, number * _SPARSE)))
        places = 1 << min(max(wanted, _FEWEST_KNOWN_BITS), _MOST_KNOWN_BITS)
        flags = np.zeros(places, dtype=np.bool_)
        flags[(hashes & np.uint64(places - 1)).astype(np.intp)] = True
        return cls(np.packbits(flags))

    @property
    def taken(self) -> float:
        return float(np.bitwise_count(self.bits).sum()) / (8 * self.bits.size)

    def unknown(self, hashes: Hashes) -> int:
        """How many of N hashes are surely of texts never seen."""
        flags = np.unpackbits(self.bits).astype(np.bool_)
        return int(np.count_nonzero(~flags[(hashes & np.uint64(flags.size - 1)).astype(np.intp)]))

    def new_share(self, unknown: int, rows: int) -> float:
        """Share of the rows whose text was never seen, corrected for those taken for known ones; 0 of no rows."""
        if not rows or self.taken >= 1:
            return 0.0
        return min(1.0, unknown / rows / (1 - self.taken))

    def dumps(self) -> str:
        """Text to store."""
        return base64.b64encode(self.bits.tobytes()).decode()

    @classmethod
    def loads(cls, text: str) -> Self:
        """The opposite of ``dumps``.

        Raises:
            DataError: ``text`` is something else.
        """
        bits = _decode(text, None, "known values")
        if bits.size & (bits.size - 1) or not bits.size:
            raise DataError(f"known values must be a power of two of bytes, got {bits.size}")
        return cls(bits)


def hash_texts(texts: pa.Array) -> Hashes:
    """A 64-bit hash of each text, the same in every process and release; nulls are left out.

    Args:
        texts: N texts as one array of strings.

    Returns:
        One hash per text that is not null, in order.
    """
    present = texts.drop_null().cast(pa.large_string())
    starts = range(0, len(present), _HASHED_AT_ONCE)
    parts = [_hash(present.slice(start, _HASHED_AT_ONCE)) for start in starts]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)


def _hash(present: pa.Array) -> Hashes:
    """A polynomial of each text's bytes, modulo 2^64, spread over all bits."""
    _, offsets, data = present.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[present.offset : present.offset + len(present) + 1]
    lengths = np.diff(ends)
    codes = (
        np.frombuffer(data, dtype=np.uint8)[ends[0] : ends[-1]].astype(np.uint64) if data else np.empty(0, np.uint64)
    )
    place = np.arange(codes.size) - np.repeat(ends[:-1] - ends[0], lengths)
    powers = np.cumprod(np.full(int(lengths.max(initial=0)) + 1, _BASE), dtype=np.uint64)
    terms = np.append((codes + np.uint64(1)) * powers[place], np.uint64(0))
    sums = np.add.reduceat(terms, ends[:-1] - ends[0])
    sums[lengths == 0] = 0
    return _mixed(sums + lengths.astype(np.uint64) * _MIX[0])


def _mixed(values: Hashes) -> Hashes:
    """Spread over all bits (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * _MIX[0]
    values = (values ^ (values >> np.uint64(27))) * _MIX[1]
    mixed: Hashes = values ^ (values >> np.uint64(31))
    return mixed


def _leading_zeros(values: Hashes) -> NDArray[np.int64]:
    """Zero bits before the first one of each value, none of which is 0."""
    zeros = np.zeros(values.size, dtype=np.int64)
    for width in (32, 16, 8, 4, 2, 1):
        empty = values >> np.uint64(_HASH_BITS - width) == 0
        zeros[empty] += width
        values = np.where(empty, values << np.uint64(width), values)
    return zeros


def _sigma(share: float) -> float:
    if share == 1:
        return math.inf
    weight, total, last = 1.0, share, -1.0
    while total != last:
        share, last = share * share, total
        total, weight = total + share * weight, weight * 2
    return total


def _tau(share: float) -> float:
    if share in {0.0, 1.0}:
        return 0.0
    weight, total, last = 1.0, 1 - share, -1.0
    while total != last:
        share, last, weight = math.sqrt(share), total, weight / 2
        total -= (1 - share) ** 2 * weight
    return total / 3


def _decode(text: str, size: int | None, what: str) -> NDArray[np.uint8]:
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise DataError(f"{what} must be base64, got {len(text)} other characters") from error
    if size is not None and len(content) != size:
        raise DataError(f"{what} must be of {size} bytes, got {len(content)}")
    return np.frombuffer(content, dtype=np.uint8).copy()
