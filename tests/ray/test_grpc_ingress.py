"""The gRPC port without a cluster: what comes of what endpoints answer over HTTP, and of a port that is taken."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import web

from raymlops.config.serving import ServingConfig
from raymlops.errors import ConfigError
from raymlops.records.plans import ServingPlan
from raymlops.runtime.serve.gateway import grpc_ingress
from raymlops.runtime.serve.gateway.grpc_ingress import Endpoints, start_grpc
from raymlops.serving import Gateway
from raymlops.serving.front import open_inference_pb2 as pb

pytestmark = pytest.mark.ray


class Plans:
    def __init__(self) -> None:
        self.asked = 0

    async def served_plans(self) -> Mapping[str, ServingPlan]:
        self.asked += 1
        return {"delay": ServingPlan(model="delay", number=1, champion=1, created_at=datetime.now(UTC))}


HANGS, CLOSES, NOBODY = "hangs", "closes the connection", "nobody listens"


class HttpPort:
    """What listens on the HTTP port: it answers with a status and a body, hangs, or closes the connection."""

    def __init__(self, outcome: Any) -> None:
        self._outcome = outcome
        self.seen: list[aiohttp.web.Request] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        if self._outcome == HANGS:
            await asyncio.Event().wait()
        if self._outcome == CLOSES:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        status, body = self._outcome
        if isinstance(body, str):
            return web.Response(status=status, text=body, content_type="text/html")
        return web.json_response(body, status=status)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def config() -> ServingConfig:
    return ServingConfig(port=free_port(), grpc_port=free_port(), deadline=timedelta(milliseconds=50))


async def ask(
    outcome: Any, model: str = "delay", *, version: str = "", times: int = 1
) -> tuple[grpc.StatusCode | bool, list[web.Request], int]:
    """What the last of some callers gets, what the HTTP port was asked, and how often the plans were."""
    settings, plans, port = config(), Plans(), HttpPort(outcome)
    application = web.Application()
    application.router.add_route("*", r"/{path:[\s\S]*}", port.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    if outcome != NOBODY:
        await web.TCPSite(runner, "127.0.0.1", settings.port).start()
    endpoints = Endpoints(plans, settings)
    server = await start_grpc(settings, Gateway("1", plans), endpoints)
    assert server is not None
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{settings.grpc_port}") as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelReady")
            for _ in range(times):
                message = pb.ModelReadyRequest(name=model, version=version).SerializeToString()
                try:
                    answer = await call(message, timeout=20, metadata=[("authorization", "Bearer k")])
                except grpc.aio.AioRpcError as error:
                    answer = error.code()
        told = answer if isinstance(answer, grpc.StatusCode) else pb.ModelReadyResponse.FromString(answer).ready
        return told, port.seen, plans.asked
    finally:
        await server.stop(None)
        await endpoints.close()
        await runner.cleanup()


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        ((200, {"name": "delay", "ready": True}), True),
        ((503, {"error": "no plan"}), False),
        ((404, "<h1>no page</h1>"), grpc.StatusCode.UNAVAILABLE),
        ((401, {"error": "key"}), grpc.StatusCode.UNAUTHENTICATED),
        ((429, {"error": "too many"}), grpc.StatusCode.RESOURCE_EXHAUSTED),
        ((500, {"error": "internal error"}), grpc.StatusCode.INTERNAL),
        (CLOSES, grpc.StatusCode.UNAVAILABLE),
        (NOBODY, grpc.StatusCode.UNAVAILABLE),
        (HANGS, grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
def test_what_an_endpoint_says_is_what_the_caller_is_told(outcome: Any, answer: Any) -> None:
    assert asyncio.run(ask(outcome))[0] == answer


def test_a_model_that_never_was_is_not_looked_up() -> None:
    told, seen, _ = asyncio.run(ask((200, {}), "nobody"))
    assert told is grpc.StatusCode.NOT_FOUND
    assert seen == []


def test_the_endpoint_is_asked_by_the_callers_words() -> None:
    _, seen, asked = asyncio.run(ask((200, {"ready": True}), version="..x y?z#\r\n", times=3))
    assert {each.raw_path for each in seen} == {"/v2/models/delay/versions/..x%20y%3Fz%23%0D%0A/ready"}
    assert [each.headers["Authorization"] for each in seen] == ["Bearer k"] * 3
    assert asked == 1


def test_who_has_the_endpoint_is_asked_again_after_it_was_not_there() -> None:
    assert asyncio.run(ask((404, {"error": "no endpoint"}), times=3))[2] == 3


def test_a_port_that_is_taken_is_named() -> None:
    settings = config()

    async def run() -> None:
        plans = Plans()
        first = await start_grpc(settings, Gateway("1", plans), Endpoints(plans, settings))
        assert first is not None
        with pytest.raises(ConfigError, match=f"gRPC port {settings.grpc_port} on 127.0.0.1 is taken"):
            await start_grpc(settings, Gateway("1", plans), Endpoints(plans, settings))
        await first.stop(None)

    asyncio.run(run())


def test_there_is_no_port_unless_asked_for() -> None:
    plans, settings = Plans(), ServingConfig()
    assert asyncio.run(start_grpc(settings, Gateway("1", plans), Endpoints(plans, settings))) is None


def test_a_connection_that_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_ingress, "_HANDSHAKE_MS", 200)

    async def run() -> None:
        plans, settings = Plans(), config()
        server = await start_grpc(settings, Gateway("1", plans), Endpoints(plans, settings))
        assert server is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", settings.grpc_port)
        assert b"handshake timeout" in await asyncio.wait_for(reader.read(), 20)
        writer.close()
        await server.stop(None)

    asyncio.run(run())
