"""Runs, artifacts, lineage, model versions, aliases, plans, windows, deployments and the ledger.

``MlflowProjection`` lives in ``raymlops.metadata.mlflow``: only who asks for it pays for importing MLflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.metadata.protocols import (
        ArtifactStore,
        ContextStore,
        DeploymentStore,
        Ledger,
        Metadata,
        ModelRegistry,
        PlanStore,
        RunStore,
        WindowStore,
    )
    from raymlops.metadata.service import MetadataService

__all__ = [
    "ArtifactStore",
    "ContextStore",
    "DeploymentStore",
    "Ledger",
    "Metadata",
    "MetadataService",
    "ModelRegistry",
    "PlanStore",
    "RunStore",
    "WindowStore",
]

__getattr__ = lazy_names(
    __name__,
    {
        "protocols": [
            "ArtifactStore",
            "ContextStore",
            "DeploymentStore",
            "Ledger",
            "Metadata",
            "ModelRegistry",
            "PlanStore",
            "RunStore",
            "WindowStore",
        ],
        "service": ["MetadataService"],
    },
)
