"""Screening of rows to be ingested: good rows, and refused rows with the reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.errors import SchemaMismatch
from raymlops.features.definitions.fields import DType
from raymlops.features.definitions.schema import (
    NOT_NULL,
    Mask,
    RowFault,
    arrow_type,
    check_columns,
    fit_rule,
    fitted,
    key_column,
    raise_together,
    row_faults,
    type_fits,
    typed,
)
from raymlops.features.definitions.views import FeatureView
from raymlops.tables.codes import coded_where_few, text_codes
from raymlops.tables.columns import INSTANT
from raymlops.tables.texts import KEY_RULE, read_texts

__all__ = ["Screened", "screen"]


@dataclass(frozen=True)
class Screened:
    """A table and its faults.

    Attributes:
        rows: All rows in the view's columns and types; values that do not fit are null. Texts may be codes.
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
    time_zone: str | None = None,
) -> Screened:
    """Find all faults of rows to be stored.

    Args:
        view: The view; it has its own table, and its keys are known.
        table: Its keys, times and fields, and nothing else.
        created_at: Fills the view's created-at column where the table lacks it.
        text: Whether values are texts to be read as the declared types; instants then need their zone.
        key_dtypes: Of texts: types of the keys that are no fields.
        time_zone: Of texts: zone of instants that are written without one.

    Raises:
        SchemaMismatch: a column is missing, not declared, there twice, or of another type; all such faults at once.
    """
    owner = f"view {view.name!r}"
    if view.created_at is not None and view.created_at not in table.column_names:
        table = table.append_column(view.created_at, pa.repeat(pa.scalar(created_at, INSTANT), table.num_rows))
    check_columns(owner, table.column_names, view.table_columns)
    unknown = [name for name in table.column_names if name not in view.table_columns]
    if unknown:
        told = f"columns {unknown} are not declared, got {table.column_names}; extra_columns='ignore' leaves them out"
        raise SchemaMismatch(f"{owner}: {told}", columns=unknown)
    dtypes: dict[str, DType] = {**(key_dtypes or {}), **{column.name: column.dtype for column in view.fields}}
    columns, mismatches, unfit = {}, [], []
    for name in view.table_columns:
        try:
            if name in view.keys and name not in dtypes:
                columns[name], rule, broken = _screened_key(owner, name, table[name])
            else:
                dtype = dtypes.get(name, "timestamp")
                columns[name], rule, broken = _screened(
                    owner, name, table[name], dtype, text=text, key=name in view.keys, time_zone=time_zone
                )
        except SchemaMismatch as error:
            mismatches.append(error)
            continue
        if broken is not None:
            unfit.append(RowFault(name, rule, broken, of_type=True))
    raise_together(owner, mismatches)
    rows = pa.table({name: coded_where_few(column) for name, column in columns.items()})
    faults = (*unfit, *_others(row_faults(view, rows), unfit))
    broken_rows = np.zeros(rows.num_rows, bool)
    for fault in faults:
        broken_rows |= fault.broken
    return Screened(rows, faults, broken_rows)


def _screened_key(owner: str, name: str, column: Any) -> tuple[Any, str, Mask | None]:
    given = column.type
    if pa.types.is_dictionary(given):
        given = given.value_type
        if (codes := text_codes(column)) is not None:
            return codes, "", None
    if pa.types.is_integer(given) or pa.types.is_floating(given):
        return _screened(owner, name, column, "int64", text=False)
    return key_column(owner, name, column, stored=True), "", None


def _screened(
    owner: str, name: str, column: Any, dtype: DType, *, text: bool, key: bool = False, time_zone: str | None = None
) -> tuple[Any, str, Mask | None]:
    """A column in its type, the rule that some values break, and which do."""
    if pa.types.is_dictionary(column.type):
        if dtype == "string" and (codes := text_codes(column)) is not None:
            return codes, "", None
        column = column.cast(column.type.value_type)
    if text and type_fits(column.type, "string"):
        column, broken = read_texts(column, arrow_type(dtype), key=key, time_zone=time_zone)
        return typed(owner, name, column, dtype), _text_rule(name, dtype, key=key), broken
    if type_fits(column.type, dtype):
        rule = fit_rule(column.type, dtype)
        column, broken = fitted(column, dtype)
        return typed(owner, name, column, dtype), rule, broken
    return typed(owner, name, column, dtype), "", None


def _text_rule(name: str, dtype: DType, *, key: bool) -> str:
    if key and dtype == "int64":
        return f"{KEY_RULE}; where keys are texts, declare Field({name!r}, 'string') in a new version of the view"
    return (
        "must be an instant with its zone, as in 2024-03-01T12:00:00Z"
        if dtype == "timestamp"
        else f"must be text of {dtype}"
    )


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
