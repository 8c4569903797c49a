"""What every HTTP server of Serve on the cluster puts before its own work; Serve finds it by its import path."""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["UNWATCHED", "UnwatchedCallers", "middlewares"]

UNWATCHED = (b"x-request-disconnect-disabled", b"?1")
"""Serve's own header; a caller may send it, too."""


class UnwatchedCallers:
    """Tells Serve not to watch whether the caller is still there.

    Serve would run two tasks per request, one of which only waits for the caller to leave. A prediction is over sooner
    than that could save anything, and every request has a deadline.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["headers"].append(UNWATCHED)
        await self._app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """What Serve's servers are given."""
    return [Middleware(UnwatchedCallers)]
