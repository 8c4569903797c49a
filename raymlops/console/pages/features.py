"""Features: what is applied, how it is distributed, how fresh it is, and who uses it."""

from __future__ import annotations

from raymlops.console.drawing.histograms import draw_mini
from raymlops.console.lineage_graph import Node, node_address
from raymlops.console.request import Page, PageRequest, url
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
    if text:
        found = request.ask("the features", sources.features.search, text).get()
        rows = [] if found is None else found
        values = {"text": text, "matches": rows[:_ROWS], "listing": [], "total": len(rows), "next": None}
        return Page("features", "Features", values)
    listing = request.ask("the features", sources.features.listing).get() or []
    more = first + _ROWS < len(listing)
    values = {
        "text": "",
        "matches": [],
        "listing": listing[first : first + _ROWS],
        "total": len(listing),
        "next": url("features", page=first // _ROWS + 1) if more else None,
    }
    return Page("features", "Features", values)


def feature_page(sources: Sources, request: PageRequest) -> Page:
    """One definition: fields with small histograms, freshness, and what is made of it."""
    request.ask.extend(_DEADLINE_S)
    (name,) = request.parts
    found = request.ask("the features", sources.features.describe, name).need()
    users = sorted({Node(edge.target.kind, edge.target.name) for edge in found.lineage.downstream})
    fields = [] if found.statistics is None else list(found.statistics.fields.values())
    values = {
        "found": found,
        "fields": [(each, draw_mini(each)) for each in fields[:_SHOWN_FIELDS]],
        "more": max(len(fields) - _SHOWN_FIELDS, 0),
        "users": [(node, node_address(node)) for node in users],
    }
    return Page("feature", found.name, values)
