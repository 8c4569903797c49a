"""Rows on their way into a table, told apart: those a view takes, and those it does not and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import SchemaMismatch
from raymlops.features.definitions.schema import (
    NOT_NULL,
    Mask,
    RowFault,
    arrow_type,
    check_columns,
    key_column,
    raise_together,
    row_faults,
    type_fits,
    typed,
)
from raymlops.features.definitions.views import DType, FeatureView
from raymlops.tables.columns import INSTANT

__all__ = ["Screened", "screen"]


@dataclass(frozen=True)
class Screened:
    """A table and its faults.

    Attributes:
        rows: All rows in the view's columns and types; values that do not fit are null.
        faults: Every rule that some row breaks.
        broken: Which rows break one.
    """

    rows: Any
    faults: tuple[RowFault, ...]
    broken: Mask

    @property
    def good(self) -> Any:
        """The rows without a fault."""
        return self.rows.filter(pa.array(~self.broken)) if self.faults else self.rows

    def reasons(self, row: int) -> list[str]:
        """Why a row is refused; columns and rules."""
        return [f"{fault.column!r} {fault.rule}" for fault in self.faults if fault.broken[row]]


def screen(
    view: FeatureView,
    table: Any,
    *,
    created_at: datetime,
    text: bool = False,
    key_dtypes: Mapping[str, DType] | None = None,
) -> Screened:
    """Find all faults of rows to be stored.

    Args:
        view: The view; it has its own table, and its keys are known.
        table: Its keys, times and fields, and nothing else.
        created_at: Fills the view's created-at column where the table lacks it.
        text: Whether values are texts to be read as the declared types; instants then need their zone.
        key_dtypes: Of texts: types of the keys that are no fields.

    Raises:
        SchemaMismatch: a column is missing, not declared, there twice, or of another type; all such faults at once.
    """
    owner = f"view {view.name!r}"
    if view.created_at is not None and view.created_at not in table.column_names:
        table = table.append_column(view.created_at, pa.repeat(pa.scalar(created_at, INSTANT), table.num_rows))
    check_columns(owner, table.column_names, view.table_columns)
    unknown = [name for name in table.column_names if name not in view.table_columns]
    if unknown:
        raise SchemaMismatch(f"{owner}: columns {unknown} are not declared, got {table.column_names}", columns=unknown)
    dtypes: dict[str, DType] = {**(key_dtypes or {}), **{column.name: column.dtype for column in view.fields}}
    columns, mismatches, unfit = {}, [], []
    for name in view.table_columns:
        key = name in view.keys and name not in dtypes
        try:
            if key:
                columns[name], rule, broken = _screened_key(owner, name, table[name])
            else:
                dtype = dtypes.get(name, "timestamp")
                columns[name], rule, broken = _screened(owner, name, table[name], dtype, text=text)
        except SchemaMismatch as error:
            mismatches.append(error)
            continue
        if broken is not None:
            unfit.append(RowFault(name, rule, broken, of_type=True))
    raise_together(owner, mismatches)
    rows = pa.table(columns)
    faults = (*unfit, *_others(row_faults(view, rows), unfit))
    broken_rows = np.zeros(rows.num_rows, bool)
    for fault in faults:
        broken_rows |= fault.broken
    return Screened(rows, faults, broken_rows)


def _screened_key(owner: str, name: str, column: Any) -> tuple[Any, str, Mask | None]:
    given = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_integer(given):
        return _screened(owner, name, column, "int64", text=False)
    return key_column(owner, name, column, stored=True), "", None


def _screened(owner: str, name: str, column: Any, dtype: DType, *, text: bool) -> tuple[Any, str, Mask | None]:
    """A column in its type, the rule that some values break, and which do."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if text and type_fits(column.type, "string"):
        if dtype != "string":
            column, broken = _read(column, arrow_type(dtype))
            return typed(owner, name, column, dtype), f"must be {_article(dtype)}", broken
    elif type_fits(column.type, dtype):
        rule = f"must fit {dtype}, got a {column.type} that does not"
        column, broken = _read(column, arrow_type(dtype))
        return typed(owner, name, column, dtype), rule, broken
    return typed(owner, name, column, dtype), "", None


def _article(dtype: DType) -> str:
    return "an instant with its zone, as in 2024-03-01T12:00:00Z" if dtype == "timestamp" else f"text of {dtype}"


def _read(column: Any, target: Any) -> tuple[Any, Mask | None]:
    """A column cast, with null where a value cannot be, and where that is."""
    try:
        return column.cast(target), None
    except pa.ArrowInvalid:
        broken = np.zeros(len(column), bool)
        spans = [(0, len(column))]
        while spans:
            start, stop = spans.pop()
            try:
                column.slice(start, stop - start).cast(target)
            except pa.ArrowInvalid:
                if stop - start == 1:
                    broken[start] = True
                else:
                    middle = (start + stop) // 2
                    spans += [(start, middle), (middle, stop)]
        return pc.if_else(pa.array(broken), pa.scalar(None, column.type), column).cast(target), broken


def _others(faults: list[RowFault], unfit: list[RowFault]) -> list[RowFault]:
    """Faults without those that a value which does not fit, and is null now, would have as well."""
    known = {fault.column: fault.broken for fault in unfit}
    others = []
    for fault in faults:
        broken = fault.broken
        if fault.rule == NOT_NULL and fault.column in known:
            broken = broken & ~known[fault.column]
        if broken.any():
            others.append(RowFault(fault.column, fault.rule, broken))
    return others
