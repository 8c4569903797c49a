from __future__ import annotations

import re
from collections.abc import Mapping

import orjson
import pytest

from raymlops.errors import UnavailableError
from raymlops.serving.gateway import Gateway
from raymlops.serving.http import HttpReply, HttpRequest

pytestmark = pytest.mark.asyncio


class FakePlans:
    def __init__(self) -> None:
        self.error: Exception | None = None

    async def served_plans(self) -> Mapping[str, object]:
        if self.error is not None:
            raise self.error
        return {"delay": 3}


@pytest.fixture
def plans() -> FakePlans:
    return FakePlans()


@pytest.fixture
def gateway(plans: FakePlans) -> Gateway:
    return Gateway("1.2.3", plans)


async def get(gateway: Gateway, path: str, method: str = "GET") -> HttpReply:
    return await gateway.handle(HttpRequest(method, path))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2", {"name": "raymlops", "version": "1.2.3", "extensions": ["binary_tensor_data"]}),
        ("/v2/", {"name": "raymlops", "version": "1.2.3", "extensions": ["binary_tensor_data"]}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
    ],
)
async def test_server_metadata_and_health(gateway: Gateway, path: str, body: object) -> None:
    reply = await get(gateway, path)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert orjson.loads(reply.body) == body


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/", 404, "there is no '/'"),
        ("/nothing", 404, "there is no '/nothing'"),
        ("/v2/models/unknown", 404, "'unknown' is not deployed"),
        ("/v2/models/unknown/versions/3/infer", 404, "'unknown' is not deployed"),
        ("/v2/models/delay/infer", 503, "'delay' is not up yet"),
    ],
)
async def test_what_nobody_serves(gateway: Gateway, path: str, status: int, message: str) -> None:
    reply = await get(gateway, path, "POST")
    assert (reply.status, reply.headers["content-type"]) == (status, "application/json")
    assert message in orjson.loads(reply.body)["error"]


async def test_a_wrong_method_names_the_right_one(gateway: Gateway) -> None:
    reply = await get(gateway, "/v2", "POST")
    assert (reply.status, reply.headers["allow"]) == (405, "GET")


async def test_without_its_store_the_server_is_live_and_not_ready(gateway: Gateway, plans: FakePlans) -> None:
    plans.error = UnavailableError("the metadata actor died")
    ready = await get(gateway, "/v2/health/ready")
    assert (ready.status, orjson.loads(ready.body)) == (503, {"error": "the metadata actor died"})
    assert (await get(gateway, "/v2/health/live")).status == 200
    assert gateway.replies == {503: 1, 200: 1}


async def test_a_bug_is_500_and_says_nothing(
    gateway: Gateway, plans: FakePlans, caplog: pytest.LogCaptureFixture
) -> None:
    plans.error = ZeroDivisionError("secret")
    reply = await get(gateway, "/v2/health/ready")
    assert (reply.status, orjson.loads(reply.body)) == (500, {"error": "internal error"})
    assert "ZeroDivisionError" in caplog.text


async def test_the_document_is_whole(gateway: Gateway) -> None:
    reply = await get(gateway, "/openapi.json")
    document = orjson.loads(reply.body)
    references = set(re.findall(rb'"#/components/schemas/(\w+)"', reply.body))
    assert {name.decode() for name in references} == set(document["components"]["schemas"])
    assert set(document["paths"]) >= {
        "/v2/models/{model}/infer",
        "/v2/models/{model}/versions/{version}/infer",
        "/v2/models/{model}/predict",
        "/v2/models/{model}/labels",
        "/v2/models/{model}/plan",
    }
    for path, item in document["paths"].items():
        for operation in item.values():
            named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))


async def test_the_page_loads_nothing_from_elsewhere(gateway: Gateway) -> None:
    reply = await get(gateway, "/docs")
    page = reply.body.decode()
    assert reply.headers["content-type"].startswith("text/html")
    assert "/v2/models/{model}/predict" in page
    assert "http://" not in page
    assert "https://" not in page
