"""The standard steps, where features, experiments, serving, monitoring and metadata meet, and the training pipeline.

``training.train_project`` is the way in. Importing this package imports neither Ray nor MLflow.
"""

from raymlops.steps.context import TrainingContext, TrainingMetadata, TrainingReader
from raymlops.steps.parameters import QualityRules, TrainingParameters, training_parameters
from raymlops.steps.training import train_project, training_pipeline

__all__ = [
    "QualityRules",
    "TrainingContext",
    "TrainingMetadata",
    "TrainingParameters",
    "TrainingReader",
    "train_project",
    "training_parameters",
    "training_pipeline",
]
