"""Columns that are carried over: what Delta tables lack is written as a type that holds the same values, or refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from raymlops.errors import DataError, SchemaMismatch
from raymlops.tables.columns import INSTANT

__all__ = ["carried_as", "carried_schema", "values_decide"]

_DECIMAL_DIGITS = 38
_REMEDY = "leave it out by naming the columns to carry over (columns=, --column), or write it as another type"
_MICROSECONDS = pa.timestamp("us")
_SAME = {
    *(pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64()),
    *(pa.date32(), pa.string(), pa.binary(), INSTANT, _MICROSECONDS),
}
_WIDER = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
    pa.null(): pa.string(),
}


def carried_schema(source: str, rows: pa.Schema, names: Sequence[str], own: Sequence[str]) -> pa.Schema:
    """Columns of the output that come from the source, in the types in which they are written.

    Args:
        source: What the user called it.
        rows: Its columns.
        names: Those to carry over.
        own: Columns that the output has beside them.

    Raises:
        SchemaMismatch: A name is there twice, if only in another case, which Delta tables do not tell apart; or Delta
            tables have no type for a column's values.
    """
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in [*own, *names]:
        alike[name.lower()].append(name)
    for same in alike.values():
        taken = [name for name in own if name in same]
        if taken and len(same) > 1:
            raise SchemaMismatch(
                f"{source}: column {same[-1]!r} has the name of the output's own {taken[0]!r}: "
                "name the columns to carry over without it, or rename it",
                columns=same,
            )
        if len(same) > 1:
            raise SchemaMismatch(
                f"{source}: columns {same} have one name in a Delta table, which knows no case: "
                "name the columns to carry over, with one of them",
                columns=same,
            )
    nameless = [name for name in names if not name or "\0" in name]
    if nameless:
        raise SchemaMismatch(f"{source}: columns must have names without NUL, got {nameless}", columns=nameless)
    return pa.schema([_field(source, name, rows.field(name)) for name in names])


def carried_as(name: str, column: pa.ChunkedArray, dtype: pa.DataType) -> pa.ChunkedArray:
    """A column in the type of ``carried_schema``; no value changes.

    Raises:
        DataError: A value would: an instant is no whole microsecond, or lies outside what microseconds reach.
    """
    if column.type == dtype:
        return column
    try:
        return pa.chunked_array([_cast(chunk, dtype) for chunk in column.chunks], dtype)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"column {name!r} must hold times in whole microseconds that a Delta table can hold, got {column.type}: "
            f"{_short(error)}: {_REMEDY}",
            column=name,
        ) from error


def values_decide(given: pa.DataType) -> bool:
    """Whether it depends on the values if a column can be written, so that all of them must be seen beforehand."""
    if isinstance(given, pa.BaseExtensionType):
        return values_decide(given.storage_type)
    if pa.types.is_dictionary(given):
        return values_decide(given.value_type)
    if pa.types.is_nested(given):
        return any(values_decide(given.field(place).type) for place in range(given.num_fields))
    return bool(pa.types.is_timestamp(given) and given.unit != "us")


def _field(source: str, path: str, given: pa.Field) -> pa.Field:
    """A field as Delta tables have it, without what its file says beside its type."""
    dtype = given.type

    def below(field: pa.Field) -> pa.Field:
        return _field(source, f"{path}.{field.name}", field)

    if isinstance(dtype, pa.BaseExtensionType):
        return _field(source, path, pa.field(given.name, dtype.storage_type, given.nullable))
    if pa.types.is_dictionary(dtype):
        return _field(source, path, pa.field(given.name, dtype.value_type, given.nullable))
    written = _nested(dtype, below) or _flat(dtype)
    if written is None:
        raise SchemaMismatch(f"{source}: column {path!r} is {dtype}, which Delta tables lack: {_REMEDY}", column=path)
    names = [field.name.lower() for field in written] if pa.types.is_struct(written) else []
    if len(set(names)) < len(names):
        raise SchemaMismatch(
            f"{source}: column {path!r} is {dtype}, with names that differ in case at most: {_REMEDY}", column=path
        )
    return pa.field(given.name, written, given.nullable)


def _nested(dtype: pa.DataType, below: Callable[[pa.Field], pa.Field]) -> pa.DataType | None:
    types = pa.types
    if types.is_map(dtype):
        return pa.map_(below(dtype.key_field), below(dtype.item_field))
    if types.is_struct(dtype) and dtype.num_fields:
        return pa.struct([below(dtype.field(place)) for place in range(dtype.num_fields)])
    # not list views: Arrow's cast to lists, as of version 25, loses values behind a null
    if types.is_list(dtype) or types.is_large_list(dtype) or types.is_fixed_size_list(dtype):
        return pa.list_(below(dtype.value_field))
    return None


def _flat(dtype: pa.DataType) -> pa.DataType | None:
    types, written = pa.types, _WIDER.get(dtype)
    if dtype in _SAME:
        written = dtype
    elif types.is_timestamp(dtype):
        written = _MICROSECONDS if dtype.tz is None else INSTANT
    elif types.is_decimal(dtype) and 0 <= dtype.scale <= dtype.precision <= _DECIMAL_DIGITS:
        written = pa.decimal128(dtype.precision, dtype.scale)
    elif types.is_large_string(dtype) or types.is_string_view(dtype):
        written = pa.string()
    elif types.is_large_binary(dtype) or types.is_binary_view(dtype) or types.is_fixed_size_binary(dtype):
        written = pa.binary()
    return written


def _cast(array: Any, dtype: pa.DataType) -> Any:
    while isinstance(array, pa.ExtensionArray):
        array = array.storage
    return array.cast(dtype)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]
