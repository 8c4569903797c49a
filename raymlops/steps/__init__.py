"""The standard steps, where features, experiments, serving, monitoring and metadata meet, and the training pipeline.

Names are loaded when they are asked for: the process that proves a package needs little of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.steps.project.context import TrainingContext
    from raymlops.steps.project.parameters import QualityRules, TrainingParameters, training_parameters
    from raymlops.steps.project.project_check import check_project
    from raymlops.steps.training import train_project, training_pipeline

__all__ = [
    "QualityRules",
    "TrainingContext",
    "TrainingParameters",
    "check_project",
    "train_project",
    "training_parameters",
    "training_pipeline",
]

__getattr__ = lazy_names(
    __name__,
    {
        "project.context": ["TrainingContext"],
        "project.parameters": ["QualityRules", "TrainingParameters", "training_parameters"],
        "project.project_check": ["check_project"],
        "training": ["train_project", "training_pipeline"],
    },
)
