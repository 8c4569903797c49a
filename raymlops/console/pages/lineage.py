"""Lineage: one thing and what lies around it, and from the id of a request to the data behind its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from raymlops.console.lineage_graph import (
    Edge,
    Neighbourhood,
    Node,
    neighbourhood,
    neighbours,
    node_address,
    split_model,
)
from raymlops.console.request import Page, PageRequest, url
from raymlops.console.sight import Sight, seen_bundles, seen_definition, seen_runs
from raymlops.console.sources import Sources
from raymlops.errors import NotFoundError

__all__ = ["lineage_page", "node_page", "request_page"]

_HOPS, _MOST_HOPS = 2, 4
_DEADLINE_S = 10.0
_KINDS = ("request", "model", "run", "artifact", "table", "bundle", "endpoint", "feature")


def lineage_page(sources: Sources, request: PageRequest) -> Page:
    """The start of lineage: a form that leads to the page of what it names."""
    del sources
    kind, name = request.text("kind"), request.text("name")
    if not (kind and name):
        return Page("lineage/index", "Lineage", {"kinds": _KINDS})
    if kind not in _KINDS:
        raise NotFoundError(f"there is no lineage of a {kind!r}: of {', '.join(_KINDS)} there is")
    return Page("lineage/index", "Lineage", {}, to=url("lineage", kind, name))


def node_page(sources: Sources, request: PageRequest) -> Page:
    """One thing, and what lies two steps around it, or as many as are asked for."""
    kind, name = request.parts
    request.ask.extend(_DEADLINE_S)
    hops = min(max(request.number("hops") or _HOPS, 1), _MOST_HOPS)
    if kind == "feature":
        found = request.ask("the features", _around_feature, sources, request.sight, name).need()
    else:
        found = request.ask("the metadata actor", _around, sources, request.sight, Node(kind, name), hops).need()
    values = {
        "node": found.center,
        "found": found,
        "rows": [(edge.source, edge.target) for edge in found.edges],
        "graph": _graph(found),
        "hops": hops,
        "more": url("lineage", kind, name, hops=hops + 1) if kind != "feature" and hops < _MOST_HOPS else None,
        "address": node_address,
        "about": _about,
    }
    return Page("lineage/node", f"Lineage of {kind} {name}", values)


def request_page(sources: Sources, request: PageRequest) -> Page:
    """Lineage of the answer to one request: rows, version, data, code, and the person who deployed it."""
    request.ask.extend(_DEADLINE_S)
    (request_id,) = request.parts
    model = request.text("model") or None
    told = request.ask("the prediction log", _seen_request, sources, request.sight, request_id, model).need()
    answered = told["answered_by"]
    center = Node("request", request_id)
    version = Node("model", f"{told['model']}@{answered['version']}")
    found = request.ask("the metadata actor", _around, sources, request.sight, version, 1).get()
    found = found or Neighbourhood(version, [version])
    around = Neighbourhood(center, [center, *found.nodes], [Edge(version, center), *found.edges])
    return Page(
        "lineage/request", f"Request {request_id}", {"told": told, "graph": _graph(around), "address": node_address}
    )


def _seen_request(sources: Sources, sight: Sight, request_id: str, model: str | None) -> dict[str, Any]:
    """Lineage of the answer to a request to a model that the viewer may see."""
    if sight.everything:
        return sources.lineage.of_request(request_id, model)
    for name in sight.models if model is None else filter(sight.model, [model]):
        try:
            return sources.lineage.of_request(request_id, name)
        except NotFoundError:
            continue
    raise NotFoundError(f"no logged prediction of a model that your key may read has request id {request_id!r}")


def _around(sources: Sources, sight: Sight, center: Node, hops: int) -> Neighbourhood:
    """Neighbourhood of a node within the viewer's sight; a hidden node looks like one that does not exist."""
    if sight.everything:
        return neighbourhood(center, hops, partial(neighbours, sources.metadata))
    sees = cache(partial(_is_seen, sources, sight))
    if center.kind in _SEEN and not sees(center):
        raise NotFoundError(f"there is no {center.kind} {center.name!r}")
    return neighbourhood(
        center,
        hops,
        lambda node: [
            edge for edge in neighbours(sources.metadata, node) if all(end == node or sees(end) for end in edge)
        ],
    )


def _is_seen(sources: Sources, sight: Sight, node: Node) -> bool:
    try:
        return _SEEN[node.kind](sources, sight, node.name)
    except NotFoundError:
        return False


def _sees_artifact(sources: Sources, sight: Sight, digest: str) -> bool:
    stores = sources.metadata.artifacts
    made = {event.run_id for event in stores.lineage_of(digest).events if event.digest == digest}
    return any(_sees_run(sources, sight, run_id) for run_id in made.union(stores.runs_using(digest)))


def _sees_run(sources: Sources, sight: Sight, run_id: str) -> bool:
    return bool(seen_runs(sources, sight, [sources.metadata.runs.get_run(run_id)]))


def _sees_bundle(sources: Sources, sight: Sight, digest: str) -> bool:
    return bool(seen_bundles(sources, sight, [sources.metadata.deployments.get_bundle(digest)]))


_SEEN: Mapping[str, Callable[[Sources, Sight, str], bool]] = {
    "model": lambda _, sight, name: sight.model(split_model(name)[0]),
    "endpoint": lambda _, sight, name: sight.model(name),
    "run": _sees_run,
    "bundle": _sees_bundle,
    "artifact": _sees_artifact,
    "table": lambda sources, sight, name: any(
        sight.model(one.name) for one in sources.metadata.models.trained_on(name)
    ),
}
"""Kind of a node -> whether one of a name is seen."""


def _around_feature(sources: Sources, sight: Sight, name: str) -> Neighbourhood:
    """A definition of features, with all that it is made of, and all that is made of it."""
    lineage = seen_definition(sources, sight, name).lineage
    edges = [
        Edge(Node(each.source.kind, each.source.name), Node(each.target.kind, each.target.name))
        for each in (*lineage.upstream, *lineage.downstream)
    ]
    center = Node(lineage.subject.kind, lineage.subject.name)
    return Neighbourhood(center, list(dict.fromkeys([center, *(node for edge in edges for node in edge)])), edges)


def _about(node: Node) -> str | None:
    """The page about a node itself."""
    if node.kind == "model" and "@" in node.name:
        model, _, version = node.name.rpartition("@")
        return url("models", model, version)
    pages = {"run": ("runs",), "bundle": ("delivery", "bundles"), "endpoint": ("models",), "view": ("features",)}
    pages |= {"service": ("features",), "on-demand view": ("features",), "entity": ("features",)}
    return url(*pages[node.kind], node.name) if node.kind in pages else None


def _graph(found: Neighbourhood) -> Mapping[str, Any]:
    ids = {node: f"{node.kind} {node.name}" for node in found.nodes}
    nodes = [
        {
            "id": ids[node],
            "kind": node.kind,
            "name": node.name,
            "href": node_address(node),
            "here": node == found.center,
        }
        for node in found.nodes
    ]
    edges = [(ids[edge.source], ids[edge.target]) for edge in found.edges if edge.source in ids and edge.target in ids]
    return {"label": f"lineage of {found.center.kind} {found.center.name}", "nodes": nodes, "edges": edges}
