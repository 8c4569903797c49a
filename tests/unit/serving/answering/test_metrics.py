"""What a replica counts, in the families that Prometheus scrapes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from raymlops.config.serving import BatchingConfig, EventLogConfig, ServingConfig
from raymlops.records.plans import Baseline, Trial
from raymlops.serving.answering.metrics import Histogram, ServingMetrics

pytestmark = pytest.mark.asyncio


def values(service: Any, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {
        tuple(sorted(labels.items())): value
        for family in service.endpoint.families()
        if family.name == name
        for suffix, labels, value in family.samples
        if suffix in ("", "_count")
    }


async def test_a_histogram_counts_a_bound_with_what_lies_under_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 3.0):
        histogram.observe(value)
    found = {(suffix, labels.get("le")): value for suffix, labels, value in histogram.samples({})}
    assert found == {
        ("_bucket", "1.0"): 2,
        ("_bucket", "2.0"): 3,
        ("_bucket", "+Inf"): 4,
        ("_sum", None): 6.0,
        ("_count", None): 4,
    }


async def test_replies_are_counted_by_code_and_version(service: Any, helpers: Any) -> None:
    await service.post("/infer", helpers.matrix_body())
    await service.post("/predict", {"instances": [{"origin": "JFK", "distance": 1.0, "hour": 2}]})
    await service.post("/infer", b"{")
    await service.get("/plan")
    service.serve(2, 2)
    await service.post("/infer", helpers.matrix_body([(1.0, 2.0, 3.0, 4.0)] * 3))
    requests = values(service, "infer_requests_total")
    assert requests == {
        (("code", "200"), ("version", "1")): 2,
        (("code", "200"), ("version", "2")): 1,
        (("code", "200"), ("version", "")): 1,
        (("code", "400"), ("version", "")): 1,
    }
    assert values(service, "infer_request_duration_seconds") == {(("version", "1"),): 2, (("version", "2"),): 1}
    assert values(service, "infer_rows_total") == {(("version", "1"),): 2, (("version", "2"),): 3}
    assert values(service, "batch_rows") == {(): 3}
    assert values(service, "plan_number") == {(): 2}
    assert values(service, "plan_swaps_total") == {(): 2}
    assert values(service, "events_recorded_total") == {(): 5}
    assert values(service, "events_dropped_total") == {(): 0}
    assert values(service, "requests_in_flight") == values(service, "queue_rows") == {(): 0}


async def test_what_another_answered_is_counted(service: Any, helpers: Any) -> None:
    service.serve(2, trial=Trial(version=2, weight=1, deadline_ms=1000))
    service.candidate.behave = lambda columns: 1 / 0
    await service.post("/infer", helpers.matrix_body())
    assert values(service, "candidate_fallbacks_total") == {(("version", "2"),): 1}
    assert values(service, "fallbacks_total") == {(("role", "champion"), ("version", "1")): 1}


async def test_events_that_are_dropped_are_counted(make_service: Callable[..., Any], helpers: Any) -> None:
    service = make_service(ServingConfig(events=EventLogConfig(buffer_rows=2)))
    service.serve()
    for _ in range(5):
        assert (await service.post("/infer", helpers.matrix_body())).status == 200
    assert values(service, "events_dropped_total") == {(): 3}
    assert values(service, "events_waiting") == {(): 2}


class Slow:
    """A model that waits for a permit at each call."""

    def __init__(self, model: Any) -> None:
        self.schema, self.signature, self._model = model.schema, model.signature, model
        self.encode, self.stack, self.predict = model.encode, model.stack, model.predict
        self.permit, self.started = threading.Event(), threading.Event()

    def score(self, encoded: Any) -> Any:
        self.started.set()
        assert self.permit.wait(10)
        return self._model.score(encoded)


def slow_down(service: Any) -> Slow:
    from dataclasses import replace

    serving = service.endpoint.slot.current
    slow = Slow(serving.champion.model)
    service.endpoint.slot.current = replace(serving, champion=replace(serving.champion, model=slow))
    return slow


async def test_rows_beyond_the_queue_are_shed(make_service: Callable[..., Any], helpers: Any) -> None:
    service = make_service(ServingConfig(queue_rows=200, batching=BatchingConfig(in_thread_above="1ms")))
    service.serve()
    slow = slow_down(service)
    rows = [(1.0, 2.0, 3.0, 4.0)] * 150
    first = asyncio.ensure_future(service.post("/infer", helpers.matrix_body(rows)))
    await asyncio.to_thread(slow.started.wait, 10)
    second = asyncio.ensure_future(service.post("/infer", helpers.matrix_body(rows)))
    await asyncio.sleep(0)
    shed = await service.post("/infer", helpers.matrix_body(rows))
    assert (shed.status, shed.headers["retry-after"]) == (429, "1")
    assert values(service, "queue_rows") == {(): 150}
    slow.permit.set()
    assert {(await first).status, (await second).status} == {200}
    assert values(service, "queue_rows") == {(): 0}


async def test_the_deadline_ends_the_wait_for_a_model(make_service: Callable[..., Any], helpers: Any) -> None:
    service = make_service(ServingConfig(deadline="30ms", batching=BatchingConfig(in_thread_above="1ms")))
    service.serve()
    slow = slow_down(service)
    reply = await service.post("/infer", helpers.matrix_body([(1.0, 2.0, 3.0, 4.0)] * 100, id="late"))
    assert reply.status == 504
    assert not slow.permit.is_set(), "it was answered while the model still worked"
    slow.permit.set()
    await service.endpoint.flush()
    errors = {row["request_id"]: row["error"] for row in service.sink.rows}
    assert errors == {"late": "deadline: no answer within 0.03 s"}


async def test_breakers_are_on_the_page(service: Any, helpers: Any) -> None:
    service.serve(2, 1, backup=2, baseline=Baseline(probability=(0.5, 0.5)))
    await service.post("/infer", helpers.matrix_body())
    assert values(service, "breaker_open") == {(("version", "1"),): 0}
    assert values(service, "breaker_openings_total") == {}
    service.endpoint._breakers.trip(1, "tried")
    await service.post("/infer", helpers.matrix_body())
    assert values(service, "breaker_open") == {(("version", "1"),): 1, (("version", "2"),): 0}
    assert values(service, "breaker_openings_total") == {(("version", "1"),): 1}
    service.endpoint._breakers.trip(2, "tried")
    await service.post("/infer", helpers.matrix_body())
    assert values(service, "infer_rows_total") == {(("version", "1"),): 1, (("version", "2"),): 1}
    assert values(service, "fallbacks_total") == {
        (("role", "backup"), ("version", "2")): 1,
        (("role", "baseline"), ("version", "1")): 1,
    }
    service.serve(3, 3, backup=2)
    assert values(service, "breaker_openings_total") == {(("version", "1"),): 1, (("version", "2"),): 1}


async def test_a_replica_that_outlives_many_versions_shows_the_served_and_the_newest() -> None:
    metrics = ServingMetrics()
    for version in range(1, 101):
        metrics.replied(200, version, 0.001)
        metrics.rows[version] += 1
        metrics.fallbacks[version, "backup"] += 1
        metrics.candidate_fallbacks[version] += 1
    metrics.replied(429, None, 0.0)
    metrics.forget_but({3})
    shown = {
        int(sample.labels["version"])
        for family in metrics.families()
        for sample in family.samples
        if sample.labels.get("version")
    }
    assert shown == {3, *range(86, 101)}
    assert metrics.replies[429, None] == 1
    before = list(metrics.families())
    metrics.forget_but({3})
    assert list(metrics.families()) == before
