from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from raymlops.config.serving import ServingConfig
from raymlops.errors import UnavailableError
from raymlops.records.plans import ServingPlan, Trial
from raymlops.records.serving.endpoints import EndpointStatus
from raymlops.records.serving.keys import new_key, parse_grant
from raymlops.serving.front.endpoint_view import EndpointView
from raymlops.serving.front.gateway import Gateway
from raymlops.serving.protocol.access import Access
from raymlops.serving.protocol.http import HttpReply, HttpRequest, error_reply, json_reply

pytestmark = pytest.mark.asyncio


PLAN = ServingPlan(
    model="delay",
    number=3,
    champion=4,
    backup=3,
    trial=Trial(version=5, mode="canary", weight=0.1),
    created_at=datetime(2013, 6, 1, tzinfo=UTC),
)


class FakePlans:
    def __init__(self) -> None:
        self.error: Exception | None = None

    async def served_plans(self) -> Mapping[str, ServingPlan]:
        if self.error is not None:
            raise self.error
        return {"delay": PLAN}


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
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


async def test_a_body_that_would_hold_up_others_is_not_read(gateway: Gateway) -> None:
    for size, status in ((64 << 10, 200), ((64 << 10) + 1, 413)):
        body = b'{"ready": true}'.ljust(size)
        assert (await gateway.handle(HttpRequest("POST", "/v2/repository/index", {}, body))).status == status


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


class FakeEndpoints:
    """Answers as its version does, or never."""

    def __init__(self, broken: int = 0, *, hangs: bool = False, up: bool = True) -> None:
        self.broken, self.hangs, self.up = broken, hangs, up
        self.asked: list[HttpRequest] = []

    async def ask(self, model: str, request: HttpRequest) -> HttpReply | None:
        self.asked.append(request)
        if self.hangs:
            await asyncio.Event().wait()
        if not self.up:
            return None
        failed = request.path == f"/v2/models/{model}/versions/{self.broken}/ready"
        return error_reply(503, "its files cannot be loaded") if failed else json_reply({"ready": True})


async def index(gateway: Gateway, body: bytes = b"", method: str = "POST", **headers: str) -> HttpReply:
    return await gateway.handle(HttpRequest(method, "/v2/repository/index", headers, body))


async def test_models_are_listed(plans: FakePlans) -> None:
    endpoints = FakeEndpoints(broken=3)
    gateway = Gateway("1.2.3", plans, endpoints=endpoints)
    assert orjson.loads((await get(gateway, "/v2/models")).body) == {"models": ["delay"]}
    listed = await index(gateway, authorization="Bearer k")
    assert orjson.loads(listed.body) == [
        {"name": "delay", "version": "3", "state": "UNAVAILABLE", "reason": "its files cannot be loaded"},
        {"name": "delay", "version": "4", "state": "READY", "reason": ""},
        {"name": "delay", "version": "5", "state": "UNKNOWN", "reason": "on trial, in a process of its own"},
    ]
    assert {request.headers["authorization"] for request in endpoints.asked} == {"Bearer k"}
    assert (await index(gateway, method="GET")).body == listed.body
    ready = orjson.loads((await index(gateway, b'{"ready": true}')).body)
    assert [row["version"] for row in ready] == ["4"]
    assert (await index(gateway, b'{"ready": 1}')).status == 400
    assert (await index(gateway, b"[")).status == 400


async def test_an_endpoint_that_is_not_up_or_hangs_is_not_ready(
    plans: FakePlans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raymlops.serving.front.gateway._READY_WITHIN_S", 0.01)
    for endpoints, reason in (
        (FakeEndpoints(up=False), "its endpoint is not up"),
        (FakeEndpoints(hangs=True), "the endpoint did not answer within 0.01 s"),
    ):
        rows = orjson.loads((await index(Gateway("1.2.3", plans, endpoints=endpoints))).body)
        assert [row["reason"] for row in rows[:2]] == [reason, reason]


async def test_models_are_listed_for_keys_alone_where_keys_are_required(plans: FakePlans) -> None:
    gateway = Gateway("1.2.3", plans, access=Access(required=True))
    for path in ("/v2/models", "/v2/repository/index", "/v2/models/delay", "/v2/models/nobody/infer"):
        assert (await get(gateway, path)).status == 401
        assert (await get(gateway, path, "HEAD")).status == 401
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/openapi.json", "/docs"):
        assert (await get(gateway, path)).status == 200
    key, text = new_key("caller", ["infer"], datetime(2013, 6, 1, tzinfo=UTC))
    gateway.admit(Access([key]))
    headers = {"authorization": f"Bearer {text}"}
    assert (await gateway.handle(HttpRequest("GET", "/v2/models", headers))).status == 200


async def test_lists_and_readiness_show_a_key_its_own_models_alone(plans: FakePlans) -> None:
    class Two(FakePlans):
        async def served_plans(self) -> Mapping[str, ServingPlan]:
            return {"delay": PLAN, "fraud": PLAN.model_copy(update={"model": "fraud"})}

    class Silent:
        async def statuses(self) -> Sequence[EndpointStatus]:
            return []

    key, text = new_key("caller", [], PLAN.created_at, grants=[parse_grant("read:fraud")])
    gateway = Gateway("1.2.3", Two(), EndpointView(Silent()), access=Access([key]))
    headers = {"authorization": f"Bearer {text}"}

    async def told(path: str, sent: Mapping[str, str]) -> Any:
        return orjson.loads((await gateway.handle(HttpRequest("GET", path, sent))).body)

    assert await told("/v2/models", headers) == {"models": ["fraud"]}
    assert {row["name"] for row in await told("/v2/repository/index", headers)} == {"fraud"}
    silent = "2 of 2 models do not answer"
    assert await told("/v2/health/ready", {}) == {"error": silent}
    assert await told("/v2/health/ready", headers) == {"error": f"{silent}: fraud: nobody has looked yet"}
    for other in ("delay", "nobody", "fra%75d"):  # whether there is such a model is not told
        assert (await gateway.handle(HttpRequest("GET", f"/v2/models/{other}/ready", headers))).status == 403


@pytest.mark.parametrize("path", ["/v2", "/v2/models", "/v2/health/ready", "/docs", "/v2/repository/index"])
async def test_head_is_get(gateway: Gateway, path: str) -> None:
    assert await get(gateway, path, "HEAD") == await get(gateway, path)


async def test_a_store_that_hangs_is_504_at_the_deadline() -> None:
    class Hanging(FakePlans):
        async def served_plans(self) -> Mapping[str, ServingPlan]:
            await asyncio.Event().wait()
            raise AssertionError

    gateway = Gateway("1.2.3", Hanging(), config=ServingConfig.model_validate({"deadline": "20ms"}))
    for path in ("/v2/health/ready", "/v2/models", "/v2/models/delay/infer"):
        assert (await get(gateway, path)).status == 504


class FakePages:
    def __init__(self) -> None:
        self.asked: list[tuple[HttpRequest, Access]] = []

    def takes(self, path: str) -> bool:
        return path.startswith("/console")

    async def handle(self, request: HttpRequest, access: Access) -> HttpReply:
        self.asked.append((request, access))
        return HttpReply(200, {"content-type": "text/html"}, b"<p>")


async def test_pages_are_asked_with_the_keys_that_hold_now(plans: FakePlans) -> None:
    pages = FakePages()
    gateway = Gateway("1.2.3", plans, pages=pages)
    key, _ = new_key("ann", ["operate"], datetime(2026, 1, 1, tzinfo=UTC))
    access = Access([key])
    gateway.admit(access)
    request = HttpRequest("GET", "/console/runs", query="status=failed")
    assert (await gateway.handle(request)).body == b"<p>"
    assert pages.asked == [(request, access)]
    assert (await get(Gateway("1.2.3", plans), "/console")).status == 404
