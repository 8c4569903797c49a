from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from raymlops.runtime import http_middleware
from raymlops.runtime.http_middleware import answer_directly, middlewares


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
    asyncio.run(ask(serve, kind="websocket"))
    assert serve.seen[0]["headers"] == [(b"a", b"b"), (b"x-request-disconnect-disabled", b"?1")]
    assert serve.seen[1]["headers"] == [(b"a", b"b")]


def test_a_replica_answers_itself_and_serve_its_own_paths() -> None:
    serve, replica = App(), App()

    async def run() -> None:
        answer_directly(replica)
        for path in ("/v2/models/m/infer", "/-/healthz", "/-/routes", "/v2/models/m"):
            await ask(serve, path)

    asyncio.run(run())
    assert [scope["path"] for scope in replica.seen] == ["/v2/models/m/infer", "/v2/models/m"]
    assert [scope["path"] for scope in serve.seen] == ["/-/healthz", "/-/routes"]
    assert replica.seen[0]["headers"] == [(b"a", b"b")]


def test_on_another_loop_requests_go_through_serve() -> None:
    serve, replica = App(), App()

    async def register() -> None:
        answer_directly(replica)

    asyncio.run(register())
    asyncio.run(ask(serve))
    assert (len(serve.seen), len(replica.seen)) == (1, 0)
