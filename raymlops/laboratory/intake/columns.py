"""Columns of any type as numbers a model can be fitted on, without a look at what comes later."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import DataError, SchemaMismatch
from raymlops.records.learning.tasks import TaskKind

__all__ = ["encode", "input_values", "instants_us", "label_values", "plain_column"]

_MOST_CLASSES = 50
_FEW_NUMBERS = 10
"""An integer label of so many distinct values or fewer is a class."""
_MOST_VALUES = 1000
_DAY_US, _HOUR_US = 86_400_000_000, 3_600_000_000
_INSTANT = pa.timestamp("us", tz="UTC")
_EPOCH_UNITS = ((1e17, 1e-3), (1e14, 1.0), (1e11, 1e3), (1e8, 1e6))
"""A number of at least this size counts time since 1970 in units of so many microseconds."""
_DIGITS = re.compile(r"^\d{8}$")


def instants_us(rows: pa.Table, name: str) -> npt.NDArray[np.int64]:
    """A column of instants as microseconds since 1970; a missing one is -1.

    Dates, times with or without a zone (without one: UTC), texts of either, and numbers that count seconds,
    milliseconds, microseconds or nanoseconds since 1970.

    Raises:
        SchemaMismatch: The column holds something else, or an instant before 1970.
    """
    column = plain_column(rows[name])
    try:
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            found = column.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None)), safe=False).cast(pa.int64())
        elif pa.types.is_string(column.type):
            found = _parsed(column).cast(pa.int64())
        elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            found = _counted(column, name)
        else:
            raise SchemaMismatch(f"column {name!r} must hold instants, got {column.type}", column=name)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        said = " ".join(str(error).split())[:200]
        raise SchemaMismatch(f"column {name!r} must hold instants: {said}", column=name) from error
    values = np.asarray(pc.fill_null(found, -1)).astype(np.int64)
    if (values < -1).any():
        raise SchemaMismatch(f"column {name!r} must hold instants from 1970 on", column=name)
    return values


def label_values(column: pa.ChunkedArray, name: str) -> tuple[TaskKind, npt.NDArray[np.float64], tuple[str, ...]]:
    """What kind of task a label makes, its values, and the classes in the order in which they first came.

    Texts and bools are classes; so are whole numbers of few distinct values. Other numbers are values.

    Raises:
        SchemaMismatch: The label is of another type.
        DataError: It has one value only, or too many classes.
    """
    column = plain_column(column)
    numbers = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if not (numbers or pa.types.is_boolean(column.type) or pa.types.is_string(column.type)):
        raise SchemaMismatch(f"label {name!r} must be numbers, texts or bools, got {column.type}", column=name)
    distinct = pc.count_distinct(column).as_py()
    if distinct < 2:
        raise DataError(f"label {name!r} must have at least two values, got {distinct}", column=name)
    if numbers:
        values = np.asarray(column.cast(pa.float64(), safe=False))
        if distinct > _FEW_NUMBERS or (values != np.floor(values)).any():
            return "regressor", values, ()
    if distinct > _MOST_CLASSES:
        raise DataError(f"label {name!r} must have at most {_MOST_CLASSES} classes, got {distinct}", column=name)
    codes, known = _first_come(column)
    if distinct == 2:  # class 1 is the larger value: true, 1, "yes"
        ordered = sorted(known)
        codes = np.array([ordered.index(each) for each in known])[codes.astype(np.int64)].astype(np.float64)
        known = ordered
    return "classifier", codes, tuple(map(str, known))


def encode(
    rows: pa.Table, at_us: npt.NDArray[np.int64], event_time: str, left_out: Collection[str], notes: list[str]
) -> tuple[npt.NDArray[np.float32], list[str]]:
    """Inputs as float32 ``[rows, inputs]``, and their names; beside the table's columns, hour and weekday.

    A text is the number of its first appearance, so that what comes later cannot be told from the numbers. Other
    instants are seconds before the row's own; one that holds later instants is left out, for it may not be known yet.

    Args:
        rows: In the order in which their labels came.
        at_us: The rows' instants.
        event_time: The column these come from.
        left_out: Columns that are no inputs.
        notes: Is told which columns are of no use.

    Raises:
        DataError: No column is of use.
    """
    found: dict[str, npt.NDArray[np.float32]] = {}
    for name in rows.column_names:
        if name in left_out or name == event_time:
            continue
        values, why_not = input_values(rows, name, at_us)
        if values is None:
            notes.append(f"column {name!r} was left out: {why_not}")
        else:
            found[name] = values.astype(np.float32)
    for name, values in (("hour", at_us // _HOUR_US % 24), ("weekday", (at_us // _DAY_US + 3) % 7)):
        if values.min() < values.max():
            found[_free(f"{event_time}_{name}", rows.column_names)] = values.astype(np.float32)
    if not found:
        raise DataError(f"the table has no column to predict from beside {sorted({event_time, *left_out})}")
    return np.column_stack(list(found.values())), list(found)


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def input_values(rows: pa.Table, name: str, at_us: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any] | None, str]:
    """A column as numbers, or ``None`` and why it is of no use."""
    column = plain_column(rows[name])
    if pa.types.is_null(column.type) or column.null_count == len(column):
        return None, "it holds no value"
    kind = column.type
    if pa.types.is_string(kind):
        values, why_not = _of_texts(column)
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        values, why_not = _of_instants(rows, name, at_us)
    else:
        values, why_not = _of_numbers(column), f"its type is {kind}"
        if values is not None and pa.types.is_integer(kind) and _is_row_number(values, at_us):
            return None, "it numbers the rows"
    if values is None:
        return None, why_not
    seen = values[np.isfinite(values)]
    if not len(seen) or (seen.min() == seen.max() and len(seen) == len(values)):
        return None, "it is the same everywhere"
    return np.where(np.isfinite(values), values, np.nan), ""


def _of_texts(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.float64] | None, str]:
    distinct = pc.count_distinct(column).as_py()
    if distinct > max(_MOST_VALUES, len(column) // 100):
        return None, f"it has {distinct:,} different texts"
    return _first_come(column)[0], ""


def _of_instants(rows: pa.Table, name: str, at_us: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64] | None, str]:
    other = instants_us(rows, name)
    there = other >= 0
    if (other[there] > at_us[there]).any():
        return None, "it holds instants after the row's own"
    return np.where(there, (at_us - other) / 1e6, np.nan), ""


def _of_numbers(column: pa.ChunkedArray) -> npt.NDArray[np.float64] | None:
    kind = column.type
    if pa.types.is_boolean(kind):
        return _numbers(column.cast(pa.int8()))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _numbers(column)
    if pa.types.is_duration(kind):
        return _numbers(column.cast(pa.duration("us"), safe=False).cast(pa.int64())) / 1e6
    if pa.types.is_time(kind):
        return _numbers(column.cast(pa.time64("us"), safe=False).cast(pa.int64())) / 1e6
    return None


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), float("nan")), dtype=np.float64)


def _is_row_number(values: npt.NDArray[np.float64], at_us: npt.NDArray[np.int64]) -> bool:
    """Whether each value is there once, and they rise (or fall) with time."""
    if not np.isfinite(values).all() or len(np.unique(values)) < len(values) or len(values) < 3:
        return False
    ordered = np.diff(values[np.argsort(at_us, kind="stable")])
    return bool((ordered > 0).mean() > 0.95 or (ordered < 0).mean() > 0.95)


def plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Without a dictionary, with ordinary texts, and decimals as floats."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind):
        return column.cast(pa.float64(), safe=False)
    return column


def _first_come(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.float64], list[Any]]:
    """Numbers by first appearance, a missing value NaN; and the values they stand for."""
    encoded = column.combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    encoded = encoded.dictionary_encode()  # numbers values as they come
    return _numbers(encoded.indices), encoded.dictionary.to_pylist()


def _counted(column: pa.ChunkedArray, name: str) -> pa.Array:
    values = _numbers(column)
    size = float(np.nanmedian(values)) if np.isfinite(values).any() else 0.0
    factor = next((factor for least, factor in _EPOCH_UNITS if size >= least), None)
    if factor is None:
        if pa.types.is_integer(column.type) and 18_000_101 <= size <= 29_991_231:
            return _parsed(column.cast(pa.string())).cast(pa.int64())  # 20130517
        raise SchemaMismatch(
            f"column {name!r} must hold instants, got numbers about {size:g}, which are no seconds since 1970",
            column=name,
        )
    return pa.array(np.where(np.isfinite(values), values * factor, -1.0).astype(np.int64))


def _parsed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts as instants: with a zone, without one, or in whatever form pandas reads."""
    for form in (_INSTANT, pa.timestamp("us")):
        try:
            return pc.cast(column, form).cast(_INSTANT)
        except pa.ArrowInvalid:
            continue  # another form is tried; a value that no form reads is an error below
    import pandas as pd

    texts = column.to_pandas()
    known = texts.dropna()
    written = "%Y%m%d" if len(known) and _DIGITS.match(str(known.iloc[0])) else "mixed"
    instants = pd.to_datetime(texts, format=written, utc=True).dt.tz_convert(None).to_numpy()
    return pa.chunked_array([pa.array(instants).cast(pa.timestamp("us"), safe=False).cast(_INSTANT)])
