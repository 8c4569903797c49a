"""Middleware of every HTTP server of Serve on the cluster; Serve finds it by its import path."""

from __future__ import annotations

import asyncio

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["UNWATCHED", "FastPath", "answer_directly", "middlewares"]

UNWATCHED = (b"x-request-disconnect-disabled", b"?1")
"""Serve's own header; a caller may send it, too."""
_SERVES_OWN = "/-/"
"""Begins the paths of Serve's health check and routes."""
_ROUTES = "/-/routes"
"""Serve's list of applications, for anybody; ``GET /v2/models`` asks for a key where keys are needed."""

_direct: tuple[asyncio.AbstractEventLoop, ASGIApp] | None = None


def answer_directly(app: ASGIApp) -> None:
    """Have this replica's HTTP server hand requests to ``app``, past what Serve does for each of them.

    Serve's own work costs more than a prediction: a context, a metadata record, counters, a log record. A replica that
    counts, sheds and ends by itself needs none of it. What Serve does for the process stays: health checks, and at a
    graceful stop a server that takes no new request and finishes those under way.

    Args:
        app: Called on the event loop that runs now, and on no other: where Serve runs its server on another loop, its
            requests go the usual way.
    """
    global _direct  # noqa: PLW0603 - Serve builds its server from an import path, and offers nothing to hand over
    _direct = (asyncio.get_running_loop(), app)


class FastPath:
    """Before everything that Serve does with a request.

    Where replicas do not answer directly, Serve is told not to watch the caller's connection: two tasks per request,
    one of which only waits for the caller to leave. A prediction is over sooner than that could save anything.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await _refuse_websocket(scope, receive, send)
            return
        if scope["type"] == "http":
            if scope["path"].rstrip("/").lower() == _ROUTES:
                await _say(send, "http.response", 404, b"there is no such path: GET /v2/models lists models")
                return
            if _direct is not None and not scope["path"].startswith(_SERVES_OWN):
                loop, app = _direct
                if asyncio.get_running_loop() is loop:
                    await app(scope, receive, send)
                    return
            scope["headers"].append(UNWATCHED)
        await self._app(scope, receive, send)


async def _refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1000})  # a server makes a 403 of it
        return
    await _say(send, "websocket.http.response", 400, b"WebSocket is not spoken here: send HTTP requests")


async def _say(send: Send, kind: str, status: int, message: bytes) -> None:
    body = b'{"error":"%s"}' % message
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})


def middlewares() -> list[Middleware]:
    """The middlewares of Serve's servers."""
    return [Middleware(FastPath)]
