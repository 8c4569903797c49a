"""Conversion of tables and frames to Arrow, and the columns that every table of the platform has."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.clock import time_zone_fault
from raymlops.errors import ConfigError, DataError, SchemaMismatch
from raymlops.tables.codes import one_dictionary, plain_type

__all__ = [
    "INSTANT",
    "SEQUENCE",
    "Reading",
    "as_table",
    "check_unique_columns",
    "in_kind_of",
    "origin_of",
    "to_pandas",
    "with_origin",
]

SEQUENCE = "_seq"
"""Column of a table that holds the order in which its rows arrived."""
INSTANT = pa.timestamp("us", tz="UTC")
"""Type of every column of instants."""

_TABLES = "an Arrow table, a pandas or polars frame, or what has __arrow_c_stream__ or __dataframe__"
_FILE, _FIRST_ROW = b"raymlops.file", b"raymlops.first_row"


class Reading(TypedDict, total=False):
    """Options for reading the times of a table that has no time zones."""

    time_zone: str | None
    """Zone of its naive times; without one they are refused where instants are needed."""
    round_times: bool
    """Whether times finer than a microsecond are rounded to it; else they are refused."""


def as_table(owner: str, given: object, **reading: Unpack[Reading]) -> Any:
    """Convert a table or frame to an Arrow table; a frame whose values would change is refused.

    Args:
        owner: Whom an error names.
        given: An Arrow table, record batch, reader of batches or dataset; a pandas or polars frame; whatever exports
            itself as a stream of Arrow or by the dataframe interchange protocol. The index of a pandas frame is left
            out, and its NaN counts as missing.
        reading: How times are read that have no zone, or are finer than microseconds.

    Raises:
        SchemaMismatch: it is no table, has a column twice, or values that Arrow does not have.
        ConfigError: there is no such time zone.
        DataError: a naive time is there twice or never in its zone.
    """
    if isinstance(given, pa.Table):
        table: Any = given
    else:
        try:
            table = _converted(given)
        except SchemaMismatch as error:
            raise SchemaMismatch(f"{owner}: {error}", **error.context) from error
        except Exception as error:  # each library of frames raises errors of its own
            reason = " ".join(str(error).split())
            raise SchemaMismatch(f"{owner} must be {_TABLES}, got a {_kind(given)} that is none: {reason}") from error
        if table is None:
            raise SchemaMismatch(f"{owner} must be {_TABLES}, got {_kind(given)}", got=_kind(given))
    check_unique_columns(owner, table.column_names)
    return _read_times(owner, _without_views(table), **reading)


def check_unique_columns(owner: str, names: Iterable[str]) -> None:
    """Refuse a table that has two columns of one name.

    Raises:
        SchemaMismatch: one is.
    """
    doubled = sorted(name for name, count in Counter(names).items() if count > 1)
    if doubled:
        raise SchemaMismatch(f"{owner}: column names must be unique, got {doubled} more than once", columns=doubled)


def in_kind_of(given: object, table: Any) -> Any:
    """A table as the kind of frame that was given: pandas, polars or another that narwhals makes of it; else Arrow."""
    import narwhals as nw

    frame: Any = nw.from_native(given, pass_through=True)
    if frame is given or isinstance(given, pa.Table):
        return table
    if frame.implementation.is_pandas():
        return to_pandas(table)
    if isinstance(frame, nw.LazyFrame) and not frame.implementation.is_polars():
        return table  # of a query in a database there is nothing to be made
    return nw.from_arrow(table, backend=frame.implementation).to_native()


def to_pandas(table: Any) -> Any:
    """A pandas frame; integers and bools with missing values get pandas' nullable types, so that none is altered."""
    import pandas as pd

    nullable = {pa.bool_(): pd.BooleanDtype()} | {
        getattr(pa, name.lower())(): getattr(pd, f"{name}Dtype")()
        for name in (f"{sign}Int{bits}" if sign else f"Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
    }
    frame = table.to_pandas()
    for name in table.column_names:
        if table[name].null_count and table[name].type in nullable:
            frame[name] = table[name].to_pandas(types_mapper=nullable.get)
    return frame


def _kind(given: object) -> str:
    return type(given).__name__


def _converted(given: Any) -> Any:
    """The Arrow table of a value; ``None`` if there is no way to convert it."""
    pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
    if pandas is not None and isinstance(given, pandas.DataFrame):
        return _from_pandas(given)
    if polars is not None and isinstance(given, polars.LazyFrame):
        given = given.collect()
    if polars is not None and isinstance(given, polars.DataFrame):
        for name, dtype in given.schema.items():
            if str(dtype) in {"Object", "Int128", "UInt128"}:  # Arrow would get the addresses of objects
                raise SchemaMismatch(f"column {name!r} must be of a type that Arrow has, got {dtype}", column=name)
    exported = _exported(given)
    return exported if exported is None else _plain(exported)


def _exported(given: Any) -> Any:
    if isinstance(given, pa.RecordBatch):
        return pa.Table.from_batches([given])
    if isinstance(given, pa.RecordBatchReader) or hasattr(given, "__arrow_c_stream__"):
        return pa.table(given)
    if hasattr(given, "__arrow_c_array__"):
        return pa.Table.from_batches([pa.record_batch(given)])
    if type(given).__module__ == "pyarrow._dataset":
        return given.to_table()
    if hasattr(given, "__dataframe__"):
        from pyarrow.interchange import from_dataframe

        return from_dataframe(given)
    return None


def _from_pandas(frame: Any) -> Any:
    others = [name for name in frame.columns if not isinstance(name, str)]
    if others:
        raise SchemaMismatch(f"column names must be texts, got {others[0]!r} of {_kind(others[0])}")
    check_unique_columns("columns", frame.columns)
    # pyarrow asks for the values of instants in a way that pandas is about to change
    zones = {
        name: dtype.tz
        for name, dtype in frame.dtypes.items()
        if getattr(dtype, "kind", "") == "M" and hasattr(dtype, "tz")
    }
    plain = frame.copy(deep=False)
    for name in zones:
        plain[name] = frame[name].dt.tz_convert(None)
    try:
        table = pa.Table.from_pandas(plain, preserve_index=False)
    except Exception:  # of many kinds, of which few name the column
        for name, values in plain.items():
            _check_kind(name, values)
        raise
    for name, zone in zones.items():
        place = table.column_names.index(name)
        unit = table.schema.field(place).type.unit
        instants = table.column(place).cast(pa.timestamp(unit, tz=pa.lib.tzinfo_to_string(zone)))
        table = table.set_column(place, name, instants)
    for field in table.schema:
        values = frame[field.name]
        values = values.cat.categories if values.dtype == "category" else values
        if values.dtype == object:
            _check_objects(field.name, plain_type(field.type), values.dropna())
    return _plain(table)


def _check_kind(name: str, values: Any) -> None:
    try:
        pa.Table.from_pandas(values.to_frame(), preserve_index=False)
    except Exception as error:
        reason = " ".join(str(error.args[0] if isinstance(error, pa.ArrowException) else error).split())
        rule = f"column {name!r} must hold values of one kind that Arrow has"
        raise SchemaMismatch(f"{rule}, got {values.dtype} that does not: {reason}", column=name) from error


def _check_objects(name: str, given: Any, values: Iterable[Any]) -> None:
    """Refuse values that Arrow would alter without a word to have them in one type.

    It takes naive times among others for times of UTC, the day of a time among dates, and 1 for true among floats.
    """
    if pa.types.is_timestamp(given) or pa.types.is_time(given):
        rule, kinds = "times with a zone or times without one", {_is_naive(value) for value in values}
    elif pa.types.is_date(given):
        rule, kinds = "dates or times", {isinstance(value, datetime) for value in values}
    elif pa.types.is_floating(given):
        rule, kinds = "numbers or bools", {isinstance(value, bool | np.bool_) for value in values}
    else:
        return
    if len(kinds) > 1:
        raise SchemaMismatch(f"column {name!r} must hold {rule}, got both", column=name)


def _is_naive(value: Any) -> bool:
    return getattr(value, "tzinfo", None) is None


def _plain(table: Any) -> Any:
    """The table without the metadata of the frame library that made it."""
    fields = [pa.field(field.name, field.type) for field in table.schema]
    return pa.Table.from_arrays(table.columns, schema=pa.schema(fields))


def _without_views(table: Any) -> Any:
    """Views of texts and runs of values as plain columns, codes by one dictionary; much of Arrow takes no others."""
    for place, name in enumerate(table.column_names):
        if pa.types.is_dictionary(table.column(place).type):
            table = table.set_column(place, name, one_dictionary(table.column(place)))
    for place, field in enumerate(table.schema):
        target = _plain_type(field.type)
        if target != field.type:
            column = table.column(place)
            if pa.types.is_run_end_encoded(field.type):
                column = pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], field.type.value_type)
            table = table.set_column(place, field.name, column.cast(target))
    return table


def _plain_type(given: Any) -> Any:
    types = pa.types
    if types.is_dictionary(given):
        return pa.dictionary(given.index_type, _plain_type(given.value_type), given.ordered)
    if types.is_run_end_encoded(given):
        return _plain_type(given.value_type)
    return pa.string() if types.is_string_view(given) else pa.binary() if types.is_binary_view(given) else given


def _read_times(owner: str, table: Any, time_zone: str | None = None, round_times: bool = False) -> Any:
    if time_zone is not None and (fault := time_zone_fault(time_zone)) is not None:
        raise ConfigError(f"{owner}: {fault}")
    for place, field in enumerate(table.schema):
        if not pa.types.is_timestamp(field.type):
            continue
        column = table.column(place)
        if round_times and field.type.unit == "ns":
            target = pa.timestamp("us", field.type.tz)
            column = pc.round_temporal(column, unit="microsecond").cast(target, safe=False)
        if time_zone is not None and field.type.tz is None:
            column = _local(owner, field.name, column, time_zone)
        table = table.set_column(place, field.name, column)
    return table


def _local(owner: str, name: str, column: Any, time_zone: str) -> Any:
    """Convert naive times of a zone to instants.

    Raises:
        DataError: one is there twice in its zone, or never, where clocks are changed.
    """
    try:
        return pc.assume_timezone(column, time_zone)
    except pa.ArrowInvalid as error:
        early = pc.assume_timezone(column, time_zone, ambiguous="earliest", nonexistent="earliest")
        late = pc.assume_timezone(column, time_zone, ambiguous="latest", nonexistent="latest")
        rows = np.flatnonzero(pc.fill_null(pc.not_equal(early, late), False).to_numpy(zero_copy_only=False))
        if not len(rows):
            raise DataError(f"{owner}: column {name!r} must hold times of {time_zone}: {error}", column=name) from error
        rule = f"must hold times that {time_zone} has once; give instants with their zone"
        value = column.cast(pa.string())[int(rows[0])].as_py()
        raise DataError(f"{owner}: column {name!r} {rule}, got {value} in row {rows[0]}", column=name) from error


def with_origin(table: pa.Table, path: Path, first_row: int) -> pa.Table:
    """A table whose metadata name the file that its rows were read from, and the number of the first row there."""
    return table.replace_schema_metadata({_FILE: str(path), _FIRST_ROW: str(first_row)})


def origin_of(table: pa.Table) -> tuple[str, int] | None:
    """The file that the rows of a table were read from, and the number of the first row there, from 0; if known."""
    told = table.schema.metadata or {}
    return (told[_FILE].decode(), int(told[_FIRST_ROW])) if _FILE in told else None
