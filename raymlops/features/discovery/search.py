"""Search of definitions by words, tags and owner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from raymlops.features.catalog.applied import CatalogState
from raymlops.features.definitions.fields import Field
from raymlops.features.definitions.naming import parse_reference
from raymlops.features.definitions.views import FeatureView
from raymlops.records.people.discovery import FeatureMatch, LineageKind

__all__ = ["search_definitions"]

_Place = tuple[str, str]
"""Where a text stands, and the text."""


def search_definitions(
    state: CatalogState, text: str = "", *, tags: Mapping[str, str] | None = None, owner: str | None = None
) -> list[FeatureMatch]:
    """Definitions that have all the words of a text somewhere, and the tags, and the owner; case does not matter.

    Args:
        state: What is applied.
        text: Words, each looked for in names, owners, descriptions, tags, keys and fields. Empty: any definition.
        tags: Tags that must be there, each with the value given; an empty value stands for any.
        owner: The owner, as a whole.

    Returns:
        Views, on-demand views, services, then entities; those whose name matches first, then by name and version.
    """
    words = text.casefold().split()
    found = []
    for match, places in _candidates(state):
        if owner is not None and match.owner.casefold() != owner.casefold():
            continue
        if not _has_tags(match.tags, tags or {}):
            continue
        hits = [{place for place, content in places if word in content.casefold()} for word in words]
        if all(hits):
            where = dict.fromkeys(place for place, _ in places if any(place in hit for hit in hits))
            found.append(match.model_copy(update={"matched": tuple(where)}))
    order = ("view", "on-demand view", "service", "entity")
    return sorted(
        found,
        key=lambda match: (order.index(match.kind), bool(words) and "name" not in match.matched, _version(match)),
    )


def _version(match: FeatureMatch) -> tuple[str, int]:
    name, version = parse_reference(match.name)
    return name, version or 0


def _has_tags(have: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    folded = {key.casefold(): value.casefold() for key, value in have.items()}
    return all(
        key.casefold() in folded and value.casefold() in {"", folded[key.casefold()]} for key, value in wanted.items()
    )


def _candidates(state: CatalogState) -> Iterator[tuple[FeatureMatch, list[_Place]]]:
    for ref, applied in state.views.items():
        yield _view(ref, applied.view)
    for ref, computed in state.on_demand.items():
        inputs = [("input", name) for name in computed.view.inputs]
        yield _match("on-demand view", ref, [*_fields(computed.view.fields), *inputs])
    for ref, service in state.services.items():
        yield _match("service", ref, [(f"feature {name}", name) for name in service.service.features])
    for name, entity in state.entities.items():
        yield _match("entity", name, [(f"key {key}", key) for key in entity.keys])


def _view(ref: str, view: FeatureView) -> tuple[FeatureMatch, list[_Place]]:
    places = [
        ("owner", view.owner),
        ("description", view.description),
        *((f"tag {key}", f"{key}={value}") for key, value in view.tags.items()),
        *((f"key {key}", key) for key in view.keys),
        *_fields(view.fields),
        *((f"aggregate {a.name}", f"{a.name} {a.function} {a.field}") for a in view.aggregates),
    ]
    return _match("view", ref, places, owner=view.owner, description=view.description, tags=dict(view.tags))


def _fields(fields: Iterable[Field]) -> list[_Place]:
    return [(f"field {column.name}", f"{column.name} {column.description}") for column in fields]


def _match(kind: LineageKind, name: str, places: list[_Place], **known: Any) -> tuple[FeatureMatch, list[_Place]]:
    return FeatureMatch(kind=kind, name=name, **known), [("name", name), *places]
