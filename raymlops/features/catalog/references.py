"""Checks that definitions fit the definitions that they refer to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from raymlops.errors import FeatureViewNotFound
from raymlops.features.catalog.applied import AppliedOnDemand, newest
from raymlops.features.catalog.faults import Faults
from raymlops.features.definitions.examples import example_of
from raymlops.features.definitions.fields import Field
from raymlops.features.definitions.naming import column_name, parse_feature, parse_reference
from raymlops.features.definitions.on_demand import OnDemandFunction
from raymlops.features.definitions.rehearsal import rehearse
from raymlops.features.definitions.schema import EVENT_TIME, type_fits
from raymlops.features.definitions.services import FeatureService, OnDemandView
from raymlops.features.definitions.views import Entity, FeatureView

__all__ = ["check_continued", "check_on_demand", "check_service", "check_view", "pins_of", "source_of"]

_KEY = "int64 or string"
_WIDENED = {("int64", "float64")}
_NUMERIC = frozenset({"int64", "float64"})


def source_of(view: FeatureView, views: Mapping[str, FeatureView], faults: Faults) -> str | None:
    """Reference of the view whose table a view reads; ``None`` for its own, or where there is none to be found."""
    if view.source is None:
        return None
    owner = f"view {view.ref!r}"
    others = [ref for ref in views if ref != view.ref]
    name, version = parse_reference(view.source)
    own = name == view.name and (version == view.version or (version is None and not _has(others, name)))
    cycle = [view.ref, view.ref] if own else _cycle(view, views)
    if cycle:
        faults.add(f"{owner}: sources must not form a cycle, got {' -> '.join(cycle)}")
        return None
    with faults.noted(owner):
        found = newest(others, view.source, "source")
        if views[found].source is None:
            return found
        faults.add(f"{owner}: source must have its own table, got {found!r}, which reads {views[found].source!r}")
    return None


def _has(references: Collection[str], name: str) -> bool:
    return any(parse_reference(ref)[0] == name for ref in references)


def _cycle(view: FeatureView, views: Mapping[str, FeatureView]) -> list[str]:
    """The views from this one back to it, by their sources; empty where they end elsewhere."""
    path = [view.ref]
    while (source := views[path[-1]].source) is not None:
        try:
            path.append(newest([ref for ref in views if ref != path[-1]], source, "source"))
        except FeatureViewNotFound:
            return []
        if path[-1] in path[:-1]:
            return path if path[-1] == view.ref else []
    return []


def check_view(view: FeatureView, source: FeatureView | None, on_demand: Collection[str], faults: Faults) -> None:
    """Whether a view's name is free, and its columns are those of its source.

    Args:
        view: The view.
        source: The view whose table it reads; ``None``: it has its own.
        on_demand: Names of on-demand views.
        faults: Takes what is wrong.
    """
    if view.name in on_demand:
        faults.add(f"view {view.ref!r}: the name is an on-demand view's")
    if source is None or not isinstance(view.entity, Entity) or not isinstance(source.entity, Entity):
        return
    declared: dict[str, str] = {name: "timestamp" for name in source.table_columns}
    declared |= {key: _KEY for key in source.keys} | {column.name: column.dtype for column in source.fields}
    fields = {column.name: column for column in view.fields}
    for name in view.table_columns:
        reason = _misfit(view, fields.get(name), name, declared)
        if reason is None and name in fields and name in {column.name for column in source.fields}:
            reason = _unenforced(fields[name], source.field(name))
        if reason is not None:
            faults.add(f"view {view.ref!r}: " + reason.format(source=f"source {source.ref!r}"))


def check_continued(view: FeatureView, former: FeatureView, stored: Any, faults: Faults) -> None:
    """Whether the rows of a view can be those of another one from now on.

    Args:
        view: The view that begins with them.
        former: The view that has them.
        stored: Arrow schema of the table that it reads; ``None``: there is none yet.
        faults: Takes what is wrong.
    """
    owner = f"view {view.ref!r}"
    if isinstance(view.entity, Entity) and isinstance(former.entity, Entity) and view.keys != former.keys:
        faults.add(f"{owner}: keys must be those of {former.ref!r}, {list(former.keys)}, got {list(view.keys)}")
    if (view.created_at is None) != (former.created_at is None):
        have = "has none" if former.created_at is None else "has one"
        faults.add(f"{owner}: created_at must be there as in {former.ref!r}, which {have}, got {view.created_at!r}")
    known = {column.name: column for column in former.fields}
    for column in view.fields:
        then = known.get(column.formerly or column.name)
        if then is None and column.formerly is not None:
            faults.add(f"{owner}: {former.ref!r} has no field {column.formerly!r}, which {column.name!r} was formerly")
        elif then is None and not column.nullable and column.backfill is None and column.name not in view.keys:
            faults.add(f"{owner}: field {column.name!r} is new and not nullable, it must have a backfill")
        elif then is None and column.name in view.keys:
            kept = None if stored is None else stored.field(column.name).type
            if kept is not None and not type_fits(kept, column.dtype):
                rule = f"must be {kept} as in the table of {former.ref!r}"
                faults.add(f"{owner}: key {column.name!r} {rule}, got {column.dtype}")
        elif then is None and column.backfill is not None and not column.allows(column.backfill):
            faults.add(f"{owner}: field {column.name!r}: backfill must keep its own rules, got {column.backfill!r}")
        elif then is not None and (then.dtype, column.dtype) not in _WIDENED | {(column.dtype, column.dtype)}:
            faults.add(f"{owner}: field {column.name!r} must be {then.dtype} as before, or wider, got {column.dtype}")


def _misfit(view: FeatureView, field: Field | None, name: str, declared: Mapping[str, str]) -> str | None:
    have = declared.get(name)
    if have is None:
        return f"{{source}} has no column {name!r}"
    if field is not None:
        fits = field.dtype == have or (have == _KEY and field.dtype in {"int64", "string"})
        return None if fits else f"field {name!r} must be {have} as in its source, got {field.dtype}"
    if name in view.keys:
        return None if have in {_KEY, "int64", "string"} else f"key {name!r} must be {_KEY}, got {have}"
    return None if have == "timestamp" else f"time column {name!r} must be a timestamp as in its source, got {have}"


def _unenforced(field: Field, source: Field) -> str | None:
    """A constraint that the rows need not meet, as they are checked against the source's when they are ingested."""
    wider = {
        "nullable": not field.nullable and source.nullable,
        "ge": field.ge is not None and (source.ge is None or source.ge < field.ge),
        "le": field.le is not None and (source.le is None or source.le > field.le),
        "allowed": field.allowed is not None
        and (source.allowed is None or not set(source.allowed) <= set(field.allowed)),
    }
    broken = [name for name, is_wider in wider.items() if is_wider]
    if not broken:
        return None
    return f"field {field.name!r} must not constrain {broken} more than {{source}}, whose rows it reads"


def pins_of(
    owner: str,
    features: Sequence[str],
    views: Mapping[str, FeatureView],
    on_demand: Mapping[str, AppliedOnDemand],
    faults: Faults,
) -> dict[str, str]:
    """The versions that features mean now: view or on-demand view -> reference.

    Args:
        owner: Whose they are.
        features: ``VIEW:FIELD`` or ``VIEW@VERSION:FIELD``.
        views: All views.
        on_demand: The on-demand views that may be named.
        faults: Takes what is wrong.
    """
    pins: dict[str, str] = {}
    for feature in features:
        name, version, field = parse_feature(feature)
        reference = name if version is None else f"{name}@{version}"
        with faults.noted(owner):
            fields: Sequence[str]
            if _has(on_demand, name):
                ref = newest(on_demand, reference, "on-demand view")
                fields, inputs = [column.name for column in on_demand[ref].view.fields], on_demand[ref].pins
            else:
                ref = newest(views, reference, "view")
                fields, inputs = views[ref].feature_names, {}
            if field not in fields:
                faults.add(f"{owner}: view {ref!r} has no feature {field!r}, got {list(fields)}")
            for used, pin in {name: ref, **inputs}.items():
                if pins.setdefault(used, pin) != pin:
                    faults.add(f"{owner}: one version of a view at a time, got {pins[used]!r} and {pin!r}")
    return pins


def check_on_demand(
    view: OnDemandView, pins: Mapping[str, str], views: Mapping[str, FeatureView], faults: Faults
) -> None:
    """Whether an on-demand view's name is free and its function does what it must; tried only if its inputs are known.

    Args:
        view: The view, with its code's digest where the code was found.
        pins: Input view -> reference.
        views: All views.
        faults: Takes what is wrong.
    """
    if _has(views, view.name):
        faults.add(f"on-demand view {view.ref!r}: the name is a view's")
    inputs = {name: views[ref] for name, ref in pins.items()}
    wanted = [(name, field) for name, _, field in map(parse_feature, view.feature_inputs)]
    if view.code and all(name in inputs and field in inputs[name].feature_names for name, field in wanted):
        with faults.noted():
            rehearse(OnDemandFunction(view), example_of(view, inputs))


def check_service(
    owner: str,
    service: FeatureService,
    pins: Mapping[str, str],
    views: Mapping[str, FeatureView],
    on_demand: Mapping[str, OnDemandView],
    faults: Faults,
) -> None:
    """Whether the columns that a request for a service must have can be had together.

    Args:
        owner: Whose the request columns are.
        service: The service.
        pins: View or on-demand view -> reference.
        views: All views.
        on_demand: All on-demand views.
        faults: Takes what is wrong.
    """
    keys: dict[str, str] = {}
    for view in (views[ref] for ref in pins.values() if ref in views and isinstance(views[ref].entity, Entity)):
        declared = {column.name: column.dtype for column in view.fields}
        for key, name in zip(view.keys, view.join_columns, strict=True):
            dtype = declared.get(key, _KEY)
            _agree(owner, name, dtype, [keys.get(name), "timestamp" if name == EVENT_TIME else None], view.ref, faults)
            keys[name] = dtype if keys.get(name, _KEY) == _KEY else keys[name]
    types: dict[str, str] = {EVENT_TIME: "timestamp"}
    for computed in (on_demand[ref] for ref in pins.values() if ref in on_demand):
        for name in computed.request_inputs:
            asked = computed.request_type(name)
            _agree(owner, name, asked, [types.setdefault(name, asked), keys.get(name)], computed.ref, faults)
    columns = {column_name(view, field) for view, _, field in map(parse_feature, service.features)}
    for name in sorted(columns & {*keys, *types}):
        faults.add(f"{owner}: request column {name!r} has the name of a feature")


def _agree(owner: str, name: str, dtype: str, others: Sequence[str | None], asker: str, faults: Faults) -> None:
    for other in others:
        if other is not None and not _compatible(dtype, other):
            faults.add(f"{owner}: request column {name!r} cannot be {dtype} and {other}, {asker!r} asks for it")


def _compatible(first: str, second: str) -> bool:
    kinds = {first, second}
    if _KEY in kinds:
        return kinds <= {_KEY, "int64", "float64", "string"}
    return first == second or kinds <= _NUMERIC
