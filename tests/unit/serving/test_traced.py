from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raymlops.config.infrastructure.tracing import TracingConfig
from raymlops.errors import ConfigError
from raymlops.serving.traced import TracedEndpoint
from raymlops.tracing import open_tracer

sdk = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
pytestmark = pytest.mark.asyncio

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Traced:
    def __init__(self, service: Any, sample: float) -> None:
        self.exporter = sdk.InMemorySpanExporter()
        self._tracer: Any = open_tracer(TracingConfig(enabled=True), self.exporter)
        options = {"clock": service.clock, "events": service.events, "labels": service.labels}
        service.endpoint = TracedEndpoint("delay", service.loader, tracer=self._tracer, sample=sample, **options)
        assert service.serve()

    def spans(self) -> list[Any]:
        self._tracer.span_processor.force_flush()
        return list(self.exporter.get_finished_spans())


@pytest.fixture
def traced(service: Any) -> Callable[[float], Traced]:
    return lambda sample: Traced(service, sample)


async def test_a_request_is_a_span_that_tells_who_answered(
    service: Any, helpers: Any, traced: Callable[[float], Traced]
) -> None:
    made = traced(1.0)
    await service.post("/infer", helpers.matrix_body(id="r-1"), traceparent=f"00-{TRACE}-{SPAN}-01")
    await service.post("/versions/1/infer", helpers.matrix_body())
    await service.post("/predict", {"instances": [{"origin": "JFK", "distance": 1.0, "hour": 2}]})
    await service.get("/made/up/by/somebody")
    infer, pinned, predict, nothing = made.spans()
    assert (infer.name, infer.kind.name) == ("POST /v2/models/{model}/infer", "SERVER")
    assert (f"{infer.context.trace_id:032x}", f"{infer.parent.span_id:016x}") == (TRACE, SPAN)
    assert infer.attributes["http.request.method"] == "POST"
    assert infer.attributes["http.response.status_code"] == 200
    assert infer.attributes["url.path"] == "/v2/models/delay/infer"
    (event,) = infer.events
    assert (event.name, dict(event.attributes)) == (
        "feature_flag.evaluation",
        {
            "feature_flag.key": "delay",
            "feature_flag.provider.name": "raymlops",
            "feature_flag.result.variant": "1",
            "feature_flag.result.reason": "champion",
            "feature_flag.set.id": "1",
        },
    )
    assert pinned.name == "POST /v2/models/{model}/versions/{version}/infer"
    assert predict.parent is None
    assert (nothing.name, nothing.attributes["http.response.status_code"]) == ("GET /v2/models/{model}/{path}", 404)
    assert "error.type" not in nothing.attributes
    service.endpoint.start()
    assert await service.endpoint.stop() == 0
    assert infer.attributes["raymlops.request_id"] == "r-1"
    assert next(row["request_id"] for row in service.sink.rows) == "r-1"


async def test_a_fallback_is_told_by_its_role_and_a_failure_by_its_status(
    service: Any, helpers: Any, traced: Callable[[float], Traced]
) -> None:
    made = traced(1.0)
    service.serve(2, 1, backup=2)
    service.endpoint._breakers.trip(1, "tried")
    await service.post("/infer", helpers.matrix_body())
    service.endpoint._breakers.trip(2, "tried")
    await service.post("/infer", helpers.matrix_body())
    backup, failed = made.spans()
    assert backup.events[0].attributes["feature_flag.result.reason"] == "backup"
    assert backup.events[0].attributes["feature_flag.result.variant"] == "2"
    assert backup.events[0].attributes["feature_flag.set.id"] == "2"
    assert failed.attributes["error.type"] == str(failed.attributes["http.response.status_code"])
    assert failed.status.status_code.name == "ERROR"
    assert failed.events == ()


async def test_the_caller_decides_first_and_then_the_share(
    service: Any, helpers: Any, traced: Callable[[float], Traced]
) -> None:
    made = traced(0.0)
    for headers in ({}, {"traceparent": f"00-{TRACE}-{SPAN}-00"}, {"traceparent": f"00-{TRACE}-{SPAN}-01"}):
        assert (await service.post("/infer", helpers.matrix_body(), **headers)).status == 200
    (span,) = made.spans()
    assert f"{span.context.trace_id:032x}" == TRACE


@pytest.mark.parametrize("header", ["", "x", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{SPAN}", "<script>" * 999])
async def test_a_malformed_traceparent_is_as_good_as_none(
    service: Any, helpers: Any, traced: Callable[[float], Traced], header: str
) -> None:
    made = traced(1.0)
    assert (await service.post("/infer", helpers.matrix_body(), traceparent=header)).status == 200
    (span,) = made.spans()
    assert span.parent is None


async def test_a_missing_sdk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"raymlops\[otel\]"):
        open_tracer(TracingConfig(enabled=True))
