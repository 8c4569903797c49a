"""OpenTelemetry traces of requests, runs and decisions."""

from __future__ import annotations

from pydantic import Field, field_validator

from raymlops.config.section import Section, Share, Span
from raymlops.config.section import parse_duration as _d

__all__ = ["TracingConfig"]


class TracingConfig(Section):
    """What is traced, and where spans are sent. Off by default; needs ``raymlops[otel]``."""

    enabled: bool = False
    """Whether spans are made."""
    endpoint: str | None = None
    """URL that spans are posted to by OTLP over HTTP, such as ``http://127.0.0.1:4318/v1/traces``; null: what
    ``OTEL_EXPORTER_OTLP_ENDPOINT`` names."""
    sample: Share = 0.01
    """Share of the requests that are traced, where their callers have not decided; runs and decisions always are."""
    service_name: str = Field("raymlops", min_length=1)
    """The resource attribute ``service.name``."""
    export_every: Span = _d("5s")
    """How long spans wait for others that are sent with them."""

    @field_validator("endpoint")
    @classmethod
    def _http(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not endpoint.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return endpoint
