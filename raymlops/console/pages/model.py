"""Models: the list of them, and everything about one."""

from __future__ import annotations

from raymlops.console.request import Page, PageRequest
from raymlops.console.sources import Sources
from raymlops.errors import ModelVersionNotFound

__all__ = ["model_page", "models_page"]

_ROWS = 25


def models_page(sources: Sources, request: PageRequest) -> Page:
    """All models: what they serve, and how they are."""
    ask, metadata = request.ask, sources.metadata
    models = ask("the metadata actor", metadata.models.list_models)
    plans = ask("the metadata actor", metadata.plans.served_plans)
    statuses = ask("the controller", sources.control.status)
    endpoints = ask("the reconciler", sources.endpoints.statuses)
    served = plans.get() or {}
    values = {
        "names": sorted({*(models.get() or ()), *served}),
        "plans": served,
        "statuses": {status.model: status for status in statuses.get() or ()},
        "endpoints": {status.model: status for status in endpoints.get() or ()},
    }
    return Page("models", "Models", values)


def model_page(sources: Sources, request: PageRequest) -> Page:
    """One model: its plan, rollout, versions and history."""
    (name,) = request.parts
    ask, browser = request.ask, sources.metadata.browser
    plans = ask("the metadata actor", browser.plan_page, name, request.number("plans"), _ROWS)
    versions = ask("the metadata actor", browser.version_page, name, request.number("versions"), _ROWS)
    why = ask("the controller", sources.control.why, name)
    endpoints = ask("the reconciler", sources.endpoints.statuses)
    newest = ask("the metadata actor", sources.metadata.plans.find_plan, name)
    if not versions.get() and not plans.get() and not ask.problems:
        raise ModelVersionNotFound.of(name)
    values = {
        "name": name,
        "plan": newest.get(),
        "plans": plans.get() or [],
        "versions": versions.get() or [],
        "why": why.find(),
        "endpoint": next((each for each in endpoints.get() or () if each.model == name), None),
    }
    return Page("model", name, values)
