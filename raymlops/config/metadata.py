"""The metadata store and its projection into MLflow."""

from __future__ import annotations

from pydantic import Field, field_validator

from raymlops.config.section import Section, Span
from raymlops.config.section import parse_duration as _d

__all__ = ["MetadataConfig"]


class MetadataConfig(Section):
    """Where runs, versions, plans and the ledger are kept."""

    url: str | None = None
    """Database: ``sqlite:///PATH`` or ``postgresql+psycopg://...``; null is ``metadata.db`` in the home."""
    busy_timeout: Span = _d("10s")
    """How long a write waits for a lock before it fails with ``StorageError``."""
    mlflow: bool = True
    """Whether runs and versions are projected into MLflow; losing MLflow loses nothing."""
    mlflow_uri: str | None = Field(None, min_length=1)
    """Tracking URI; null is ``mlflow.db`` in the home."""

    @field_validator("url")
    @classmethod
    def _known_backend(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
            raise ValueError("must start with sqlite:///, postgresql:// or postgresql+psycopg://")
        return url
