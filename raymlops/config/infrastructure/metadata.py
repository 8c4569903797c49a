"""The metadata store and its projection into MLflow."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from raymlops.config.section import Section, Span
from raymlops.config.section import parse_duration as _d

__all__ = ["MetadataConfig", "OpenLineageConfig"]


class OpenLineageConfig(Section):
    """Where runs and steps are told of as OpenLineage events; nowhere by default."""

    file: Path | None = None
    """File that events are appended to, one a line of JSON."""
    url: str | None = None
    """Endpoint that events are posted to, such as ``http://marquez:5000/api/v1/lineage``."""
    api_key_env: str = ""
    """Environment variable of the metadata actor that holds a key, sent to the endpoint as a bearer token."""
    namespace: str = Field("raymlops", min_length=1)
    """Of jobs and datasets."""
    timeout: Span = _d("5s")
    """Of one attempt to post an event."""
    deadline: Span = _d("30s")
    """Of all attempts to post an event; then it is dropped, counted and logged."""

    @field_validator("url")
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return url


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

    openlineage: OpenLineageConfig = OpenLineageConfig()
    """OpenLineage events."""

    @field_validator("url")
    @classmethod
    def _known_backend(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
            raise ValueError("must start with sqlite:///, postgresql:// or postgresql+psycopg://")
        return url
