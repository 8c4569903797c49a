"""The use of each column of a user's table: an input of some type, or the reason why not."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import ConfigError
from raymlops.features.definitions.fields import DType
from raymlops.features.definitions.naming import check_column
from raymlops.laboratory.intake.columns import input_values, plain_column
from raymlops.projects.instants import read_instants
from raymlops.projects.rows import OWN_COLUMNS
from raymlops.projects.suspects import TELLS_ALL, told_share
from raymlops.serving.models.input_names import EVENT_SCHEMA

__all__ = ["Column", "Labels", "describe_columns", "kind_of"]

_MOST_MISSING = 0.95
_MOST_CATEGORIES, _ROWS_PER_CATEGORY = 1000, 10
_NOT_NULL_ROWS = 1000
"""A column that has no missing value in so many rows is taken to have none."""
_WITHOUT_LABEL = 20
_MIXED_SHARE = 0.5
_NUMBER = r"^\s*[+-]?\d+(?:[.,]\d+)?\s*%?\s*$"
_ID_NAME = re.compile(r"(^|[_\W])(id|uuid|guid|key|rowid|index)$|[a-z]Id$", re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """The use of a column.

    Attributes:
        name: Of the column.
        dtype: Type of the field it makes.
        why_not: Why it is no input; empty: it is one.
        suspect: Whether it is left out because it may leak the label.
        told: The share of the label that it tells alone.
        nullable: Whether values may be missing.
        ge: Smallest value that is plausible.
        le: Largest value that is plausible.
    """

    name: str
    dtype: DType = "float64"
    why_not: str = ""
    suspect: bool = False
    told: float = 0.0
    nullable: bool = True
    ge: float | None = None
    le: float | None = None

    @property
    def number(self) -> bool:
        """Whether means over windows say something."""
        return self.dtype in {"int64", "float64", "bool"}


@dataclass(frozen=True)
class Labels:
    """The label of each row: class numbers, or values; NaN where there is none."""

    kind: str
    values: npt.NDArray[np.float64]
    classes: tuple[str, ...]


def describe_columns(
    rows: Any, at_us: npt.NDArray[np.int64], labels: Labels, named: Collection[str], *, time_zone: str
) -> list[Column]:
    """The use of each column without a named role, in the order of the table.

    Args:
        rows: In the order of time.
        at_us: The rows' own times.
        labels: Of the rows.
        named: Columns of the label, of times and of entities.
        time_zone: Zone of times that are written without one.
    """
    found: list[Column] = []
    taken: dict[str, str] = {name.lower(): name for name in named}
    for name in rows.column_names:
        if name in named:
            continue
        why_not = _name_fault(name, taken)
        taken.setdefault(name.lower(), name)
        found.append(Column(name, why_not=why_not) if why_not else _describe(rows, name, at_us, labels, time_zone))
    return found


def kind_of(column: Any) -> DType:
    """The type of the field that a column makes."""
    kind = plain_column(column).type
    if pa.types.is_string(kind):
        return "string"
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "timestamp"
    whole = pa.types.is_integer(kind) and not pa.types.is_uint64(kind)
    return "int64" if whole else "float64"


def _name_fault(name: str, taken: dict[str, str]) -> str:
    try:
        check_column("table", name)
    except ConfigError as error:
        return str(error).partition(": ")[2] + "; rename it to use it"
    if name in OWN_COLUMNS or name in EVENT_SCHEMA.names:
        return "the platform has a column of this name; rename it to use it"
    other = taken.get(name.lower(), name)
    return f"its name differs from {other!r} by the case of letters alone; rename it to use it" if other != name else ""


def _describe(rows: Any, name: str, at_us: npt.NDArray[np.int64], labels: Labels, time_zone: str) -> Column:
    column = plain_column(rows[name])
    dtype = kind_of(column)
    described = Column(name, dtype)
    if dtype == "timestamp":
        # as a mere table of one column: its times may be local
        rows = pa.table({name: read_instants(rows, name, time_zone)})
    values, why_not = input_values(rows, name, at_us)
    why_not = _of_no_use(column, name, dtype) or why_not
    if values is None or why_not:
        later = "after the row's own" in why_not
        said = "it holds times after the row's own: it may tell what happened" if later else why_not
        return replace(described, why_not=said, suspect=later)
    values = values.astype(np.float64)
    known = ~np.isnan(labels.values)
    told = told_share(values[known], labels.values[known], classes=len(labels.classes))
    described = replace(_with_rules(described, values), told=told)
    suspicion = _suspicion(values, labels, told, known)
    return replace(described, why_not=suspicion, suspect=bool(suspicion))


def _of_no_use(column: Any, name: str, dtype: DType) -> str:
    """Why a column that can be made numbers is no input all the same."""
    present = len(column) - column.null_count
    if present < (1.0 - _MOST_MISSING) * len(column):
        return f"{column.null_count / len(column):.1%} of its values are missing"
    if dtype not in {"string", "int64"}:
        return ""
    distinct = pc.count_distinct(column, mode="only_valid").as_py()
    if dtype == "string":
        return _of_texts(column, present, distinct)
    if dtype == "int64" and distinct == present and _ID_NAME.search(name):
        return "it is an identifier: each value is there once"
    return ""


def _of_texts(column: Any, present: int, distinct: int) -> str:
    if distinct == present:
        return "it is an identifier or free text: each value is there once"
    if distinct > min(_MOST_CATEGORIES, max(2, present // _ROWS_PER_CATEGORY)):
        numbers = pc.mean(pc.match_substring_regex(pc.drop_null(column), _NUMBER).cast(pa.float64())).as_py()
        if numbers > _MIXED_SHARE:
            strange = column.filter(pc.invert(pc.match_substring_regex(column, _NUMBER)))
            if not len(strange):
                shown = pc.drop_null(column)[0].as_py()
                return (
                    f"it holds {distinct:,} texts such as {shown!r:.40}: to use them as numbers, write them as in 0.5"
                )
            other = strange[0].as_py()
            return f"it holds texts, of which {numbers:.0%} are numbers, others are not, such as {other!r:.40}"
        return f"it has {distinct:,} different texts in {present:,} rows, too many for categories"
    return ""


def _with_rules(column: Column, values: npt.NDArray[np.float64]) -> Column:
    """With bounds that leave room: not below 0 where nothing is, and ten times what was seen."""
    column = replace(column, nullable=len(values) < _NOT_NULL_ROWS or bool(np.isnan(values).any()))
    if column.dtype not in {"int64", "float64"}:
        return column
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low < 0.0:
        return column
    share = column.dtype == "float64" and high <= 1.0
    return replace(column, ge=0.0, le=1.0 if share else _round_up(10.0 * high))


def _round_up(value: float) -> float | None:
    if not 0.0 < value < 1e15:
        return None
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= value))


def _suspicion(values: npt.NDArray[np.float64], labels: Labels, told: float, known: npt.NDArray[np.bool_]) -> str:
    """The reason to suspect that a column leaks the future; empty where there is none."""
    if told >= TELLS_ALL[labels.kind]:
        return f"it tells {told:.1%} of the label alone: it may have been filled in when the label was known"
    filled = ~np.isnan(values)
    if (~known).sum() >= _WITHOUT_LABEL and not filled[~known].any() and filled[known].mean() > 1.0 - _MOST_MISSING:
        return "it is filled in only where the label is: it may become known with it"
    return ""
