"""Bodies of any size mean the same; what they may hold is bounded, and so is how long one may take."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import orjson
import pytest

from raymlops.config.serving import EventLogConfig, RequestLimits, ServingConfig
from raymlops.serving import HttpReply, HttpRequest

pytestmark = pytest.mark.asyncio

INSTANCE = {"origin": "JFK", "distance": 500.0, "hour": 8}
SMALL_ASIDE = {"aside_above_bytes": 1024}


def read(reply: HttpReply, status: int = 200) -> Any:
    assert reply.status == status, reply
    return orjson.loads(reply.body)


def padded(document: dict[str, Any]) -> bytes:
    """The same request, too large to be read on the event loop."""
    return orjson.dumps(document).replace(b"{", b"{" + b" " * 2000, 1)


@pytest.fixture
def make(make_service: Callable[..., Any], config: ServingConfig) -> Callable[..., Any]:
    def made(limits: dict[str, Any] | None = None, **changes: Any) -> Any:
        # the process beside may be slow to start where the machine is busy
        given = {"deadline": timedelta(minutes=1), "limits": RequestLimits.model_validate(limits or {}), **changes}
        service = make_service(config.model_copy(update=given))
        service.serve()
        return service

    return made


async def test_a_body_read_aside_is_answered_as_any_other(make: Callable[..., Any], helpers: Any) -> None:
    here, aside = make(), make(aside_above_bytes=1024)
    bodies = {
        "/infer": helpers.matrix_body([(500.0, 8.0, 5.0, 0.0)] * 3, id="r"),
        "/predict": {"id": "p", "instances": [INSTANCE, INSTANCE | {"origin": "EWR"}]},
        "/labels": {"labels": [{"request_id": "r", "label": 1}]},
    }
    for action, body in bodies.items():
        for content in (orjson.dumps(body), orjson.dumps(body)[:-1]):
            large = b" " * 2000 + content
            expected = await here.post(action, large, idempotency_key="k")
            assert await aside.post(action, large, idempotency_key="k") == expected
            assert expected.status == (200 if content.endswith(b"}") and orjson.dumps(body) == content else 400)
    assert here.endpoint._reader._aside._process is None
    assert aside.endpoint._reader._aside._process is not None
    assert [table.to_pylist() for table in aside.labels.tables.values()] == [
        table.to_pylist() for table in here.labels.tables.values()
    ]
    await aside.endpoint.stop()


async def test_other_requests_go_on_while_a_large_body_is_read(make: Callable[..., Any], helpers: Any) -> None:
    """The first large body waits for the process to start, and for its own reading; nobody else does."""
    service = make(aside_above_bytes=1024, deadline=timedelta(minutes=2))
    rows = b",".join([b"[1,2,3,4]"] * 60_000)
    tensor = b'{"name":"features","datatype":"FP64","shape":[60000,4],"data":[%s]}' % rows
    large = asyncio.create_task(service.post("/infer", b'{"inputs":[' + tensor + b"]}"))
    answered = 0
    while not large.done():
        read(await service.post("/infer", helpers.matrix_body()))
        answered += 1
        await asyncio.sleep(0)
    assert "inputs must hold 1 to 50000 rows, got 60000" in read(await large, 400)["error"]
    assert answered > 10
    await service.endpoint.stop()


@pytest.mark.parametrize(
    ("action", "body", "message"),
    [
        ("/infer", {"rows": 3}, "inputs must hold 1 to 2 rows, got 3"),
        ("/predict", {"instances": [INSTANCE] * 3}, "'instances' must hold at most 2, got 3"),
        ("/predict", {"instances": [INSTANCE | {"origin": "x" * 9}]}, "'origin' must have at most 8 characters, got 9"),
        ("/labels", {"labels": [{"request_id": "r", "label": 1}] * 3}, "'labels' must hold at most 2, got 3"),
    ],
)
@pytest.mark.parametrize("aside_above_bytes", [1024, 1 << 20])
async def test_what_a_request_holds_is_bounded(
    make: Callable[..., Any], helpers: Any, action: str, body: Any, message: str, aside_above_bytes: int
) -> None:
    limits = {"infer_rows": 2, "predict_rows": 2, "labels": 2, "key_chars": 8}
    service = make(limits, aside_above_bytes=aside_above_bytes)
    if "rows" in body:
        body = helpers.matrix_body([(500.0, 8.0, 5.0, 0.0)] * body["rows"])
    assert message in read(await service.post(action, padded(body)), 400)["error"]
    await service.endpoint.stop()


@pytest.mark.parametrize("year", ["0001", "1970", "2012", "9999"])
async def test_an_instant_far_from_the_clock_is_refused(make: Callable[..., Any], year: str) -> None:
    service = make({"oldest": "30d"})  # the clock says June 2013
    at = f"{year}-01-01T00:00:00Z"
    for body in (
        {"instances": [INSTANCE], "parameters": {"at": at}},
        {"instances": [INSTANCE] * 2, "parameters": {"at": ["2013-06-01T11:00:00Z", at]}},
    ):
        assert "platform's clock" in read(await service.post("/predict", body), 400)["error"]
    labels = {"labels": [{"request_id": "r", "label": 1, "event_time": at}]}
    assert "platform's clock" in read(await service.post("/labels", labels), 400)["error"]
    assert service.endpoint.stats.events.recorded == 0


async def test_an_instant_within_the_bound_is_taken(make: Callable[..., Any]) -> None:
    service = make({"oldest": "30d"})
    at = "2013-05-02T12:00:00Z"
    read(await service.post("/predict", {"instances": [INSTANCE], "parameters": {"at": at}}))
    read(await service.post("/labels", {"labels": [{"request_id": "r", "label": 1, "event_time": at}]}))


async def test_a_feature_store_that_hangs_is_504_at_the_deadline_and_blocks_nobody(
    make: Callable[..., Any], helpers: Any
) -> None:
    service = make()
    service.endpoint._deadline_s = 0.05
    going = threading.Event()
    service.online.blocks = True
    answered = service.online.read
    service.online.read = lambda rows, at_us: (going.wait(20), answered(rows, at_us))[1]
    asked = [asyncio.create_task(service.post("/predict", {"instances": [INSTANCE]})) for _ in range(20)]
    await asyncio.sleep(0)
    read(await service.post("/infer", helpers.matrix_body()))
    assert {reply.status for reply in await asyncio.gather(*asked)} == {504}
    going.set()
    service.endpoint._deadline_s = 10.0
    read(await service.post("/predict", {"instances": [INSTANCE]}))
    await service.endpoint.stop()


async def test_the_time_a_body_took_to_arrive_is_part_of_the_deadline(make: Callable[..., Any], helpers: Any) -> None:
    service = make(deadline=timedelta(seconds=10))
    content = orjson.dumps(helpers.matrix_body())
    late = HttpRequest("POST", "/v2/models/delay/infer", {}, content, received_s=10.0)
    assert read(await service.endpoint.handle(late), 504) == {"error": "no answer within 10 s"}
    read(await service.endpoint.handle(late._replace(received_s=1.0)))


async def test_events_that_wait_are_bounded_by_memory(make: Callable[..., Any], helpers: Any) -> None:
    service = make(events=EventLogConfig.model_validate({"flush_every": "1h", "buffer_bytes": 100_000}))
    service.sink.hang = True
    for _ in range(20):
        read(await service.post("/infer", helpers.matrix_body([(500.0, 8.0, 5.0, 0.0)] * 100)))
    stats = service.endpoint.stats.events
    assert (stats.recorded, stats.waiting + stats.dropped) == (2000, 2000)
    assert 0 < stats.waiting < 800
    service.sink.hang = False
    assert await service.endpoint.flush(5) == 0
    read(await service.post("/infer", helpers.matrix_body()))
    assert service.endpoint.stats.events.dropped == stats.dropped


@pytest.mark.parametrize("path", ["", "/ready", "/plan", "/versions/1", "/versions/1/ready"])
async def test_head_is_get(service: Any, path: str) -> None:
    head = await service.endpoint.handle(HttpRequest("HEAD", f"/v2/models/delay{path}"))
    assert head == await service.get(path)
    assert head.status == 200
