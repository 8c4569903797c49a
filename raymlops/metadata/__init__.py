"""Runs, artifacts, lineage, model versions, aliases, plans, windows, deployments and the ledger.

The Protocol of each store stands beside its record, as ``RunStore`` in ``raymlops.records.runs``. ``MlflowProjection``
lives in ``raymlops.metadata.mlflow``: MLflow is imported only where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.metadata.service import MetadataService
    from raymlops.metadata.stores import Metadata

__all__ = ["Metadata", "MetadataService"]

__getattr__ = lazy_names(__name__, {"stores": ["Metadata"], "service": ["MetadataService"]})
