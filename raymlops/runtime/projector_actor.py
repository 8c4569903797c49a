"""What the store holds, written to MLflow, in a process of its own."""

from __future__ import annotations

from functools import partial
from typing import cast

from raymlops.config.platform import PlatformConfig
from raymlops.metadata import Metadata
from raymlops.metadata.mlflow import MlflowProjection
from raymlops.metadata.projector import Projector
from raymlops.runtime.clients import ActorProxy
from raymlops.runtime.names import METADATA
from raymlops.runtime.trial_log import read_trials
from raymlops.serving.estimators import TRUSTED_TYPES

__all__ = ["ProjectorService"]


class ProjectorService(Projector):
    """The projector of this platform's store: to the configured MLflow server, or to a database in the home."""

    def __init__(self, config: PlatformConfig) -> None:
        uri = config.metadata.mlflow_uri or f"sqlite:///{config.home / 'mlflow.db'}"
        projection = MlflowProjection(uri, config.home / "mlflow-artifacts", trusted=sorted(TRUSTED_TYPES))
        super().__init__(cast("Metadata", ActorProxy(METADATA)), projection, partial(read_trials, config.home))
