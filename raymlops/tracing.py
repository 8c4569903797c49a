"""OpenTelemetry: where spans go, and how a decision is named so that others can link to it.

The house calls OpenTelemetry's API alone; this module opens its SDK, where traces are switched on.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

from raymlops.config.infrastructure.tracing import TracingConfig
from raymlops.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanContext, Tracer

__all__ = ["NamedIds", "context_of", "open_loop_tracer", "open_tracer"]

_NAME = "raymlops"


def open_tracer(config: TracingConfig, exporter: SpanExporter | None = None) -> Tracer:
    """The tracer of requests: makes every span, unless the request's caller says that it is not to be traced.

    Args:
        config: Where spans go.
        exporter: Sends spans elsewhere than the configuration says.

    Raises:
        ConfigError: The SDK is not installed.
    """
    return _open(config, None, exporter)


def open_loop_tracer(config: TracingConfig, exporter: SpanExporter | None = None) -> tuple[Tracer, NamedIds]:
    """The tracer of runs and decisions, which are all traced, and what names their spans.

    Raises:
        ConfigError: The SDK is not installed.
    """
    ids = NamedIds()
    return _open(config, ids, exporter), ids


class NamedIds:
    """Gives spans ids that follow from a name, so that code which knows the name can link to a span."""

    def __init__(self) -> None:
        self._next = threading.local()

    def name_next(self, name: str) -> None:
        """Name the next span of this thread."""
        self._next.name = name

    def generate_trace_id(self) -> int:
        """Of the name that was given."""
        return _trace_id(self._next.name)

    def generate_span_id(self) -> int:
        """Of the name that was given."""
        return _span_id(self._next.name)

    def is_trace_id_random(self) -> bool:
        """Whether the lower half of the trace id is random: it is a hash, which spreads as well."""
        return True


def context_of(name: str) -> SpanContext:
    """The context of the span that has, or will have, a name."""
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(_trace_id(name), _span_id(name), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _trace_id(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:16], "big")


def _span_id(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[16:24], "big")


def _open(config: TracingConfig, ids: NamedIds | None, exporter: SpanExporter | None) -> Tracer:
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter(endpoint=config.endpoint)
    except ImportError as error:
        message = f"tracing.enabled needs the extra otel (pip install 'raymlops[otel]'): {error}"
        raise ConfigError(message) from error
    sampler = ParentBased(ALWAYS_ON) if ids is None else ALWAYS_ON
    provider = TracerProvider(
        sampler=sampler,
        resource=Resource.create({"service.name": config.service_name}),
        id_generator=ids,  # type: ignore[arg-type]  # an IdGenerator by its methods; the SDK may not be there
    )
    every_ms = config.export_every.total_seconds() * 1000
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=every_ms))
    return provider.get_tracer(_NAME)
