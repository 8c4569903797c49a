from __future__ import annotations

import asyncio
from typing import Any

from raymlops.runtime.http_middleware import middlewares


def test_serve_is_told_not_to_watch_the_caller_of_a_request() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    async def nothing(*message: Any) -> Any:
        raise AssertionError("nobody receives or sends here")

    (middleware,) = middlewares()
    wrapped = middleware.cls(app)
    for kind in ("http", "websocket"):
        asyncio.run(wrapped({"type": kind, "headers": [(b"a", b"b")]}, nothing, nothing))
    assert seen[0]["headers"] == [(b"a", b"b"), (b"x-request-disconnect-disabled", b"?1")]
    assert seen[1]["headers"] == [(b"a", b"b")]
