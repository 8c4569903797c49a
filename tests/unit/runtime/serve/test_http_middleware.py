from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
import uvicorn

from raymlops.runtime.serve import http_middleware
from raymlops.runtime.serve.http_middleware import answer_directly, middlewares


class App:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope)


@pytest.fixture(autouse=True)
def nobody_before_and_after() -> Iterator[None]:
    yield
    http_middleware._direct = None


async def _nothing(*message: Any) -> Any:
    raise AssertionError("nobody receives or sends here")


async def ask(serve: App, path: str = "/v2/models/m/infer", kind: str = "http") -> None:
    (middleware,) = middlewares()
    await middleware.cls(serve)({"type": kind, "path": path, "headers": [(b"a", b"b")]}, _nothing, _nothing)


def test_serve_is_told_not_to_watch_the_caller_of_a_request() -> None:
    serve = App()
    asyncio.run(ask(serve))
    assert serve.seen[0]["headers"] == [(b"a", b"b"), (b"x-request-disconnect-disabled", b"?1")]


def test_a_replica_answers_itself_and_serve_its_own_paths() -> None:
    serve, replica = App(), App()

    async def run() -> None:
        answer_directly(replica)
        for path in ("/v2/models/m/infer", "/-/healthz", "/v2/models/m"):
            await ask(serve, path)

    asyncio.run(run())
    assert [scope["path"] for scope in replica.seen] == ["/v2/models/m/infer", "/v2/models/m"]
    assert [scope["path"] for scope in serve.seen] == ["/-/healthz"]
    assert replica.seen[0]["headers"] == [(b"a", b"b")]


def test_on_another_loop_requests_go_through_serve() -> None:
    serve, replica = App(), App()

    async def register() -> None:
        answer_directly(replica)

    asyncio.run(register())
    asyncio.run(ask(serve))
    assert (len(serve.seen), len(replica.seen)) == (1, 0)


async def told(serve: App, scope: dict[str, Any]) -> list[dict[str, Any]]:
    """What is sent to a caller whom Serve is not asked about."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    (middleware,) = middlewares()
    await middleware.cls(serve)({"headers": [], **scope}, receive, send)
    assert serve.seen == []
    return sent


@pytest.mark.parametrize("path", ["/-/routes", "/-/routes/", "/-/ROUTES"])
def test_serves_list_of_applications_is_shown_to_nobody(path: str) -> None:
    start, body = asyncio.run(told(App(), {"type": "http", "path": path, "method": "GET"}))
    assert (start["status"], (b"content-type", b"application/json") in start["headers"]) == (404, True)
    assert b"GET /v2/models" in body["body"]


def test_a_websocket_is_refused_in_the_interfaces_words() -> None:
    scope: dict[str, Any] = {"type": "websocket", "path": "/v2", "extensions": {"websocket.http.response": {}}}
    start, body = asyncio.run(told(App(), scope))
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 400)
    assert b'{"error":' in body["body"]
    assert asyncio.run(told(App(), scope | {"extensions": {}})) == [{"type": "websocket.close", "code": 1000}]


def test_a_real_server_tells_a_websocket_so() -> None:
    (middleware,) = middlewares()
    config = uvicorn.Config(middleware.cls(App()), log_level="error", lifespan="off", access_log=False)
    server, listener = uvicorn.Server(config), socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()  # who comes before the server is up waits
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True)
    thread.start()
    try:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        headers = {**upgrade, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v2/models/m"
        answer = urllib3.request("GET", url, headers=headers, timeout=20)
        assert (answer.status, list(answer.json())) == (400, ["error"])
        assert answer.headers["content-type"] == "application/json"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
