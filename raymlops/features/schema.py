"""Tables as the views declare them: types, missing values and constraints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import DataError, SchemaMismatch
from raymlops.features.definitions import DType, FeatureView, Field
from raymlops.features.exact import LARGEST

__all__ = [
    "INSTANT",
    "arrow_type",
    "check_columns",
    "check_summable",
    "check_values",
    "conform",
    "instants_us",
    "key_column",
    "typed",
]

INSTANT = pa.timestamp("us", tz="UTC")

_TYPES: dict[DType, Any] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "timestamp": INSTANT,
}
_KEY_DTYPES: tuple[DType, ...] = ("int64", "string")
_ROWS_NAMED = 10
_WITHIN = f"must lie within {-LARGEST:g} and {LARGEST:g}"

Mask = npt.NDArray[np.bool_]


def arrow_type(dtype: DType) -> Any:
    """The Arrow type of a declared one."""
    return _TYPES[dtype]


def typed(owner: str, name: str, column: Any, dtype: DType) -> Any:
    """A column in its declared type: widened where no value changes; NaN becomes null, and -0.0 becomes 0.0.

    Raises:
        SchemaMismatch: the type does not fit, a timestamp is naive, or a value does not survive.
    """
    given = column.type
    if pa.types.is_dictionary(given):
        column = column.cast(given.value_type)
    if not _fits(column.type, dtype):
        rule = "a tz-aware timestamp" if dtype == "timestamp" else dtype
        raise SchemaMismatch(f"{owner}: column {name!r} must be {rule}, got {given}", column=name, got=str(given))
    try:
        column = column.cast(_TYPES[dtype])
    except pa.ArrowInvalid as error:
        reason = f"{owner}: column {name!r} must fit {dtype}, got a {given} that does not: {error}"
        raise SchemaMismatch(reason, column=name, got=str(given)) from error
    if dtype == "float64":
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), pc.add(column, 0.0))
    return column


def _fits(given: Any, dtype: DType) -> bool:
    types = pa.types
    if types.is_null(given):
        return True
    match dtype:
        case "int64":
            return bool(types.is_integer(given))
        case "float64":
            return bool(types.is_integer(given) or types.is_floating(given))
        case "bool":
            return bool(types.is_boolean(given))
        case "string":
            return _is_text(given)
        case "timestamp":
            return bool(types.is_timestamp(given)) and given.tz is not None


def _is_text(given: Any) -> bool:
    types = pa.types
    return bool(types.is_string(given) or types.is_large_string(given) or types.is_string_view(given))


def key_column(owner: str, name: str, column: Any, *, stored: bool = False) -> Any:
    """A key column as int64 or string.

    Args:
        owner: Whom an error names.
        name: Name of the column.
        column: The column.
        stored: Whether the type is to last; a column of nulls alone then has none.

    Raises:
        SchemaMismatch: it is neither integers nor strings.
    """
    given = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    for dtype in _KEY_DTYPES:
        if _fits(given, dtype) and not (stored and pa.types.is_null(given)):
            return typed(owner, name, column, dtype)
    raise SchemaMismatch(f"{owner}: key {name!r} must be integers or strings, got {given}", column=name, got=str(given))


def instants_us(owner: str, name: str, column: Any) -> npt.NDArray[np.int64]:
    """A column of instants as microseconds since 1970.

    Raises:
        SchemaMismatch: it is not tz-aware timestamps, or one is finer than a microsecond.
        DataError: an instant is missing.
    """
    instants = typed(owner, name, column, "timestamp")
    if instants.null_count:
        missing = pc.is_null(instants).to_numpy(zero_copy_only=False)
        raise DataError(f"{owner}: column {name!r} must not be null, got null in {_rows(missing)}", column=name)
    microseconds: npt.NDArray[np.int64] = instants.cast(pa.int64()).to_numpy()
    return microseconds


def check_columns(owner: str, given: Iterable[str], required: Iterable[str]) -> None:
    """No column twice, none missing.

    Raises:
        SchemaMismatch: the rule is broken.
    """
    names = list(given)
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise SchemaMismatch(f"{owner}: column names must be unique, got {doubled} more than once", columns=doubled)
    missing = [name for name in required if name not in set(names)]
    if missing:
        raise SchemaMismatch(f"{owner}: columns {missing} are missing, got {names}", columns=missing)


def conform(view: FeatureView, table: Any, *, created_at: datetime | None = None, exact: bool = False) -> Any:
    """The columns a view reads, in its order and types.

    Args:
        view: The view; its keys must be known.
        table: Rows of the view's table.
        created_at: Fills the view's created-at column where the table lacks it.
        exact: For rows to be stored: refuse columns the view does not declare, and keys without a type.

    Raises:
        SchemaMismatch: a column is missing, unknown, there twice, or has another type.
    """
    owner = f"view {view.name!r}"
    if view.created_at is not None and created_at is not None and view.created_at not in table.column_names:
        stamp = pa.repeat(pa.scalar(created_at, INSTANT), table.num_rows)
        table = table.append_column(view.created_at, stamp)
    check_columns(owner, table.column_names, view.table_columns)
    unknown = [name for name in table.column_names if name not in view.table_columns]
    if exact and unknown:
        raise SchemaMismatch(f"{owner}: columns {unknown} are not declared, got {table.column_names}", columns=unknown)
    declared = {column.name: column.dtype for column in view.fields}
    columns = {}
    for name in view.table_columns:
        if name in declared:
            columns[name] = typed(owner, name, table[name], declared[name])
        elif name in view.keys:
            columns[name] = key_column(owner, name, table[name], stored=exact)
        else:
            columns[name] = typed(owner, name, table[name], "timestamp")
    return pa.table(columns)


def check_values(view: FeatureView, table: Any) -> None:
    """All constraints on the values of a conforming table, at once.

    Raises:
        DataError: some row breaks a rule; the message and ``context["problems"]`` name columns, rules and rows.
    """
    declared = {column.name for column in view.fields}
    required = [view.event_time, *(key for key in view.keys if key not in declared)]
    problems: list[dict[str, Any]] = []

    def note(column: str, rule: str, broken: Mask) -> None:
        if broken.any():
            rows = np.flatnonzero(broken)
            problems.append({"column": column, "rule": rule, "count": len(rows), "rows": rows[:_ROWS_NAMED].tolist()})

    for name in required:
        note(name, "must not be null", _mask(pc.is_null(table[name])))
    for column in view.fields:
        _check_field(column, table[column.name], note)
    if problems:
        parts = [f"{p['column']!r} {p['rule']}, broken by {p['count']} rows, first {p['rows']}" for p in problems]
        raise DataError(f"view {view.name!r}: " + "; ".join(parts), view=view.name, problems=problems)


def check_summable(view: FeatureView, table: Any) -> None:
    """Doubles that windows are computed from must be finite and not absurd; the rest of the rules is for ingests.

    Raises:
        DataError: some row breaks the rule.
    """
    problems = []
    for name in sorted({aggregate.field for aggregate in view.aggregates}):
        if view.field(name).dtype == "float64":
            broken = _mask(_too_large(table[name]))
            if broken.any():
                problems.append(f"{name!r} {_WITHIN}, broken by {_rows(broken)}")
    if problems:
        raise DataError(f"view {view.name!r}: " + "; ".join(problems), view=view.name, problems=problems)


def _too_large(values: Any) -> Any:
    return pc.greater(pc.abs(values), LARGEST)


def _check_field(column: Field, values: Any, note: Callable[[str, str, Mask], None]) -> None:
    if not column.nullable:
        note(column.name, "must not be null", _mask(pc.is_null(values)))
    if column.dtype == "float64":
        note(column.name, _WITHIN, _mask(_too_large(values)))
    if column.ge is not None:
        note(column.name, f"must be at least {column.ge:g}", _mask(pc.less(values, column.ge)))
    if column.le is not None:
        note(column.name, f"must be at most {column.le:g}", _mask(pc.greater(values, column.le)))
    if column.allowed is not None:
        known = pa.array(column.allowed).cast(_TYPES[column.dtype])
        outside = pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, value_set=known)))
        note(column.name, f"must be one of {list(column.allowed)}", _mask(outside))


def _mask(column: Any) -> Mask:
    mask: Mask = pc.fill_null(column, False).to_numpy(zero_copy_only=False)
    return mask


def _rows(mask: Mask) -> str:
    rows = np.flatnonzero(mask)
    return f"{len(rows)} rows, first {rows[:_ROWS_NAMED].tolist()}"
