"""A stranger's table, made ready: numbers as inputs, a label, and the window each row belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.config.section import parse_duration, render_duration
from raymlops.errors import ConfigError, DataError, NotEnoughRows
from raymlops.laboratory.intake.columns import encode, instants_us, label_values
from raymlops.laboratory.intake.files import read_table
from raymlops.records.learning.tasks import LearningTask
from raymlops.tables.columns import as_table

__all__ = ["ROUND_LENGTHS", "PreparedTable", "prepare"]

ROUND_LENGTHS = (
    *(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 180, 360, 720)),
    *(timedelta(days=days) for days in (1, 2, 7, 14, 28, 91, 364)),
)
"""Lengths that a window may be given, ascending."""
_AIM, _MOST_WINDOWS = 60, 400
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class PreparedTable:
    """Rows in the order in which their labels came.

    Attributes:
        task: What is learned from which columns.
        inputs: ``[rows, inputs]``; a value that is missing is NaN.
        labels: Class numbers, or values.
        classes: The label of each class number; none of a regression.
        windows: The window of each row, from 0 on.
        known_us: When each row's label came, in microseconds since 1970; never falls.
        starts_us: Start of each window, and the end of the last.
        label_delay: How long after a row its label came, where that is the same for all.
        notes: Changes of the table, in words.
    """

    task: LearningTask
    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float64]
    classes: tuple[str, ...]
    windows: npt.NDArray[np.int64]
    known_us: npt.NDArray[np.int64]
    starts_us: npt.NDArray[np.int64]
    label_delay: timedelta
    notes: tuple[str, ...]

    @property
    def count(self) -> int:
        """Windows."""
        return len(self.starts_us) - 1

    @property
    def first(self) -> int:
        """How many windows to learn from before the first is served: a quarter of them, from one to eight."""
        return min(8, max(1, self.count // 4))

    @property
    def starts(self) -> tuple[datetime, ...]:
        """Start of each window, and the end of the last."""
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        return tuple(epoch + timedelta(microseconds=int(at)) for at in self.starts_us)


def prepare(
    table: Any,
    *,
    label: str,
    event_time: str,
    entity: str | Sequence[str] | None = None,
    window: str | timedelta | None = None,
    label_delay: str | timedelta | None = None,
    label_time: str | None = None,
) -> PreparedTable:
    """Make a table ready for the laboratory.

    Rows without a label or an instant are left out, and so is a last window that ends before its middle. Texts, bools
    and instants become numbers; no column's encoding looks at labels, nor tells of rows that come later.

    Args:
        table: What ``as_table`` takes, such as a pyarrow table, a pandas or a polars frame; or a path.
        label: The column to predict.
        event_time: The column of instants.
        entity: Columns that say whom a row is about; they are no inputs.
        window: Length of a window; ``None`` takes a round one that makes at most sixty.
        label_delay: How long after its row a label comes; ``None`` is a day, at most a seventh of a window.
        label_time: A column of the instants at which the labels came, instead of a delay.

    Raises:
        DataError: A column is not there or has a type that is of no use, or no row is left.
        ConfigError: A duration cannot be read.
    """
    rows = as_table("table", read_table(Path(table)) if isinstance(table, str | Path) else table, round_times=True)
    keys = [entity] if isinstance(entity, str) else list(entity or ())
    named = [label, event_time, *keys, *([label_time] if label_time else [])]
    missing = [name for name in named if name not in rows.column_names]
    if missing:
        raise DataError(f"columns {missing} are not in the table, which has {rows.column_names}")
    notes: list[str] = []
    rows, at_us = _sound_rows(rows, label, event_time, notes)
    length = _length(window, at_us)
    delay = timedelta() if label_time is not None else _delay(label_delay, length)
    known_us = _known(rows, at_us, delay, label_time)
    starts_us, numbers = _windows(at_us, length, notes)
    kept = np.flatnonzero(numbers < len(starts_us) - 1)
    order = kept[np.lexsort((at_us[kept], known_us[kept]))]
    rows, at_us, known_us, numbers = rows.take(pa.array(order)), at_us[order], known_us[order], numbers[order]
    kind, labels, classes = label_values(rows[label], label)
    inputs, names = encode(rows, at_us, event_time, {label, *keys, *([label_time] if label_time else [])}, notes)
    metric = "log_loss" if kind == "classifier" else "rmse"
    task = LearningTask(
        kind=kind, inputs=tuple(names), label=label, event_time=event_time, metric=metric, classes=max(2, len(classes))
    )
    return PreparedTable(task, inputs, labels, classes, numbers, known_us, starts_us, delay, tuple(notes))


def _known(
    rows: pa.Table, at_us: npt.NDArray[np.int64], delay: timedelta, label_time: str | None
) -> npt.NDArray[np.int64]:
    """When each label came; never, where its instant is missing, and not before its row."""
    if label_time is None:
        return at_us + delay // timedelta(microseconds=1)
    told_us = instants_us(rows, label_time)
    return np.maximum(np.where(told_us < 0, np.iinfo(np.int64).max, told_us), at_us)


def _sound_rows(
    rows: pa.Table, label: str, event_time: str, notes: list[str]
) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    at_us, column = instants_us(rows, event_time), rows[label]
    there = pc.is_valid(column)
    if pa.types.is_floating(column.type):
        there = pc.and_kleene(there, pc.is_finite(column))
    sound = np.asarray(pc.fill_null(there, False)) & (at_us >= 0)
    if not sound.all():
        notes.append(f"{int((~sound).sum()):,} rows without a label or an instant were left out")
        rows, at_us = rows.filter(pa.array(sound)), at_us[sound]
    if not rows.num_rows:
        raise NotEnoughRows(f"no row has both a {label!r} and a {event_time!r}")
    return rows, at_us


def _length(window: str | timedelta | None, at_us: npt.NDArray[np.int64]) -> timedelta:
    if window is not None:
        length = _duration(window, "window")
        if length <= timedelta():
            raise ConfigError(f"window must be longer than 0s, got {window!r}")
        return length
    span = timedelta(microseconds=int(at_us.max() - at_us.min()))
    return next((length for length in ROUND_LENGTHS if span / length <= _AIM), ROUND_LENGTHS[-1])


def _delay(label_delay: str | timedelta | None, window: timedelta) -> timedelta:
    return min(_DAY, window / 7) if label_delay is None else _duration(label_delay, "label_delay")


def _duration(value: str | timedelta, name: str) -> timedelta:
    try:
        found = parse_duration(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ConfigError(f"{name} {error}, got {value!r}") from error
    if found < timedelta():
        raise ConfigError(f"{name} must not be negative, got {value!r}")
    return found


def _windows(
    at_us: npt.NDArray[np.int64], length: timedelta, notes: list[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Starts of the windows, and each row's window; one that is left out has the number after the last."""
    step, first, last = length // timedelta(microseconds=1), int(at_us.min()), int(at_us.max())
    grid = min(step, _DAY // timedelta(microseconds=1))
    origin = first // grid * grid
    count = (last - origin) // step + 1
    if last < origin + (count - 1) * step + step // 2 and count > 1:
        count -= 1
        notes.append("the last window was left out: the table ends before its middle")
    if count > _MOST_WINDOWS:
        raise ConfigError(
            f"window must be so long that there are at most {_MOST_WINDOWS}, got {count} of {render_duration(length)}"
        )
    starts = origin + np.arange(count + 1, dtype=np.int64) * step
    return starts, np.minimum((at_us - origin) // step, count)
