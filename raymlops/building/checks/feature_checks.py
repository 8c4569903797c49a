"""Checks of a project's feature functions: they need its definitions, and no row of its data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.building.checks.finding import Finding, does_not_apply, failed, passed
from raymlops.errors import ConfigError, DataError
from raymlops.features import Definition, FeatureView, OnDemandView
from raymlops.features.definitions.examples import domain_of, values_of
from raymlops.features.definitions.fields import Field
from raymlops.features.definitions.naming import parse_feature, seen_as
from raymlops.features.definitions.on_demand import OnDemandFunction
from raymlops.features.definitions.rehearsal import rehearse
from raymlops.features.definitions.schema import arrow_type

__all__ = ["batch_equals_row_by_row", "edge_rows", "edge_values"]

_LARGEST = 1e30
"""What a model is served with must fit into 32 bits."""
_MIXED_ROWS = 40
_EARLY, _LATE = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def edge_values(definitions: Sequence[Definition]) -> Finding:
    """Each feature function on zeros, extremes, infinities and missing values.

    Where no input is missing or infinite, no number that comes out may be.
    """
    views, functions = _views(definitions), _functions(definitions)
    if not functions:
        return does_not_apply("the project has no on-demand view, so no feature function of its own")
    rows = 0
    for view in functions:
        columns = edge_rows(view, views)
        try:
            fault = _fault(OnDemandFunction(view), columns)
        except (ConfigError, DataError) as error:
            return failed(str(error), "make the function take every value of its inputs' types, missing ones too")
        if fault:
            remedy = (
                "guard the division or the logarithm (numpy.where), or declare the range of the input (Field ge, le)"
            )
            return failed(f"on-demand view {view.name!r}: {fault}", remedy)
        rows += len(next(iter(columns.values())))
    return passed(f"{len(functions)} functions give finite numbers on {rows} rows of edge values")


def batch_equals_row_by_row(definitions: Sequence[Definition]) -> Finding:
    """Each feature function in one call, row by row, in other orders and in parts: the same bits."""
    views, functions = _views(definitions), _functions(definitions)
    if not functions:
        return does_not_apply("the project has no on-demand view, so no feature function of its own")
    rows = 0
    for view in functions:
        columns = edge_rows(view, views)
        try:
            rehearse(OnDemandFunction(view), columns)
        except (ConfigError, DataError) as error:
            return failed(
                str(error), "compute each row from that row alone: no mean, sort or sum over the rows of a call"
            )
        rows += len(next(iter(columns.values())))
    return passed(f"{len(functions)} functions, {rows} rows: the same bits in one call, in parts and row by row")


def edge_rows(view: OnDemandView, views: Mapping[str, FeatureView]) -> dict[str, Any]:
    """Rows of edge values of an on-demand view's inputs, within the ranges that are declared.

    Returns:
        Name the function sees -> Arrow array of the declared type.
    """
    domains = {seen_as(reference): domain_of(view, reference, views) for reference in view.inputs}
    edges = {name: _edges(domain) for name, domain in domains.items()}
    typical = {name: values_of(domain)[len(values_of(domain)) // 2] for name, domain in domains.items()}
    rows = [dict(typical)]
    for name, values in edges.items():
        rows += [{**typical, name: value} for value in values]
    longest = max(map(len, edges.values()))
    rows += [{name: values[place % len(values)] for name, values in edges.items()} for place in range(longest)]
    zeros = {name: 0 for name, domain in domains.items() if 0 in _plain(edges[name], domain)}
    rows.append({**typical, **zeros})
    rng = np.random.default_rng(0)
    rows += [{name: values[rng.integers(len(values))] for name, values in edges.items()} for _ in range(_MIXED_ROWS)]
    return {name: pa.array([row[name] for row in rows], arrow_type(domain.dtype)) for name, domain in domains.items()}


def _edges(domain: Field) -> list[Any]:
    """Edge values of an input, a missing one last where it may be missing."""
    missing = [None] if domain.nullable else []
    known = values_of(domain)
    if domain.allowed is not None or domain.dtype in {"bool", "string"}:
        return [*known, *missing]
    if domain.dtype == "timestamp":
        return [*known, _EARLY, _LATE, *missing]
    low = -_LARGEST if domain.ge is None else float(domain.ge)
    high = _LARGEST if domain.le is None else float(domain.le)
    wanted = [
        0.0,
        low,
        high,
        1e-30,
        *([-math.inf] if domain.ge is None else []),
        *([math.inf] if domain.le is None else []),
    ]
    if domain.dtype == "int64":
        return [*known, *(0 for _ in range(low <= 0 <= high)), *missing]
    return [*known, *(value for value in wanted if low <= value <= high or math.isinf(value)), *missing]


def _plain(values: Sequence[Any], domain: Field) -> list[Any]:
    return list(values) if domain.dtype in {"int64", "float64"} else []


def _fault(function: OnDemandFunction, columns: Mapping[str, Any]) -> str:
    """The first number that is not finite though all inputs of its row are; empty where there is none."""
    rows = len(next(iter(columns.values())))
    with np.errstate(all="ignore"):  # what comes of them is looked at
        results = function.compute(columns, rows)
        whole = [all(_is_whole(column[row].as_py()) for column in columns.values()) for row in range(rows)]
        for name, values in results.items():
            if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
                continue
            for row in range(rows):
                value = values[row].as_py()
                if whole[row] and not _is_whole(value):
                    given = {seen: column[row].as_py() for seen, column in columns.items()}
                    told = "missing (NaN)" if value is None or math.isnan(value) else f"{value}"
                    return f"{name} is {told} for {given}"
    return ""


def _is_whole(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _views(definitions: Sequence[Definition]) -> dict[str, FeatureView]:
    return {view.name: view for view in definitions if isinstance(view, FeatureView)}


def _functions(definitions: Sequence[Definition]) -> list[OnDemandView]:
    """The on-demand views whose inputs the definitions have."""
    return list(_complete(definitions, _views(definitions)))


def _complete(definitions: Sequence[Definition], views: Mapping[str, FeatureView]) -> Iterator[OnDemandView]:
    for view in definitions:
        if isinstance(view, OnDemandView) and all(parse_feature(each)[0] in views for each in view.feature_inputs):
            yield view
