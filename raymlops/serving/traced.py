"""An endpoint with a span for each request: used in place of ``Endpoint`` where traces are on."""

from __future__ import annotations

from collections.abc import Collection
from random import random
from typing import TYPE_CHECKING, Any

from raymlops.serving.answering.fallback import Answer, Query
from raymlops.serving.endpoint import Endpoint
from raymlops.serving.protocol.http import HttpReply, HttpRequest

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

__all__ = ["TracedEndpoint"]


class TracedEndpoint(Endpoint):
    """An endpoint whose requests are spans, by OpenTelemetry's conventions of HTTP servers.

    Which version answered is told by the event ``feature_flag.evaluation``: the key is the endpoint, the variant the
    version, the reason its role, and the set the number of the serving plan. A request that comes with ``traceparent``
    is part of its caller's trace. The attribute ``raymlops.request_id`` is what the prediction events of the request
    are found by.

    Args:
        model: The model's name.
        loader: Builds servings.
        tracer: Makes the spans, of every request it is asked for whose caller does not say otherwise.
        sample: Share of the requests without ``traceparent`` that it is asked for.
        options: As ``Endpoint`` takes them.
    """

    def __init__(self, model: str, loader: Any, *, tracer: Tracer, sample: float, **options: Any) -> None:
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind, get_current_span
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        super().__init__(model, loader, **options)
        self._tracer = tracer
        self._sample = sample
        self._kind, self._root = SpanKind.SERVER, Context()
        self._current = get_current_span
        self._extract = TraceContextTextMapPropagator().extract

    async def handle(self, request: HttpRequest) -> HttpReply:
        """As ``Endpoint.handle``, within a span."""
        parent = self._extract(request.headers) if "traceparent" in request.headers else None
        # decided here and not by the SDK's sampler, which has the span's name and attributes made before it declines
        if not parent and random() >= self._sample:  # noqa: S311 - no secret depends on it
            return await super().handle(request)
        route = _route_of(request.path, self.model, self._routes, self._versioned)
        with self._tracer.start_as_current_span(
            f"{request.method} {route}",
            context=parent or self._root,
            kind=self._kind,
            attributes={
                "http.request.method": request.method,
                "http.route": route,
                "url.path": request.path,
                "url.scheme": "http",
            },
        ) as span:
            reply = await super().handle(request)
            span.set_attribute("http.response.status_code", reply.status)
            if reply.status >= 500:
                span.set_attribute("error.type", str(reply.status))
                span.set_status(_error())
            return reply

    async def _answer(self, query: Query) -> Answer:
        answer = await super()._answer(query)
        span = self._current()
        if span.is_recording():
            span.set_attribute("raymlops.request_id", query.request.request_id)
            span.set_attribute("raymlops.rows", query.request.rows)
            span.add_event(
                "feature_flag.evaluation",
                {
                    "feature_flag.key": self.model,
                    "feature_flag.provider.name": "raymlops",
                    "feature_flag.result.variant": str(answer.version),
                    "feature_flag.result.reason": answer.role,
                    "feature_flag.set.id": str(query.serving.plan.number),
                },
            )
        return answer


def _route_of(path: str, model: str, routes: Collection[str], versioned: Collection[str]) -> str:
    """The path with its variable parts named: a span's name must not take as many values as there are versions."""
    action = path.rstrip("/").removeprefix(f"/v2/models/{model}")
    if action.startswith("/versions/"):
        _, _, rest = action.removeprefix("/versions/").partition("/")
        action = "/versions/{version}" + (f"/{rest}" if f"/{rest}" in versioned else "")
    elif action not in routes:
        action = "/{path}"
    return "/v2/models/{model}" + action


def _error() -> Any:
    from opentelemetry.trace import StatusCode

    return StatusCode.ERROR
