"""Policy: the triggers of a model, the source of each setting, and the laboratory's figures of other policies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from markupsafe import Markup

from raymlops.config.reading.draft import DEFAULTS
from raymlops.console.request import Page, PageRequest
from raymlops.console.sources import Sources
from raymlops.control.triggering.model_policies import ModelPolicies, ModelPolicy
from raymlops.laboratory.report.figures import age_chart, front, names_of_windows, ranked, strips

__all__ = ["policy_page"]


def policy_page(sources: Sources, request: PageRequest) -> Page:
    """The policy in force for a model."""
    (name,) = request.parts
    everything = request.text("all") != ""
    policy = request.ask("the metadata actor", _policy, sources, name).need()
    status = request.ask("the controller", sources.control.status)
    found = request.ask("the home", sources.laboratory.laboratory, name).find()
    known = next((each for each in status.get() or () if each.model == name), None)
    values = {
        "name": name,
        "policy": policy,
        "settings": [one for one in policy.settings if everything or one.source != DEFAULTS],
        "everything": everything,
        "regret": None if known is None else known.verdict.regret,
        "lab": None if found is None else _drawn(found),
    }
    return Page("models/policy", f"{name}: policy", values)


def _drawn(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The laboratory's figures, and what is drawn of them by its own page, too."""
    return {
        **figures,
        "made_at": datetime.fromisoformat(figures["made_at"]),
        "age_chart": _svg(age_chart(figures)),
        "front": _svg(front(figures)),
        "strips": [(name, _svg(drawing), firings) for name, drawing, firings in strips(figures)],
        "ranked": ranked(figures),
        "when": names_of_windows(figures),
    }


def _svg(drawing: str) -> Markup:
    return Markup(drawing)  # noqa: S704  # the charts of reports escape the texts in them


def _policy(sources: Sources, model: str) -> ModelPolicy:
    config = sources.config
    policies = ModelPolicies(sources.metadata.deployments, config.control, environment=config.environment)
    policies.refresh()
    return policies.of(model)
