"""What a model version was fitted by, as a recipe of the laboratory."""

from __future__ import annotations

from raymlops.laboratory.recipe import Recipe
from raymlops.records.models import ModelVersion
from raymlops.steps.project.context import PARAMETER_PREFIX

__all__ = ["recipe_of"]


def recipe_of(version: ModelVersion) -> Recipe:
    """What a version was fitted by; the laboratory's own recipe for one that was registered by hand."""
    family, parameters = version.parameters.get("family"), version.parameters
    if not isinstance(family, str):
        return Recipe()
    own = {
        name.removeprefix(PARAMETER_PREFIX): v for name, v in parameters.items() if name.startswith(PARAMETER_PREFIX)
    }
    return Recipe(family=family, params=own)
