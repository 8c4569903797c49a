"""Conversion of tables to a view's declared types, and checks of its constraints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import DataError, SchemaMismatch
from raymlops.tables.codes import of_codes
from raymlops.tables.columns import INSTANT, check_unique_columns, origin_of
from raymlops.tables.texts import cast_or_null, mask_of, read_texts

if TYPE_CHECKING:
    from raymlops.features.definitions.fields import DType, Field
    from raymlops.features.definitions.views import FeatureView

__all__ = [
    "EVENT_TIME",
    "LARGEST",
    "NOT_NULL",
    "FaultTally",
    "RowFault",
    "arrow_type",
    "check_columns",
    "check_summable",
    "conform",
    "fit_rule",
    "fitted",
    "instants_us",
    "key_column",
    "raise_together",
    "row_faults",
    "type_fits",
    "typed",
]

EVENT_TIME = "event_time"
"""Column of a spine that holds the instant a row is about."""
LARGEST = 1e100
"""Largest magnitude that may be summed; its square still leaves room for any number of rows."""

_TYPES: dict[DType, Any] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "timestamp": INSTANT,
}
_WHOLE_BELOW = 2.0**53
_KEY_DTYPES: tuple[DType, ...] = ("int64", "string")
NOT_NULL = "must not be null"
_ROWS_NAMED = 10
_SHOWN = 80
"""Characters of a value that a message shows."""
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
    given, types = column.type, pa.types
    if types.is_dictionary(given):
        column = column.cast(given.value_type)
    if not type_fits(column.type, dtype):
        rule = "a tz-aware timestamp" if dtype == "timestamp" else dtype
        remedy = (
            ": time_zone= names the zone of naive times" if dtype == "timestamp" and types.is_timestamp(given) else ""
        )
        raise SchemaMismatch(
            f"{owner}: column {name!r} must be {rule}, got {given}{remedy}", column=name, got=str(given)
        )
    values, broken = fitted(column, dtype)
    if broken is not None:
        row = int(np.flatnonzero(broken)[0])
        reason = f"{owner}: column {name!r} {fit_rule(column.type, dtype)}: {_shown(column[row])} in row {row}"
        raise SchemaMismatch(reason, column=name, got=str(given))
    if dtype == "float64":
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), pc.add(values, 0.0))
    return values


def fitted(column: Any, dtype: DType) -> tuple[Any, Mask | None]:
    """A column of a type that fits as its declared type, null where a value does not survive, and where that is.

    Whole floats are integers, below 2^53 in magnitude: beyond, neighbours are one float. NaN is missing.
    """
    types, broken, given = pa.types, None, column.type
    if dtype == "int64" and types.is_floating(given):
        column = column.cast(pa.float64())
        broken = mask_of(pc.greater_equal(pc.abs(column), _WHOLE_BELOW))
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    if dtype == "float64" and types.is_decimal(given):
        return read_texts(column.cast(pa.string()), pa.float64())  # rounded once, and whole numbers not at all
    return cast_or_null(column, _TYPES[dtype], broken=broken)


def fit_rule(given: Any, dtype: DType) -> str:
    """The rule that a message names for a value that the declared type cannot hold."""
    finer = dtype == "timestamp" and getattr(given, "unit", "") == "ns"
    remedy = "; round_times=True rounds to microseconds" if finer else ""
    return f"must fit {dtype}, got a {given} that does not{remedy}"


def _shown(value: Any) -> object:
    """An Arrow value for a message: Python has no value for some instants, so these are texts."""
    return value.cast(pa.string()).as_py() if pa.types.is_timestamp(value.type) else value.as_py()


def type_fits(given: Any, dtype: DType) -> bool:
    """Whether a column of an Arrow type can be one of a declared type."""
    types = pa.types
    if types.is_null(given):
        return True
    match dtype:
        case "int64":
            return bool(types.is_integer(given) or types.is_floating(given) or types.is_decimal(given))
        case "float64":
            return bool(types.is_integer(given) or types.is_floating(given) or types.is_decimal(given))
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
        if type_fits(given, dtype) and not pa.types.is_decimal(given) and not (stored and pa.types.is_null(given)):
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
    """Refuse a table that lacks a column or has it twice.

    Raises:
        SchemaMismatch: the rule is broken.
    """
    names = list(given)
    check_unique_columns(owner, names)
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
    columns, faults = {}, []
    for name in view.table_columns:
        try:
            if name in view.keys and name not in declared:
                columns[name] = key_column(owner, name, table[name], stored=exact)
            else:
                columns[name] = typed(owner, name, table[name], declared.get(name, "timestamp"))
        except SchemaMismatch as error:
            faults.append(error)
    raise_together(owner, faults)
    return pa.table(columns)


def raise_together(owner: str, faults: Sequence[SchemaMismatch]) -> None:
    """One error for all faults of a table's columns; nothing without any.

    Raises:
        SchemaMismatch: there is a fault; ``context["columns"]`` names the columns.
    """
    if len(faults) == 1:
        raise faults[0]
    if faults:
        message = "; ".join(str(fault).removeprefix(f"{owner}: ") for fault in faults)
        raise SchemaMismatch(f"{owner}: {message}", columns=[fault.context["column"] for fault in faults])


@dataclass(frozen=True)
class RowFault:
    """A rule about the values of a column, and the rows of a table that break it."""

    column: str
    rule: str
    broken: Mask
    of_type: bool = False
    """Whether the rule is that values survive in the declared type."""


def row_faults(view: FeatureView, table: Any) -> list[RowFault]:
    """All constraints on the values of a conforming table that some row breaks."""
    declared = {column.name for column in view.fields}
    required = [view.event_time, *(key for key in view.keys if key not in declared)]
    faults: list[RowFault] = []

    def note(column: str, rule: str, broken: Mask) -> None:
        if broken.any():
            faults.append(RowFault(column, rule, broken))

    for name in required:
        note(name, NOT_NULL, mask_of(pc.is_null(table[name])))
    for column in view.fields:
        _check_field(column, table[column.name], note)
    return faults


class FaultTally:
    """Faults of rows that come in several tables: how many rows break each rule, and which are the first."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._rows: dict[tuple[str, str], list[int]] = {}
        self._found_in: dict[tuple[str, str], str] = {}
        self._of_type = False

    def add(self, faults: Iterable[RowFault], first_row: int, given: Any = None) -> None:
        """Count faults of a table whose first row has the number ``first_row``.

        Args:
            faults: The faults.
            first_row: Number of the table's first row, from 0.
            given: The table as it was given; where it was read from a file, the first value at fault is told.
        """
        origin = None if given is None else origin_of(given)
        for fault in faults:
            rule = (fault.column, fault.rule)
            self._of_type |= fault.of_type
            rows = np.flatnonzero(fault.broken)
            self._counts[rule] = self._counts.get(rule, 0) + len(rows)
            named = self._rows.setdefault(rule, [])
            named += (rows[: _ROWS_NAMED - len(named)] + first_row).tolist()
            if origin is not None and rule not in self._found_in and fault.column in given.column_names:
                value = _shown(given[fault.column][int(rows[0])])
                self._found_in[rule] = f"; got {value!r:.{_SHOWN}} in {origin[0]}, row {origin[1] + int(rows[0])}"

    def raise_if_any(self, owner: str, **context: object) -> None:
        """Raise one error that lists all faults.

        Raises:
            SchemaMismatch: a value does not survive in the declared type.
            DataError: there is another fault; ``context["problems"]`` has columns, rules, counts and rows.
        """
        problems = [
            {"column": column, "rule": rule, "count": count, "rows": self._rows[column, rule]}
            for (column, rule), count in self._counts.items()
        ]
        if problems:
            parts = [
                f"column {p['column']!r} {p['rule']}, broken by {p['count']} rows, first {p['rows']}"
                + self._found_in.get((str(p["column"]), str(p["rule"])), "")
                for p in problems
            ]
            error = SchemaMismatch if self._of_type else DataError
            raise error(f"{owner}: " + "; ".join(parts), problems=problems, **context)


def check_summable(view: FeatureView, table: Any) -> None:
    """Doubles that windows are computed from must be finite and not absurd; the rest of the rules is for ingests.

    Raises:
        DataError: some row breaks the rule.
    """
    problems = []
    for name in sorted({aggregate.field for aggregate in view.aggregates}):
        if view.field(name).dtype == "float64":
            broken = mask_of(_too_large(table[name]))
            if broken.any():
                problems.append(f"{name!r} {_WITHIN}, broken by {_rows(broken)}")
    if problems:
        raise DataError(f"view {view.name!r}: " + "; ".join(problems), view=view.name, problems=problems)


def _too_large(values: Any) -> Any:
    return pc.greater(pc.abs(values), LARGEST)


def _check_field(column: Field, values: Any, note: Callable[[str, str, Mask], None]) -> None:
    if not column.nullable:
        note(column.name, NOT_NULL, mask_of(pc.is_null(values)))
    if column.dtype == "float64":
        note(column.name, _WITHIN, mask_of(_too_large(values)))
    if column.ge is not None:
        note(column.name, f"must be at least {column.ge:g}", mask_of(pc.less(values, column.ge)))
    if column.le is not None:
        note(column.name, f"must be at most {column.le:g}", mask_of(pc.greater(values, column.le)))
    if column.allowed is not None:
        note(column.name, f"must be one of {list(column.allowed)}", _outside(column, values))


def _outside(column: Field, values: Any) -> Mask:
    """Which values are not among those that are allowed."""
    known = pa.array(column.allowed).cast(_TYPES[column.dtype])

    def among(given: Any) -> Mask:
        return mask_of(pc.is_in(given, value_set=known))

    if pa.types.is_dictionary(values.type):
        outside = [~of_codes(chunk, among, missing=True) for chunk in values.chunks]
        return np.concatenate(outside) if outside else np.zeros(0, bool)
    return mask_of(pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, value_set=known))))


def _rows(mask: Mask) -> str:
    rows = np.flatnonzero(mask)
    return f"{len(rows)} rows, first {rows[:_ROWS_NAMED].tolist()}"
