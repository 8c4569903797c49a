"""Many runs at once: made from a table's rows, merged with what is stored, cut to what is needed, written as bytes.

The rows of a batch stand in one array of records, so that nothing is done entity by entity but slicing bytes. Batches
are small enough for the processor's cache, whatever the size of the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.features.definitions.fields import DType
from raymlops.features.definitions.schema import instants_us
from raymlops.features.offline.exact import Digits, digits_of, digits_of_squares
from raymlops.features.offline.key_numbers import UNKNOWN, group_rows
from raymlops.features.offline.moments import total_order
from raymlops.features.offline.timeline import NEVER_CREATED, created_us
from raymlops.features.online.online_keys import encode_keys
from raymlops.features.online.runs import MAGIC, RunLayout

__all__ = ["RunBatch", "run_batches"]

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_TEXT = pa.large_binary()
_WORD = 8
_BATCH_ROWS = 1 << 14


@dataclass(frozen=True)
class RunBatch:
    """Rows of some entities of one view, in memory."""

    layout: RunLayout
    keys: list[bytes]
    """Encoded keys, ascending; run ``i`` is that of ``keys[i]``."""
    numbers: Ints
    """Per row the number of its run."""
    records: npt.NDArray[Any]
    """Rows of the layout's type; where a text begins and ends is filled in by ``encode`` only."""
    texts: list[Any]
    """Per text field its values as Arrow binary, nulls as empty."""
    complete_from: Ints
    """Per run the first instant that it answers exactly."""

    @classmethod
    def of_rows(cls, layout: RunLayout, keys: list[bytes], numbers: Ints, table: Any, sequence: Ints) -> RunBatch:
        """Take rows of a table.

        Args:
            layout: Layout of the view.
            keys: Encoded keys, ascending.
            numbers: Per row the place of its key.
            table: Rows as ``conform`` gives them.
            sequence: Their order of arrival.
        """
        view = layout.view
        records = np.zeros(table.num_rows, layout.record)
        records["event"] = instants_us(f"view {view.name!r}", view.event_time, table[view.event_time])
        records["created"] = created_us(view, table)
        records["sequence"] = sequence
        texts = []
        for number, field in enumerate(view.fields):
            column = table[field.name]
            if column.null_count:
                records["nulls"][:, number] = pc.is_null(column).to_numpy()
            if field.dtype == "string":
                texts.append(pc.fill_null(column, "").combine_chunks().cast(_TEXT))
            else:
                records[f"v{number}"] = _numbers(column, field.dtype)
        return cls(layout, keys, numbers, records, texts, np.full(len(keys), NEVER_CREATED))

    def part(self, first: int, until: int) -> RunBatch:
        """The runs of some keys; the rows must be grouped by key, as ``run_batches`` gives them."""
        start, end = np.searchsorted(self.numbers, [first, until]).tolist()
        return RunBatch(
            self.layout,
            self.keys[first:until],
            self.numbers[start:end] - first,
            self.records[start:end],
            [column.slice(start, end - start) for column in self.texts],
            self.complete_from[first:until],
        )

    def with_stored(self, runs: Sequence[bytes | memoryview | None]) -> RunBatch:
        """These rows and those of stored runs.

        Args:
            runs: The run of each key; ``None`` where there is none.

        Raises:
            StorageError: a run is broken.
        """
        places = np.array([place for place, run in enumerate(runs) if run is not None], np.int64)
        if not len(places):
            return self
        stored = _Stored(self.layout, [run for run in runs if run is not None])
        complete_from = self.complete_from.copy()
        complete_from[places] = np.maximum(complete_from[places], stored.heads["complete_from"])
        return RunBatch(
            self.layout,
            self.keys,
            np.concatenate([np.repeat(places, stored.rows), self.numbers]),
            np.concatenate([stored.records, self.records]),
            [pa.concat_arrays(pair) for pair in zip(stored.texts(), self.texts, strict=True)],
            complete_from,
        )

    def trimmed(self, now_us: int, history_us: int) -> RunBatch:
        """The rows in order, without those that no question needs from ``history_us`` before now on.

        Args:
            now_us: The present. For an entity whose newest event is older, that event's time.
            history_us: How far back questions must be answered exactly.
        """
        order = total_order(
            [self.numbers, *(~np.ascontiguousarray(self.records[name]) for name in ("event", "created", "sequence"))]
        )
        numbers = self.numbers[order]
        event = self.records["event"][order]
        newest = np.ones(len(numbers), np.bool_)
        newest[1:] = numbers[1:] != numbers[:-1]
        # Rows dated after now must not push out the rows that answers for now need.
        horizon = np.minimum(event[newest], now_us) - history_us
        ends = horizon[numbers]
        past = event <= ends
        newest_past = past.copy()
        newest_past[1:] &= newest[1:] | ~past[:-1]
        needed = newest_past | (event > ends - self.layout.window_us)
        complete_from = self.complete_from
        if not needed.all():
            cut = np.zeros(len(self.keys), np.bool_)
            cut[numbers[~needed]] = True
            complete_from = np.where(cut, np.maximum(complete_from, horizon), complete_from)
            order, numbers = order[needed], numbers[needed]
        texts = [column.take(pa.array(order)) for column in self.texts]
        return RunBatch(self.layout, self.keys, numbers, self.records[order], texts, complete_from)

    def encode(self) -> dict[bytes, bytes]:
        """Key -> the bytes of its run, keys ascending; the rows must be in order, as ``trimmed`` gives them."""
        counts = np.bincount(self.numbers, minlength=len(self.keys))
        bounds = np.concatenate([[0], np.cumsum(counts)])
        heads = np.zeros(len(self.keys), self.layout.header)
        heads["magic"], heads["rows"], heads["complete_from"] = MAGIC, counts, self.complete_from
        sums = self._running(bounds, heads) if self.layout.sums else None
        width = 0 if sums is None else sums.shape[1] * _WORD
        record = self.records.itemsize
        heap, heap_bounds = self._place_texts(bounds, heads.itemsize + counts * record + (counts + 1) * width)
        if sums is None and len(self.records) == len(heads):
            single = np.empty(len(heads), [("head", heads.dtype), ("row", self.records.dtype)])
            single["head"], single["row"] = heads, self.records
            pieces = [single.view(f"V{single.itemsize}").tolist()]
        else:
            pieces = [heads.view(f"V{heads.itemsize}").tolist(), _cut(self.records.tobytes(), bounds * record)]
        if sums is not None:
            pieces.append(_cut(sums.tobytes(), (bounds + np.arange(len(bounds))) * width))
        if heap is not None:
            pieces.append(_cut(heap, heap_bounds))
        runs = pieces[0]
        for more in pieces[1:]:
            runs = list(map(add, runs, more))
        return dict(zip(self.keys, runs, strict=True))

    def _place_texts(self, bounds: Ints, sizes: Ints) -> tuple[bytes | None, Ints]:
        """Lay out the texts behind what has a fixed size; returns all texts, and where in them those of a run begin."""
        if not self.texts:
            return None, bounds
        fields, rows = len(self.texts), len(self.records)
        texts = self.texts[0]
        if fields > 1:
            by_row = np.arange(rows * fields).reshape(fields, rows).T.ravel()
            texts = pa.concat_arrays(self.texts).take(pa.array(by_row))
        offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + rows * fields + 1]
        heap_bounds = offsets[bounds * fields]
        shift = (sizes - heap_bounds[:-1])[self.numbers]
        for place, field in enumerate(self.layout.texts):
            self.records[f"begin{field}"] = offsets[place:-1:fields] + shift
            self.records[f"end{field}"] = offsets[place + 1 :: fields] + shift
        data = texts.buffers()[2]
        return b"" if data is None else memoryview(data).tobytes(), heap_bounds

    def _running(self, bounds: Ints, heads: npt.NDArray[Any]) -> Ints:
        """Running sums of each run from its newest row back, all digits of a row side by side."""
        digits: list[Digits] = []
        column = 0
        for number, part in enumerate(self.layout.sums):
            values = self.records[f"v{part.field}"].astype(np.float64)
            cut = (digits_of_squares if part.squares else digits_of)(values)
            heads[f"column{number}"], heads[f"lowest{number}"] = column, cut.lowest
            heads[f"count{number}"] = len(cut.rows)
            column += len(cut.rows)
            digits.append(cut.running())
        heads["digits"] = column
        heads["sums"] = heads.dtype.itemsize + np.diff(bounds) * self.records.dtype.itemsize
        running = np.concatenate([part.rows for part in digits]).T
        runs = np.arange(len(bounds) - 1)
        rows = np.arange(len(self.records) + len(runs)) - np.repeat(runs, np.diff(bounds) + 1)
        starts = np.repeat(bounds[:-1], np.diff(bounds) + 1)
        sums: Ints = np.ascontiguousarray(running[rows] - running[starts])
        return sums


class _Stored:
    """Runs as they are stored, taken apart."""

    def __init__(self, layout: RunLayout, runs: Sequence[bytes | memoryview]) -> None:
        self._layout = layout
        header, record = layout.header_bytes, layout.record_bytes
        sizes = np.fromiter(map(len, runs), np.int64, len(runs))
        if (sizes < header + record).any():
            raise layout.broken(f"cut short at {sizes.min()} bytes")
        self._data = b"".join(runs)
        self._ends: Ints = np.cumsum(sizes)
        starts = self._ends - sizes
        self.heads = np.frombuffer(self._gather(starts, starts + header), layout.header)
        wrong = self.heads["magic"] != MAGIC
        if wrong.any():
            raise layout.broken(f"must start with {MAGIC:x}, got {self.heads['magic'][wrong][0]:x}")
        self.rows: Ints = self.heads["rows"].astype(np.int64)
        ends = starts + header + self.rows * record
        digits = self.heads["digits"].astype(np.int64) if layout.sums else 0
        self._texts_start: Ints = ends + (self.rows + 1) * digits * _WORD
        short = self._ends < self._texts_start
        if short.any():
            raise layout.broken(f"cut short at {sizes[short][0]} bytes")
        self.records: npt.NDArray[Any] = np.frombuffer(self._gather(starts + header, ends), layout.record)

    def _gather(self, starts: Ints, ends: Ints) -> bytes:
        data = self._data
        return b"".join([data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)])

    def texts(self) -> list[Any]:
        """Per text field its values."""
        fields = self._layout.texts
        if not fields:
            return []
        heap = self._gather(self._texts_start, self._ends)
        lengths = np.stack([self.records[f"end{f}"] - self.records[f"begin{f}"] for f in fields], axis=1)
        offsets = np.zeros(lengths.size + 1, np.int64)
        np.cumsum(lengths.ravel(), out=offsets[1:])
        if offsets[-1] != len(heap):
            raise self._layout.broken(f"texts must have {offsets[-1]} bytes, got {len(heap)}")
        texts = pa.LargeBinaryArray.from_buffers(_TEXT, lengths.size, [None, pa.py_buffer(offsets), pa.py_buffer(heap)])
        if len(fields) == 1:
            return [texts]
        return [texts.take(pa.array(np.arange(place, lengths.size, len(fields)))) for place in range(len(fields))]


def run_batches(layout: RunLayout, table: Any, sequence: Ints) -> Iterator[RunBatch]:
    """Cut rows of a table into batches of whole runs, keys ascending; rows with a null in their key are left out.

    Args:
        layout: Layout of the view.
        table: Rows as ``conform`` gives them.
        sequence: Their order of arrival.
    """
    numbers, index = group_rows(table, layout.view.keys)
    usable = np.flatnonzero(numbers != UNKNOWN)
    if not len(usable):
        return
    keys, order = encode_keys(index.distinct, layout.view.keys)
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    runs = ranks[numbers[usable]]
    rows = usable[total_order([runs, sequence[usable]])]
    counts = np.bincount(runs, minlength=len(keys))
    bounds = np.concatenate([[0], np.cumsum(counts)])
    cuts = np.unique(np.searchsorted(bounds, np.append(np.arange(0, len(rows), _BATCH_ROWS), len(rows))))
    table = table.combine_chunks()
    for first, until in pairwise(cuts.tolist()):
        chosen = rows[bounds[first] : bounds[until]]
        batch_numbers = np.repeat(np.arange(until - first), counts[first:until])
        part = table.take(pa.array(chosen))
        yield RunBatch.of_rows(layout, keys[first:until], batch_numbers, part, sequence[chosen])


def _cut(data: bytes, bounds: Ints) -> list[bytes]:
    return [data[start:end] for start, end in pairwise(bounds.tolist())]


def _numbers(column: Any, dtype: DType) -> npt.NDArray[Any]:
    if dtype == "timestamp":
        column = column.cast(pa.int64())
    filled = pc.fill_null(column, False if dtype == "bool" else 0) if column.null_count else column
    numbers: npt.NDArray[Any] = filled.to_numpy()
    return numbers
