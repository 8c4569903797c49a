"""Instants of keyed rows, put in order and searched, as plain integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["Moments", "total_order"]

_BITS = 62  # one less than an int64 has, so that the cell after the last still is one
_BLOCK = 1 << 15  # rows whose arithmetic stays in the processor's cache

Ints = npt.NDArray[np.int64]


class Moments:
    """Instants of keyed rows, in order, to be searched for many keys and instants at once.

    Key, as much of the instant as fits, and the row's position are packed into one integer, and those are sorted:
    several times as fast as rows. Rows with the same key and the same part of the instant share a cell. What is in a
    cell is then sorted by itself; of most tables that is next to nothing.

    Attributes:
        order: Positions of the rows, sorted by key, instant, and what is to break ties; equal rows keep their order.

    Args:
        keys: Numbers of the rows' keys, from 0 on.
        instants_us: The instants.
        ties: What rows of equal key and instant are sorted by, the most significant first.
    """

    def __init__(self, keys: Ints, instants_us: Ints, *ties: Ints) -> None:
        rows = len(keys)
        self._instants_us = instants_us
        self._low = int(instants_us.min()) if rows else 0
        self._high = int(instants_us.max()) if rows else 0
        self._position_bits = max(rows - 1, 0).bit_length()
        self._beyond = int(keys.max()) + 1 if rows else 0
        key_bits = self._beyond.bit_length()
        instant_bits = (self._high - self._low).bit_length()
        self._kept_bits = max(min(instant_bits, _BITS - self._position_bits - key_bits), 0)
        self._dropped_bits = instant_bits - self._kept_bits
        packed = np.empty(rows, np.int64)
        for block in _blocks(rows):
            cells = self._cells(keys[block], instants_us[block])
            cells <<= self._position_bits
            np.bitwise_or(cells, np.arange(block.start, block.stop), out=packed[block])
        self._packed: Ints = pl.Series(packed).sort().to_numpy()
        self.order: Ints = self._packed & ((1 << self._position_bits) - 1)
        if ties or self._dropped_bits:
            self._sort_within_cells([keys, instants_us, *ties])

    def __len__(self) -> int:
        return len(self.order)

    def at(self, places: Ints) -> Ints:
        """The instants at some places in the order."""
        instants: Ints = self._instants_us[self.order[places]]
        return instants

    def count_until(self, keys: Ints, at_us: Ints) -> Ints:
        """Place in the order just after the last row of each key with an instant of at most ``at_us``.

        Fastest where the questions are sorted by key and instant.
        """
        if not len(self):
            return np.zeros(len(keys), np.int64)
        within = np.clip(at_us, self._low, self._high)
        cells = self._cells(np.minimum(keys, self._beyond), within)
        cells += at_us >= self._low
        until = np.searchsorted(self._packed, cells << self._position_bits)
        if self._dropped_bits:
            self._leave_later(until, cells - 1, at_us)
        return until

    def _cells(self, keys: Ints, instants_us: Ints) -> Ints:
        # unsigned, as far apart as instants may be
        cells = (instants_us - self._low).view(np.uint64)
        cells >>= np.uint64(self._dropped_bits)
        packed: Ints = cells.view(np.int64)
        packed |= keys << self._kept_bits
        return packed

    def _sort_within_cells(self, columns: Sequence[Ints]) -> None:
        shared = np.zeros(len(self), np.bool_)
        for block in _blocks(len(self) - 1):
            after = slice(block.start + 1, block.stop + 1)
            same = (self._packed[block] ^ self._packed[after]) < 1 << self._position_bits
            shared[block] |= same
            shared[after] |= same
        places = np.flatnonzero(shared)
        if not len(places):
            return
        rows = self.order[places]
        frame = pl.DataFrame({str(number): column[rows] for number, column in enumerate(columns)})
        sorting = frame.select(pl.arg_sort_by(frame.columns, maintain_order=True).cast(pl.Int64)).to_series().to_numpy()
        self.order[places] = rows[sorting]

    def _leave_later(self, until: Ints, cells: Ints, at_us: Ints) -> None:
        """Step back, in place, over rows of the last cell that are later than asked: a search by halves of each."""
        last = np.maximum(until, 1) - 1
        inside = (self._packed[last] >> self._position_bits) == cells
        asked = np.flatnonzero(inside & (at_us >= self._low) & (self.at(last) > at_us))
        first = np.searchsorted(self._packed, cells[asked] << self._position_bits)
        end = until[asked] - 1
        while (first < end).any():
            middle = (first + end) >> 1
            later = self.at(middle) > at_us[asked]
            open_ = first < end
            end = np.where(open_ & later, middle, end)
            first = np.where(open_ & ~later, middle + 1, first)
        until[asked] = end


def total_order(columns: Sequence[Ints]) -> Ints:
    """Positions that sort by the columns, the first being the most significant; equal rows keep their order.

    Args:
        columns: Two or more; the first holds no negative numbers.
    """
    return Moments(*columns).order


def _blocks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, _BLOCK):
        yield slice(start, min(start + _BLOCK, rows))
