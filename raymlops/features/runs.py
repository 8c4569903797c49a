"""Runs: what the online store keeps of one entity in one view.

A run holds the entity's recent rows in total order, column by column, with the running sums that its windows need. It
reads the same as the whole history for every instant from ``complete_from`` on: the rows of the longest window before
that instant are there, and the newest row at it. The bytes are laid out so that a reader touches what it needs and
parses nothing else:

    header | event | created | sequence | per field: values, [present] | per summed field: running sums, [of squares]
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import StorageError
from raymlops.features.definitions import DType, FeatureView
from raymlops.features.exact import Digits, digits_of, digits_of_squares, span_of
from raymlops.features.keys import encode_key
from raymlops.features.timeline import NEVER_CREATED, Timeline
from raymlops.features.validity import span_us
from raymlops.features.windows import SUMMED

__all__ = ["Run", "RunLayout", "SumLayout", "runs_of"]

MAGIC = 0x52554E31
"""First four bytes of a run; another layout gets another."""

_START = "<IIq"  # magic, rows, complete_from
_WORD = 8

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SumLayout:
    """Running sums of one field, or of its squares: where they stand in the header."""

    field: int
    squares: bool
    slot: int


class RunLayout:
    """How the runs of one view are laid out.

    Args:
        view: The view; the layout depends on nothing else.
    """

    def __init__(self, view: FeatureView) -> None:
        self.view = view
        self.dtypes: tuple[DType, ...] = tuple(column.dtype for column in view.fields)
        self.window_us = span_us(view.longest_window)
        names = [column.name for column in view.fields]
        summed = sorted({names.index(a.field) for a in view.aggregates if a.function in SUMMED})
        squared = {names.index(a.field) for a in view.aggregates if a.function == "std"}
        slot = 3 + 2 * len(names)
        sums = []
        for field in summed:
            for squares in (False, True)[: 1 + (field in squared)]:
                sums.append(SumLayout(field, squares, slot))
                slot += 3
        self.sums = tuple(sums)
        self.header = struct.Struct(f"{_START}{2 * len(names)}I" + "IiI" * len(sums))

    @staticmethod
    def field_slot(field: int) -> int:
        """Place in the header of where a field's values start; that of its mask of present values follows."""
        return 3 + 2 * field


@dataclass(frozen=True)
class Run:
    """Rows of one entity, in memory, in total order."""

    complete_from: int
    event: Ints
    created: Ints
    sequence: Ints
    values: Sequence[Any]
    """Per field: int64 (also bool, timestamp), float64, or an Arrow array of strings; nulls as 0 or empty."""
    present: Sequence[Mask | None]
    """Per field: where it is not null; ``None`` if everywhere."""
    sums: Sequence[Digits]
    """Running sums in the layout's order, one column longer than the run."""

    def encode(self, layout: RunLayout) -> bytes:
        """The bytes of the run."""
        parts = [self.event.tobytes(), self.created.tobytes(), self.sequence.tobytes()]
        position = layout.header.size + 3 * _WORD * len(self.event)
        slots: list[int] = [MAGIC, len(self.event), self.complete_from]
        for values, present in zip(self.values, self.present, strict=True):
            data = _text_bytes(values) if isinstance(values, pa.Array) else values.tobytes()
            mask = b"" if present is None else present.tobytes()
            slots += [position, position + len(data) if mask else 0]
            parts += [data, mask]
            position += len(data) + len(mask)
        for sums in self.sums:
            data = sums.rows.tobytes()
            slots += [position, sums.lowest, len(sums.rows)]
            parts.append(data)
            position += len(data)
        return layout.header.pack(*slots) + b"".join(parts)

    @classmethod
    def decode(cls, layout: RunLayout, blob: Any) -> Run:
        """Read the bytes of a run; the arrays share their memory.

        Raises:
            StorageError: these are not the bytes of such a run.
        """
        head = read_header(layout, blob)
        rows = head[1]
        start = layout.header.size

        def ints(offset: int, count: int) -> Ints:
            return np.frombuffer(blob, np.int64, count, offset)

        values: list[Any] = []
        present: list[Mask | None] = []
        for field, dtype in enumerate(layout.dtypes):
            offset, mask = head[layout.field_slot(field)], head[layout.field_slot(field) + 1]
            if dtype == "string":
                values.append(_text_array(blob, offset, rows))
            else:
                values.append(np.frombuffer(blob, np.float64 if dtype == "float64" else np.int64, rows, offset))
            present.append(np.frombuffer(blob, np.bool_, rows, mask) if mask else None)
        sums = []
        for part in layout.sums:
            offset, lowest, count = head[part.slot : part.slot + 3]
            sums.append(Digits(lowest, ints(offset, count * (rows + 1)).reshape(count, rows + 1)))
        times = [ints(start + place * _WORD * rows, rows) for place in range(3)]
        return cls(head[2], times[0], times[1], times[2], values, present, sums)

    def merged(self, newer: Run) -> Run:
        """This run with the rows of another in between, wherever they belong."""
        times = [np.concatenate(pair) for pair in zip(self._times, newer._times, strict=True)]
        order: Ints | None = None
        if newer._first < self._last:
            order = np.lexsort(times[::-1])
            times = [column[order] for column in times]
        return Run(
            max(self.complete_from, newer.complete_from),
            times[0],
            times[1],
            times[2],
            [_joined(old, new, order) for old, new in zip(self.values, newer.values, strict=True)],
            [
                _joined_masks(old, new, (len(self.event), len(newer.event)), order)
                for old, new in zip(self.present, newer.present, strict=True)
            ],
            [_joined_sums(old, new, order) for old, new in zip(self.sums, newer.sums, strict=True)],
        )

    def trimmed(self, horizon_us: int, window_us: int) -> Run:
        """This run without the rows that no question from the horizon on needs.

        Args:
            horizon_us: Earliest instant that must still be answered exactly.
            window_us: The longest window.
        """
        windows_start = int(np.searchsorted(self.event, horizon_us - window_us, side="right"))
        newest_then = int(np.searchsorted(self.event, horizon_us, side="right")) - 1
        first = min(windows_start, newest_then)
        if first <= 0:
            return self
        return replace(
            self,
            complete_from=max(self.complete_from, horizon_us),
            event=self.event[first:],
            created=self.created[first:],
            sequence=self.sequence[first:],
            values=[column[first:] for column in self.values],
            present=[None if mask is None else mask[first:] for mask in self.present],
            sums=[Digits(s.lowest, s.rows[:, first:] - s.rows[:, first : first + 1]) for s in self.sums],
        )

    @property
    def _times(self) -> tuple[Ints, Ints, Ints]:
        return self.event, self.created, self.sequence

    @property
    def _first(self) -> tuple[int, int, int]:
        return int(self.event[0]), int(self.created[0]), int(self.sequence[0])

    @property
    def _last(self) -> tuple[int, int, int]:
        return int(self.event[-1]), int(self.created[-1]), int(self.sequence[-1])


def read_header(layout: RunLayout, blob: Any) -> tuple[int, ...]:
    """The numbers at the start of a run.

    Raises:
        StorageError: these are not the bytes of such a run.
    """
    try:
        head: tuple[int, ...] = layout.header.unpack_from(blob)
    except struct.error as error:
        raise StorageError(f"online store: run of view {layout.view.ref!r} is cut short: {error}") from error
    if head[0] != MAGIC:
        raise StorageError(f"online store: run of view {layout.view.ref!r} must start with {MAGIC:x}, got {head[0]:x}")
    return head


def runs_of(layout: RunLayout, table: Any, sequence: Ints) -> Iterator[tuple[bytes, Run]]:
    """Cut rows into one run per entity; rows with a null in their key are left out.

    Args:
        layout: Layout of the view.
        table: Rows as ``conform`` gives them.
        sequence: Their order of arrival.
    """
    sequence_name = "_sequence"
    line = Timeline.of(
        layout.view, table.append_column(sequence_name, pa.array(sequence)), sequence, knowledge_cutoff=False
    )
    columns = [_numbers(line.rows[column.name], column.dtype) for column in layout.view.fields]
    masks = [_present(line.rows[column.name]) for column in layout.view.fields]
    ordered: Ints = line.rows[sequence_name].to_numpy()
    sums = []
    for part in layout.sums:
        cut = digits_of_squares if part.squares else digits_of
        sums.append(cut(columns[part.field].astype(np.float64)).running())
    keys = line.distinct.select(layout.view.keys).rows() if layout.view.keys else [()]
    for number, key in enumerate(keys):
        part_of = slice(int(line.starts[number]), int(line.starts[number + 1]))
        if part_of.start == part_of.stop:
            continue
        yield (
            encode_key(key),
            Run(
                int(NEVER_CREATED),
                line.event_us[part_of],
                line.created_us[part_of],
                ordered[part_of],
                [column[part_of] for column in columns],
                [None if mask is None else mask[part_of] for mask in masks],
                [_slice_sums(s, part_of) for s in sums],
            ),
        )


def _slice_sums(sums: Digits, part: slice) -> Digits:
    rows = sums.rows[:, part.start : part.stop + 1]
    return Digits(sums.lowest, rows - rows[:, :1])


def _numbers(column: Any, dtype: DType) -> Any:
    if dtype == "string":
        return pc.fill_null(column, "").combine_chunks()
    if dtype in {"bool", "timestamp"}:
        column = column.cast(pa.int64())
    return pc.fill_null(column, 0).to_numpy()


def _present(column: Any) -> Mask | None:
    if not column.null_count:
        return None
    mask: Mask = pc.is_valid(column).to_numpy()
    return mask


def _joined(old: Any, new: Any, order: Ints | None) -> Any:
    if isinstance(old, pa.Array):
        both = pa.concat_arrays([old, new])
        return both if order is None else both.take(pa.array(order))
    both = np.concatenate([old, new])
    return both if order is None else both[order]


def _joined_masks(old: Mask | None, new: Mask | None, rows: tuple[int, int], order: Ints | None) -> Mask | None:
    if old is None and new is None:
        return None
    masks = [np.ones(count, np.bool_) if mask is None else mask for mask, count in zip((old, new), rows, strict=True)]
    both = np.concatenate(masks)
    return both if order is None else both[order]


def _joined_sums(old: Digits, new: Digits, order: Ints | None) -> Digits:
    lowest, count = span_of((old, new))
    before, after = old.padded(lowest, count), new.padded(lowest, count)
    if order is None:
        return Digits(lowest, np.concatenate([before, after[:, 1:] - after[:, :1] + before[:, -1:]], axis=1))
    digits = np.concatenate([np.diff(before), np.diff(after)], axis=1)
    return Digits(lowest, digits[:, order]).running()


def _text_bytes(column: Any) -> bytes:
    column = pa.concat_arrays([column])  # a slice gets offsets of its own
    texts = [text.encode() for text in column.to_pylist()]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int32)
    return offsets.tobytes() + b"".join(texts)


def _text_array(blob: Any, offset: int, rows: int) -> Any:
    data = offset + 4 * (rows + 1)
    end = struct.unpack_from("<i", blob, data - 4)[0]
    buffers = [None, pa.py_buffer(bytes(blob[offset:data])), pa.py_buffer(bytes(blob[data : data + end]))]
    return pa.StringArray.from_buffers(rows, buffers[1], buffers[2])
