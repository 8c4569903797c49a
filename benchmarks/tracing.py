"""What OpenTelemetry costs a request: endpoints without traces and with them, asked in turns in one process."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from benchmarks.serving_overhead import compare, endpoint_of, fitted, request_for
from raymlops.config.infrastructure.tracing import TracingConfig
from raymlops.serving.endpoint import Endpoint
from raymlops.serving.traced import TracedEndpoint
from raymlops.tracing import open_tracer

SHARES = (0.0, 0.01, 1.0)


class _Nowhere(SpanExporter):
    """Takes spans and drops them: what the collector costs is the network's, and in another thread."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        del spans
        return SpanExportResult.SUCCESS


def measure() -> dict[str, Any]:
    """Median microseconds of CPU time of the event loop per request, which a busy machine leaves as it is.

    Of two endpoints without traces, then of one for each share of traced requests.
    """
    model, rows = fitted()
    request = request_for(rows[0])
    makers: dict[str, Callable[..., Endpoint]] = {"off": Endpoint, "off_again": Endpoint}
    for share in SHARES:
        tracer = open_tracer(TracingConfig(enabled=True), _Nowhere())
        makers[f"sample_{share:g}"] = partial(TracedEndpoint, tracer=tracer, sample=share)
    endpoints = {name: endpoint_of(model, rows, make) for name, make in makers.items()}

    def asked(endpoint: Endpoint) -> Callable[[], Awaitable[None]]:
        async def ask() -> None:
            assert (await endpoint.handle(request)).status == 200

        return ask

    found = asyncio.run(compare(*map(asked, endpoints.values()), timer=time.thread_time))
    medians = dict(zip(endpoints, found, strict=True))
    added = {f"{name}_added_us": round(value - medians["off"], 1) for name, value in medians.items() if name != "off"}
    return {**medians, **added, "load": os.getloadavg()[0]}
