"""Policy: what may start a retraining of a model, and who gave each value."""

from __future__ import annotations

from raymlops.config.draft import DEFAULTS
from raymlops.console.request import Page, PageRequest
from raymlops.console.sources import Sources
from raymlops.control.triggering.model_policies import ModelPolicies, ModelPolicy

__all__ = ["policy_page"]


def policy_page(sources: Sources, request: PageRequest) -> Page:
    """The policy in force for a model."""
    (name,) = request.parts
    everything = request.text("all") != ""
    policy = request.ask("the metadata actor", _policy, sources, name).need()
    status = request.ask("the controller", sources.control.status)
    known = next((each for each in status.get() or () if each.model == name), None)
    values = {
        "name": name,
        "policy": policy,
        "settings": [one for one in policy.settings if everything or one.source != DEFAULTS],
        "everything": everything,
        "regret": None if known is None else known.verdict.regret,
    }
    return Page("policy", f"{name}: policy", values)


def _policy(sources: Sources, model: str) -> ModelPolicy:
    config = sources.config
    policies = ModelPolicies(sources.metadata.deployments, config.control, environment=config.environment)
    policies.refresh()
    return policies.of(model)
