"""Lineage of features: edges between tables, definitions, training sets, models and endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from raymlops.errors import NotFoundError
from raymlops.features.catalog.applied import CatalogState
from raymlops.records.features import TrainingSetManifest
from raymlops.records.people.discovery import FeatureLineage, LineageEdge, LineageKind, LineageNode

__all__ = ["definition_edges", "find_node", "nodes_of", "trace", "training_set_edges"]

_Definitions = tuple[LineageKind, Mapping[str, Any]]


def definition_edges(state: CatalogState) -> list[LineageEdge]:
    """Edges among what is applied: entity -> view, table -> view, view -> on-demand view, both -> service."""
    edges = []
    for ref, applied in state.views.items():
        view = _node("view", ref)
        entity = applied.view.entity if isinstance(applied.view.entity, str) else applied.view.entity.name
        edges.append(LineageEdge(source=_node("entity", entity), target=view))
        edges.append(LineageEdge(source=_node("table", state.table_of(applied.view)), target=view))
        if applied.owner != ref:
            edges.append(LineageEdge(source=_node("view", applied.owner), target=view))
    for ref, computed in state.on_demand.items():
        edges += _pinned(state, computed.pins, _node("on-demand view", ref), {_name(f) for f in computed.view.inputs})
    for ref, service in state.services.items():
        edges += _pinned(state, service.pins, _node("service", ref), {_name(f) for f in service.service.features})
    return edges


def _name(feature: str) -> str:
    return feature.partition(":")[0].partition("@")[0]


def _pinned(state: CatalogState, pins: Mapping[str, str], user: LineageNode, named: set[str]) -> Iterator[LineageEdge]:
    """What a definition reads by itself; a service's pins hold what its on-demand views read, too."""
    for name, ref in pins.items():
        if name in named:
            kind: LineageKind = "on-demand view" if ref in state.on_demand else "view"
            yield LineageEdge(source=_node(kind, ref), target=user)


def training_set_edges(manifests: Iterable[TrainingSetManifest]) -> list[LineageEdge]:
    """Service -> training set."""
    return [
        LineageEdge(source=_node("service", manifest.service), target=_node("training set", manifest.digest))
        for manifest in manifests
    ]


def nodes_of(state: CatalogState) -> list[LineageNode]:
    """Everything that is applied."""
    kinds: list[_Definitions] = [
        ("entity", state.entities),
        ("view", state.views),
        ("on-demand view", state.on_demand),
        ("service", state.services),
    ]
    return [_node(kind, name) for kind, found in kinds for name in found]


def find_node(state: CatalogState, name: str) -> LineageNode:
    """The definition meant by ``NAME``, its newest version then, or ``NAME@VERSION``: a view before a service.

    Raises:
        NotFoundError: nothing of that name is applied.
    """
    preference = ("view", "on-demand view", "service", "entity")
    found = [node for node in nodes_of(state) if name in {node.name, node.name.partition("@")[0]}]
    if not found:
        known = sorted({node.name.partition("@")[0] for node in nodes_of(state)})
        raise NotFoundError(f"no definition is called {name!r}, got {known}", name=name)
    return min(found, key=lambda node: (preference.index(node.kind), -int(node.name.partition("@")[2] or 0)))


def trace(subject: LineageNode, edges: Iterable[LineageEdge]) -> FeatureLineage:
    """All upstream and downstream nodes of a node, over any number of edges, nearest first."""
    edges = list(dict.fromkeys(edges))
    return FeatureLineage(
        subject=subject,
        upstream=tuple(_reached(subject, edges, forward=False)),
        downstream=tuple(_reached(subject, edges, forward=True)),
    )


def _reached(subject: LineageNode, edges: list[LineageEdge], *, forward: bool) -> Iterator[LineageEdge]:
    leaving: dict[LineageNode, list[LineageEdge]] = {}
    for edge in edges:
        leaving.setdefault(edge.source if forward else edge.target, []).append(edge)
    seen, waiting = {subject}, [subject]
    for node in waiting:  # grows while it is walked
        for edge in sorted(leaving.get(node, []), key=lambda edge: (edge.source.name, edge.target.name)):
            yield edge
            reached = edge.target if forward else edge.source
            if reached not in seen:
                seen.add(reached)
                waiting.append(reached)


def _node(kind: LineageKind, name: str) -> LineageNode:
    return LineageNode(kind=kind, name=name)
