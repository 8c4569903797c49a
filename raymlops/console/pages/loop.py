"""The first page: what needs a person, and what the loop did with all models."""

from __future__ import annotations

from raymlops.console.request import Page, PageRequest
from raymlops.console.sources import Sources

__all__ = ["loop_page"]


def loop_page(sources: Sources, request: PageRequest) -> Page:
    """What needs a person."""
    ask = request.ask
    plans = ask("the metadata actor", sources.metadata.plans.served_plans)
    statuses = ask("the controller", sources.control.status)
    endpoints = ask("the reconciler", sources.endpoints.statuses)
    values = {"plans": plans.get() or {}, "statuses": statuses.get() or [], "endpoints": endpoints.get() or []}
    return Page("loop", "Loop", values)
