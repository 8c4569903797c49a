"""10,000 malformed bodies against the whole endpoint, and what they taught us."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pytest

from raymlops.serving.protocol.open_inference import MAX_DIMENSIONS
from tests.support.malformed_requests import malformed_requests

pytestmark = pytest.mark.asyncio

COUNT = 10_000
GOOD: dict[str, dict[str, Any]] = {
    "/predict": {
        "id": "p",
        "instances": [{"origin": "JFK", "distance": 500.0, "hour": 8}, {"origin": "?", "distance": 1, "hour": 9}],
        "parameters": {"at": "2013-06-01T11:00:00+00:00"},
    },
    "/labels": {"labels": [{"request_id": "r", "row": 0, "label": 1, "event_time": "2013-06-01T11:00:00+00:00"}]},
}


@pytest.fixture
def good(helpers: Any) -> dict[str, dict[str, Any]]:
    matrix = helpers.matrix_body(id="r", outputs=[{"name": "label", "parameters": {"binary_data": False}}])
    return {"/infer": matrix | {"parameters": {"binary_data_output": False}}, **GOOD}


async def test_what_is_mutated_is_good(service: Any, good: dict[str, dict[str, Any]]) -> None:
    for action, body in good.items():
        assert (await service.post(action, body)).status == 200


@pytest.mark.timeout(60)
async def test_none_is_a_500_and_none_hangs(service: Any, good: dict[str, dict[str, Any]]) -> None:
    statuses: Counter[int] = Counter()
    for request in malformed_requests(good, COUNT, seed=1):
        reply = await service.post(request.action, request.body, **request.headers)
        statuses[reply.status] += 1
        assert reply.status in {200, 400}, (request.action, request.body[:500], request.headers, reply.body)
        if reply.status == 400:
            assert reply.headers["content-type"] == "application/json"
            assert orjson.loads(reply.body).keys() == {"error"}
    assert statuses.total() == COUNT
    assert statuses[400] > 0.8 * COUNT
    assert (await service.post("/infer", good["/infer"])).status == 200


async def test_the_same_seed_gives_the_same_requests(good: dict[str, dict[str, Any]]) -> None:
    first = list(malformed_requests(good, 200, seed=5))
    assert first == list(malformed_requests(good, 200, seed=5))
    assert first != list(malformed_requests(good, 200, seed=6))
    assert {request.action for request in first} == set(good)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("dimensions", [MAX_DIMENSIONS + 1, 400, 500_000])
@pytest.mark.parametrize("part", [{"data": [1.0]}, {"parameters": {"binary_data_size": 0}}])
async def test_a_shape_of_many_dimensions_is_refused_at_once(service: Any, dimensions: int, part: Any) -> None:
    tensor = {"name": "distance", "datatype": "FP64", "shape": [2**62] * dimensions, **part}
    reply = await service.post("/infer", {"inputs": [tensor]})
    assert (reply.status, b"at most 8 integers" in reply.body) == (400, True)
