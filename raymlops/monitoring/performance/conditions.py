"""Conditions that name a part of a table's rows, such as ``carrier = 'AA' and distance > 1000``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raymlops.errors import ConfigError
from raymlops.monitoring.performance.basis import floats_of, texts_of
from raymlops.monitoring.profiles.columns import column_kind

__all__ = ["Levels", "condition_mask", "levels_of", "parse_condition"]

MAX_LEVELS = 6
QUANTILES = (0.25, 0.5, 0.75)

Mask = NDArray[np.bool_]

_CLAUSE = re.compile(r"\s*(?P<column>[^\s<>=!]+)\s*(?P<operator><=|>=|!=|==?|<|>)\s*(?P<value>'[^']*'|[^\s'<>=!]+)\s*")
_COMPARISONS: dict[str, Callable[[NDArray[np.float64], float], Mask]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "=": np.equal,
    "!=": np.not_equal,
}


@dataclass(frozen=True)
class Clause:
    """One comparison of a column with a value, which is text where it is quoted or no number."""

    column: str
    operator: str
    value: float | str

    def mask(self, table: pa.Table) -> Mask:
        """Which rows it holds for; never for a row whose value is missing, or of another kind."""
        if isinstance(self.value, str):
            texts = texts_of(table, self.column)
            there = np.array([text is not None for text in texts], dtype=np.bool_)
            same = np.asarray(texts == self.value, dtype=np.bool_)
            return there & (same if self.operator == "=" else ~same)
        values = floats_of(table, self.column)
        return np.isfinite(values) & _COMPARISONS[self.operator](values, self.value)


@dataclass(frozen=True)
class Levels:
    """The values of a column put in a few levels.

    Attributes:
        codes: Level of each of the N rows.
        conditions: The condition of each level.
    """

    codes: NDArray[np.intp]
    conditions: tuple[str, ...]


def parse_condition(text: str) -> tuple[Clause, ...]:
    """Read comparisons joined by ``and``.

    Raises:
        ConfigError: ``text`` is something else.
    """
    clauses = []
    for part in re.split(r"\s+and\s+", text.strip()):
        found = _CLAUSE.fullmatch(part)
        if found is None:
            raise ConfigError(f"a segment must be a column or comparisons joined by 'and', got {text!r}", segment=text)
        operator = "=" if found["operator"] == "==" else found["operator"]
        value = _value(found["value"])
        if isinstance(value, str) and operator not in {"=", "!="}:
            raise ConfigError(f"a segment must compare text by = or !=, got {text!r}", segment=text)
        clauses.append(Clause(found["column"], operator, value))
    return tuple(clauses)


def condition_mask(text: str, table: pa.Table) -> Mask:
    """Which rows all comparisons hold for.

    Raises:
        ConfigError: ``text`` is no condition, or names a column that the table does not have.
    """
    clauses = parse_condition(text)
    absent = sorted({clause.column for clause in clauses} - set(table.column_names))
    if absent:
        raise ConfigError(f"segment {text!r} names columns that are not logged: {absent}", segment=text)
    mask: Mask = np.logical_and.reduce([clause.mask(table) for clause in clauses])
    return mask


def levels_of(table: pa.Table, name: str) -> Levels:
    """Put a column's values in levels: its most frequent values, or its quarters where it holds many numbers."""
    if column_kind(table[name].type) == "categorical":
        return _text_levels(texts_of(table, name), name)
    values = floats_of(table, name)
    absent = ~np.isfinite(values)
    distinct = np.unique(values[~absent])
    if distinct.size <= MAX_LEVELS:
        codes = np.searchsorted(distinct, values).astype(np.intp)
        conditions = [f"{name} = {value:.15g}" for value in distinct]
    else:
        quarters = np.quantile(values[~absent], QUANTILES, method="lower")
        edges = np.unique([float(f"{edge:.6g}") for edge in quarters])  # as the conditions say them
        codes = np.searchsorted(edges, values).astype(np.intp)
        between = [f"{name} > {low:.6g} and {name} <= {high:.6g}" for low, high in pairwise(edges)]
        conditions = [f"{name} <= {edges[0]:.6g}", *between, f"{name} > {edges[-1]:.6g}"]
    codes[absent] = len(conditions)
    return Levels(codes, (*conditions, f"{name} is missing"))


def _text_levels(texts: NDArray[np.object_], name: str) -> Levels:
    filled = np.array(["" if text is None else text for text in texts], dtype=str)
    absent = np.array([text is None for text in texts], dtype=np.bool_)
    values, codes, counts = np.unique(filled, return_inverse=True, return_counts=True)
    counts = np.bincount(codes[~absent], minlength=values.size)
    top = np.argsort(-counts, kind="stable")[:MAX_LEVELS]
    place = np.full(values.size, top.size, dtype=np.intp)
    place[top] = np.arange(top.size)
    found = place[codes]
    found[absent] = top.size + 1
    conditions = [f"{name} = '{values[index]}'" for index in top]
    return Levels(found, (*conditions, f"{name} is none of its frequent values", f"{name} is missing"))


def _value(text: str) -> float | str:
    if text.startswith("'"):
        return text[1:-1]
    try:
        return float(text)
    except ValueError:
        return text
