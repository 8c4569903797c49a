"""Examples that on-demand functions are tried on: rows of the declared types, the awkward values among them."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from raymlops.errors import SchemaMismatch
from raymlops.features.definitions.fields import DType, Field
from raymlops.features.definitions.naming import parse_feature, seen_as
from raymlops.features.definitions.schema import arrow_type, typed
from raymlops.features.definitions.services import OnDemandView
from raymlops.features.definitions.views import FeatureView, WindowAggregate

__all__ = ["domain_of", "example_of", "values_of"]

_MIXED_ROWS = 24
_LEAST = -(2**63)

_REALS = (0.0, 1.0, -1.0, 0.5, -2.75, 1 / 3, 42.0, 99.9, -1000.0, 12345.678, 1e6, -1e9, 1e15, 1e-9)
_INTEGERS = (0, 1, -1, 2, 7, -13, 60, 1000, -4096, 1_000_003, 2**31, -(2**40), 2**52)
_STEPS = (0.0, 0.25, 0.5, 1.0, 2.5, 10.0, 333.3, 1e4, 1e6)
_SHARES = (0.0, 0.01, 0.25, 0.5, 0.7, 0.99, 1.0)
_TEXTS = ("", "a", "B", "a b", "0", "-12.5", "none", "Zürich", "2024-02-29", "x" * 200)
_INSTANTS = (
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2000, 2, 29, 12, 30, tzinfo=UTC),
    datetime(2024, 3, 31, 1, 30, 0, 1, tzinfo=UTC),
    datetime(2024, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
)


def example_of(view: OnDemandView, views: Mapping[str, FeatureView]) -> dict[str, Any]:
    """The columns that the function of a view is tried on.

    Rows of the view's own example, or made-up ones that are the same every time; then the first of them with each
    value missing in turn, and with all of them missing.

    Args:
        view: The view.
        views: Name -> the view that its inputs are of.

    Returns:
        Name the function sees -> Arrow array of the declared type.

    Raises:
        SchemaMismatch: the view's own example has values that are not of the declared types.
    """
    domains = {seen_as(reference): domain_of(view, reference, views) for reference in view.inputs}
    rows = _mixed(view.ref, domains) if view.example is None else _given(view, view.example, domains)
    missing = [name for name, domain in domains.items() if domain.nullable]
    first = rows[0]
    rows += [{**first, name: None} for name in missing] + [{**first, **dict.fromkeys(missing)}]
    return {name: pa.array([row[name] for row in rows], arrow_type(field.dtype)) for name, field in domains.items()}


def domain_of(view: OnDemandView, reference: str, views: Mapping[str, FeatureView]) -> Field:
    """What values an input of an on-demand view can have; any may be missing, unless it is a count."""
    if ":" not in reference:
        return Field(reference, view.request_type(reference))
    name, _, feature = parse_feature(reference)
    source = views[name]
    aggregate = next((each for each in source.aggregates if each.name == feature), None)
    if aggregate is None:
        return replace(source.field(feature), nullable=True)
    return _aggregate_domain(aggregate, source.field(aggregate.field), source.dtype_of(feature))


def _aggregate_domain(aggregate: WindowAggregate, of: Field, dtype: DType) -> Field:
    if aggregate.function in {"min", "max", "last"}:
        return replace(of, nullable=True)
    low, high = (0.0, 1.0) if of.dtype == "bool" else (of.ge, of.le)
    if aggregate.function == "mean":
        return Field(aggregate.name, dtype, ge=low, le=high)
    if aggregate.function == "sum":
        return Field(aggregate.name, dtype, ge=0.0 if low is not None and low >= 0 else None)
    return Field(aggregate.name, dtype, nullable=aggregate.function == "std", ge=0)


def _mixed(seed: str, domains: Mapping[str, Field]) -> list[dict[str, Any]]:
    """Every value of every column at least once, in mixtures that a seed fixes."""
    choose = random.Random(seed)  # noqa: S311 - no secret
    columns = {}
    for name, domain in domains.items():
        values = values_of(domain)
        count = max(_MIXED_ROWS, len(values))
        columns[name] = choose.sample(values, len(values)) + choose.choices(values, k=count - len(values))
    length = max(map(len, columns.values()))
    return [{name: column[row % len(column)] for name, column in columns.items()} for row in range(length)]


def _given(
    view: OnDemandView, example: Mapping[str, Sequence[Any]], domains: Mapping[str, Field]
) -> list[dict[str, Any]]:
    owner = f"on-demand view {view.ref!r}: example"
    columns = {name: _typed(owner, name, example[name], domain.dtype) for name, domain in domains.items()}
    length = len(next(iter(columns.values())))
    return [{name: column[row].as_py() for name, column in columns.items()} for row in range(length)]


def _typed(owner: str, name: str, values: Sequence[Any], dtype: DType) -> Any:
    try:
        column = pa.array(values)
    except (pa.ArrowException, OverflowError) as error:
        raise SchemaMismatch(f"{owner}: column {name!r} must hold one type: {error}", column=name) from error
    return typed(owner, name, column, dtype)


def values_of(domain: Field) -> list[Any]:
    """Values that a field allows, the awkward ones among them; never a missing one."""
    if domain.allowed is not None:
        return list(domain.allowed)
    match domain.dtype:
        case "bool":
            return [False, True]
        case "string":
            return list(_TEXTS)
        case "timestamp":
            return list(_INSTANTS)
        case "int64":
            return _integers(domain)
        case "float64":
            return [float(value) for value in _bounded(domain, _REALS)]


def _integers(domain: Field) -> list[int]:
    low = _LEAST if domain.ge is None else max(_LEAST, math.ceil(domain.ge))
    high = -1 - _LEAST if domain.le is None else min(-1 - _LEAST, math.floor(domain.le))
    whole = (round(value) for value in _bounded(domain, _INTEGERS))
    return sorted({min(max(value, low), high) for value in whole})


def _bounded(domain: Field, unbounded: Sequence[float]) -> list[float]:
    if domain.ge is None and domain.le is None:
        return list(unbounded)
    if domain.ge is not None and domain.le is not None:
        return sorted({domain.ge + share * (domain.le - domain.ge) for share in _SHARES})
    if domain.ge is not None:
        return [domain.ge + step for step in _STEPS]
    assert domain.le is not None
    return [domain.le - step for step in _STEPS]
