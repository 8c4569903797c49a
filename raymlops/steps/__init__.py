"""The standard steps, where features, experiments, serving, monitoring and metadata meet, and the training pipeline.

Names are loaded when they are asked for: the process that proves a package needs little of this.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raymlops.steps.context import TrainingContext
    from raymlops.steps.parameters import QualityRules, TrainingParameters, training_parameters
    from raymlops.steps.training import train_project, training_pipeline

__all__ = [
    "QualityRules",
    "TrainingContext",
    "TrainingParameters",
    "train_project",
    "training_parameters",
    "training_pipeline",
]

_MODULES = {
    "QualityRules": "parameters",
    "TrainingContext": "context",
    "TrainingParameters": "parameters",
    "train_project": "training",
    "training_parameters": "parameters",
    "training_pipeline": "training",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
