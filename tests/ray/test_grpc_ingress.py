"""The gRPC port without a cluster: what comes of what Serve's handles raise, and of a port that is taken."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from ray.exceptions import RayActorError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from raymlops.config.serving import ServingConfig
from raymlops.errors import ConfigError
from raymlops.records.plans import ServingPlan
from raymlops.runtime.serve.gateway import grpc_ingress
from raymlops.runtime.serve.gateway.grpc_ingress import start_grpc
from raymlops.serving import Gateway, HttpRequest
from raymlops.serving.front import open_inference_pb2 as pb
from raymlops.serving.protocol.http import HttpReply, json_reply

pytestmark = pytest.mark.ray


class Plans:
    async def served_plans(self) -> Mapping[str, object]:
        return {"delay": ServingPlan(model="delay", number=1, champion=1, created_at=datetime.now(UTC))}


class Handle:
    """Of a deployment: answers, raises, or never comes back."""

    def __init__(self, outcome: HttpReply | Exception | None) -> None:
        self._outcome = outcome
        self.calls = 0

    @property
    def answer(self) -> Handle:
        return self

    def options(self, **_: Any) -> Handle:
        return self

    async def remote(self, request: HttpRequest) -> HttpReply:
        self.calls += 1
        assert request.path == "/v2/models/delay/ready"
        if self._outcome is None:
            await asyncio.Event().wait()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome


def config() -> ServingConfig:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return ServingConfig(grpc_port=port, deadline=timedelta(milliseconds=50))


async def ask(settings: ServingConfig, model: str, times: int = 1) -> grpc.StatusCode | bool:
    """What the last of some callers gets."""
    plans = Plans()
    server = await start_grpc(settings, Gateway("1", plans), plans)
    assert server is not None
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{settings.grpc_port}") as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelReady")
            for _ in range(times):
                try:
                    answer = await call(pb.ModelReadyRequest(name=model).SerializeToString(), timeout=20)
                except grpc.aio.AioRpcError as error:
                    answer = error.code()
        return answer if isinstance(answer, grpc.StatusCode) else pb.ModelReadyResponse.FromString(answer).ready
    finally:
        await server.stop(None)


@pytest.fixture
def serve_has(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Handle]:
    """Serve finds a handle with this outcome under the endpoint's name."""

    def make(outcome: Any) -> Handle:
        handle = Handle(outcome)

        def find(name: str) -> Handle:
            if name != "model-delay" or outcome is RayServeException:
                raise RayServeException(f"there is no {name}")
            return handle

        monkeypatch.setattr(grpc_ingress.serve, "get_app_handle", find)
        return handle

    return make


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (json_reply({"name": "delay", "ready": True}), True),
        (json_reply({"error": "no plan"}, 503), False),
        (json_reply({"error": "key"}, 401), grpc.StatusCode.UNAUTHENTICATED),
        (BackPressureError(num_queued_requests=1, max_queued_requests=1), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (RayActorError(), grpc.StatusCode.UNAVAILABLE),
        (DeploymentUnavailableError(DeploymentID("ModelReplica", "model-delay")), grpc.StatusCode.UNAVAILABLE),
        (ZeroDivisionError("secret"), grpc.StatusCode.INTERNAL),
        (None, grpc.StatusCode.DEADLINE_EXCEEDED),
        (RayServeException, False),
    ],
)
def test_what_a_handle_does_is_what_the_caller_is_told(
    serve_has: Callable[[Any], Handle], outcome: Any, answer: Any
) -> None:
    serve_has(outcome)
    assert asyncio.run(ask(config(), "delay")) == answer


def test_a_model_that_never_was_is_not_looked_up(serve_has: Callable[[Any], Handle]) -> None:
    handle = serve_has(json_reply({}))
    assert asyncio.run(ask(config(), "nobody")) is grpc.StatusCode.NOT_FOUND
    assert handle.calls == 0


def test_the_handle_is_looked_up_again_after_a_failure(serve_has: Callable[[Any], Handle]) -> None:
    handle = serve_has(RayActorError())
    assert asyncio.run(ask(config(), "delay", times=3)) is grpc.StatusCode.UNAVAILABLE
    assert handle.calls == 3


def test_a_port_that_is_taken_is_named() -> None:
    settings = config()

    async def run() -> None:
        plans = Plans()
        first = await start_grpc(settings, Gateway("1", plans), plans)
        assert first is not None
        with pytest.raises(ConfigError, match=f"gRPC port {settings.grpc_port} on 127.0.0.1 is taken"):
            await start_grpc(settings, Gateway("1", plans), plans)
        await first.stop(None)

    asyncio.run(run())


def test_there_is_no_port_unless_asked_for() -> None:
    plans = Plans()
    assert asyncio.run(start_grpc(ServingConfig(), Gateway("1", plans), plans)) is None


def test_a_connection_that_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_ingress, "_HANDSHAKE_MS", 200)

    async def run() -> None:
        plans, settings = Plans(), config()
        server = await start_grpc(settings, Gateway("1", plans), plans)
        assert server is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", settings.grpc_port)
        assert b"handshake timeout" in await asyncio.wait_for(reader.read(), 20)
        writer.close()
        await server.stop(None)

    asyncio.run(run())
