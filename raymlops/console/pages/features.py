"""Features: the applied definitions, their distributions, freshness and users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raymlops.console.drawing.histograms import draw_mini
from raymlops.console.lineage_graph import Node, node_address
from raymlops.console.request import Page, PageRequest, url
from raymlops.console.sight import seen_definition
from raymlops.console.sources import Sources

__all__ = ["feature_page", "features_page"]

_DEADLINE_S = 10.0
"""Freshness of many views reads the log of each table."""
_SHOWN_FIELDS = 200
_ROWS = 100


def features_page(sources: Sources, request: PageRequest) -> Page:
    """Definitions; those that have the words of a text in them, where there is one."""
    request.ask.extend(_DEADLINE_S)
    text, first = request.text("text"), (request.number("page") or 0) * _ROWS
    environment = request.text("environment") or None
    own = None if request.sight.everything else _own_definitions(sources, request, environment)
    others = request.ask("the features", sources.features.environments).get() or []
    shown = {"environment": environment, "environments": list(filter(request.sight.environment, others))}
    if text:
        found = request.ask("the features", sources.features.search, text, environment).get()
        rows = [each for each in found or () if own is None or each.name in own]
        values = {"text": text, "matches": rows[:_ROWS], "listing": [], "total": len(rows), "next": None}
        return Page("features/index", "Features", {**values, **shown})
    known = request.ask("the features", sources.features.listing, environment).get() or []
    listing = [each for each in known if own is None or _ref(each) in own]
    more = first + _ROWS < len(listing)
    values = {
        "text": "",
        "matches": [],
        "listing": listing[first : first + _ROWS],
        "total": len(listing),
        "next": url("features", page=first // _ROWS + 1, environment=environment) if more else None,
        **shown,
    }
    return Page("features/index", "Features", values)


def _own_definitions(sources: Sources, request: PageRequest, environment: str | None) -> set[str]:
    """What the endpoints that are seen answer from: their services, and all that these are made of."""
    plans = request.ask("the metadata actor", sources.metadata.plans.served_plans).get() or {}
    seen = [plan for name, plan in plans.items() if request.sight.model(name) and plan.environment == environment]
    services = {plan.service for plan in seen if plan.service}
    asked = [
        request.ask("the features", seen_definition, sources, request.sight, service, environment)
        for service in sorted(services)
    ]
    found = [one for each in asked if (one := each.find()) is not None]
    return {one.name for one in found} | {edge.source.name for one in found for edge in one.lineage.upstream}


def _ref(listed: Mapping[str, Any]) -> str:
    """The name by which a definition of the listing is asked for."""
    return str(listed["name"]) if listed["version"] is None else f"{listed['name']}@{listed['version']}"


def feature_page(sources: Sources, request: PageRequest) -> Page:
    """One definition: fields with small histograms, freshness, and what is made of it."""
    request.ask.extend(_DEADLINE_S)
    (name,) = request.parts
    environment = request.text("environment") or None
    found = request.ask("the features", seen_definition, sources, request.sight, name, environment).need()
    users = sorted({Node(edge.target.kind, edge.target.name) for edge in found.lineage.downstream})
    fields = [] if found.statistics is None else list(found.statistics.fields.values())
    values = {
        "found": found,
        "fields": [(each, draw_mini(each)) for each in fields[:_SHOWN_FIELDS]],
        "more": max(len(fields) - _SHOWN_FIELDS, 0),
        "users": [(node, _address(node, environment)) for node in users],
        "environment": environment,
    }
    return Page("features/feature", found.name, values)


def _address(node: Node, environment: str | None) -> str:
    """The page of a user of a definition; graphs show the definitions of the platform's own environment."""
    if environment is None or node.kind not in ("service", "on-demand view", "view"):
        return node_address(node)
    return url("features", node.name, environment=environment)
