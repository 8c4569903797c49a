"""The neighbourhood of one thing: what it was made of, and what was made of it, some steps far. Each step asks anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from raymlops.console.request import url
from raymlops.errors import NotFoundError
from raymlops.metadata.stores import Metadata

__all__ = ["Edge", "Neighbourhood", "Node", "neighbourhood", "neighbours", "node_address", "split_model"]

_MOST_NODES = 60
_MOST_EACH = 15
"""Neighbours of one node that are shown; a table may have trained hundreds of versions."""


class Node(NamedTuple):
    """One thing; of kind ``model`` (``NAME@VERSION``), ``run``, ``artifact``, ``bundle``, ``table`` or ``endpoint``."""

    kind: str
    name: str


class Edge(NamedTuple):
    """One thing went into another."""

    source: Node
    target: Node


@dataclass
class Neighbourhood:
    """Nodes and edges around one node.

    Attributes:
        center: The node.
        nodes: All nodes, nearest first.
        edges: Among them.
        cut: Whether there is more than is shown.
    """

    center: Node
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    cut: bool = False


def neighbourhood(center: Node, hops: int, of: Callable[[Node], Iterable[Edge]]) -> Neighbourhood:
    """Walk from a node, breadth first.

    Args:
        center: Where it begins; its own edges may raise, those of others are left out where they cannot be told.
        hops: How far.
        of: The edges of a node.
    """
    found = Neighbourhood(center, [center])
    ring, seen = [center], {center}
    for hop in range(hops):
        following: list[Node] = []
        for node in ring:
            try:
                edges = list(of(node))
            except NotFoundError:
                if hop == 0:
                    raise
                continue  # it was removed since: garbage collection leaves names of what is gone
            found.cut |= len(edges) > 2 * _MOST_EACH
            for edge in edges[: 2 * _MOST_EACH]:
                other = edge.target if edge.source == node else edge.source
                if other not in seen and len(found.nodes) >= _MOST_NODES:
                    found.cut = True
                    continue
                if other not in seen:
                    seen.add(other)
                    found.nodes.append(other)
                    following.append(other)
                if edge not in found.edges:
                    found.edges.append(edge)
        ring = following
    return found


def neighbours(metadata: Metadata, node: Node) -> list[Edge]:
    """The edges of one node, by the records.

    Raises:
        NotFoundError: There is no such thing.
    """
    known = {"model": _of_model, "run": _of_run, "artifact": _of_artifact, "table": _of_table, "endpoint": _of_endpoint}
    found = known.get(node.kind)
    if found is not None:
        return found(metadata, node)
    if node.kind == "bundle":
        metadata.deployments.get_bundle(node.name)
        return []
    raise NotFoundError(f"there is no lineage of a {node.kind!r}: of {', '.join(sorted([*known, 'bundle']))} there is")


def node_address(node: Node) -> str:
    """The address of the page in whose center a node stands."""
    if node.kind in ("view", "on-demand view", "service", "entity"):
        return url("lineage", "feature", node.name)
    return url("lineage", "artifact" if node.kind == "training set" else node.kind, node.name)


def split_model(name: str) -> tuple[str, int]:
    """Name and version of ``NAME@VERSION``.

    Raises:
        NotFoundError: It is not of this form.
    """
    model, at, version = name.rpartition("@")
    if not at or not (version.isascii() and version.isdigit() and len(version) < 10):
        raise NotFoundError(f"a version of a model is NAME@VERSION, got {name!r}")
    return model, int(version)


def _of_model(metadata: Metadata, node: Node) -> list[Edge]:
    name, number = split_model(node.name)
    version = metadata.models.get_version(name, number)
    edges = [Edge(Node("table", table), node) for table in list(version.tables)[:_MOST_EACH]]
    if version.run_id is not None:
        edges.append(Edge(Node("run", version.run_id), node))
    if version.bundle is not None:
        edges.append(Edge(Node("bundle", version.bundle), node))
    plan = metadata.plans.find_plan(name)
    if plan is not None and number in plan.versions:
        edges.append(Edge(node, Node("endpoint", name)))
    return edges


def _of_run(metadata: Metadata, node: Node) -> list[Edge]:
    run = metadata.runs.get_run(node.name)
    events = metadata.artifacts.run_events(node.name)
    wrote = dict.fromkeys(event.digest for event in events if event.direction == "output")
    read = dict.fromkeys(event.digest for event in events if event.direction == "input" and event.digest not in wrote)
    edges = [Edge(Node("artifact", digest), node) for digest in list(read)[:_MOST_EACH]]
    edges += [Edge(node, Node("artifact", digest)) for digest in list(wrote)[:_MOST_EACH]]
    if run.bundle is not None:
        edges.append(Edge(Node("bundle", run.bundle), node))
    version = run.result.get("version")
    if isinstance(version, int) and run.bundle is not None:
        try:
            model = metadata.deployments.get_bundle(run.bundle).project.model
        except NotFoundError:
            return edges
        edges.append(Edge(node, Node("model", f"{model}@{version}")))
    return edges


def _of_artifact(metadata: Metadata, node: Node) -> list[Edge]:
    lineage = metadata.artifacts.lineage_of(node.name)
    made = [event.run_id for event in lineage.events if event.digest == node.name and event.direction == "output"]
    runs = list(dict.fromkeys(made))[:_MOST_EACH]
    used = [run for run in metadata.artifacts.runs_using(node.name) if run not in runs][:_MOST_EACH]
    return [*(Edge(Node("run", run), node) for run in runs), *(Edge(node, Node("run", run)) for run in used)]


def _of_table(metadata: Metadata, node: Node) -> list[Edge]:
    versions = metadata.models.trained_on(node.name)[-_MOST_EACH:]
    if not versions:
        raise NotFoundError(f"no version of a model was trained on a table {node.name!r}")
    return [Edge(node, Node("model", f"{each.name}@{each.version}")) for each in versions]


def _of_endpoint(metadata: Metadata, node: Node) -> list[Edge]:
    plan = metadata.plans.get_plan(node.name)
    return [Edge(Node("model", f"{node.name}@{version}"), node) for version in sorted(plan.versions)]
