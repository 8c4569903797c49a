"""What differs between two definitions of the same name and version."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from datetime import timedelta
from itertools import chain
from typing import TypeAlias

from raymlops.features.catalog.applied import Definition
from raymlops.features.definitions.fields import Field
from raymlops.features.definitions.services import FeatureService, OnDemandView
from raymlops.features.definitions.views import Entity, FeatureView, WindowAggregate
from raymlops.records.features import AttributeChange

__all__ = ["differences", "documentation_changes"]

_ABSENT = "absent"
_NONE = "none"
_DOCUMENTATION = frozenset({"owner", "description", "tags"})
_PARTS = frozenset({"fields", "aggregates"})
_SHOWN_DIGITS = 12

Facts: TypeAlias = dict[str, str]


def differences(old: Definition, new: Definition) -> tuple[AttributeChange, ...]:
    """The attributes that determine values and differ, old and new as text for people.

    Args:
        old: A definition.
        new: Another of the same kind. A view's entity must be more than a name.
    """
    return _changes(_facts(old), _facts(new), documentation=False)


def documentation_changes(old: Definition, new: Definition) -> tuple[AttributeChange, ...]:
    """The attributes that differ and may change in place: owner, descriptions and tags."""
    return _changes(_facts(old), _facts(new), documentation=True)


def _changes(old: Facts, new: Facts, *, documentation: bool) -> tuple[AttributeChange, ...]:
    return tuple(
        AttributeChange(attribute=name, old=old.get(name, _ABSENT), new=new.get(name, _ABSENT))
        for name in dict.fromkeys(chain(old, new))
        if old.get(name) != new.get(name) and _is_documentation(name) == documentation and _is_told(name, old, new)
    )


def _is_documentation(name: str) -> bool:
    kind = name.partition(".")[0]
    return kind in _DOCUMENTATION or (kind == "fields" and name.endswith(".description"))


def _is_told(name: str, old: Facts, new: Facts) -> bool:
    """A field that is new or gone is shown by its name."""
    kind, _, part = name.partition(".")
    return not part or kind not in _PARTS or (name in old and name in new)


def _facts(definition: Definition) -> Facts:
    """Attribute -> text; parts of fields and aggregates as ``fields.NAME.ATTRIBUTE``."""
    match definition:
        case Entity(keys=keys):
            return {"keys": _text(keys)}
        case FeatureView():
            return _view_facts(definition)
        case FeatureService(features=features):
            return {"features": _text(features)}
        case OnDemandView():
            return {
                "inputs": _text(definition.inputs),
                **_parts("fields", definition.fields),
                "function": _text(definition.function),
                "code": definition.code[:_SHOWN_DIGITS],
                **{f"request_types.{name}": dtype for name, dtype in definition.request_types.items()},
            }


def _view_facts(view: FeatureView) -> Facts:
    entity = {"entity": view.entity} if isinstance(view.entity, str) else {"entity": view.entity.name}
    keys = {} if isinstance(view.entity, str) else {"keys": _text(view.entity.keys)}
    names = ("event_time", "created_at", "ttl", "source", "online", "time_zone", "continues", "owner", "description")
    return {
        **entity,
        **keys,
        **_parts("fields", view.fields),
        **_parts("aggregates", view.aggregates),
        **{name: _text(getattr(view, name)) for name in names},
        **{f"join_keys.{key}": column for key, column in view.join_keys.items()},
        **{f"tags.{key}": value for key, value in view.tags.items()},
    }


def _parts(kind: str, parts: Iterable[Field | WindowAggregate]) -> Facts:
    found = {part.name: part for part in parts}
    facts = {kind: _text(tuple(found))}
    for name, part in found.items():
        for attribute in fields(part):
            if attribute.name != "name":
                facts[f"{kind}.{name}.{attribute.name}"] = _text(getattr(part, attribute.name))
    return facts


def _text(value: object) -> str:
    match value:
        case None:
            return _NONE
        case timedelta():
            return _span(value)
        case str():
            return repr(value) if value in {"", _NONE, _ABSENT} else value
        case tuple():
            return str(list(value))
        case _:
            return str(value)


def _span(span: timedelta) -> str:
    for unit, length in (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        if span % length == timedelta(0):
            count = span // length
            return f"{count} {unit}" + ("" if count == 1 else "s")
    return f"{span.total_seconds():g} s"
