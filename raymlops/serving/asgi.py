"""From an ASGI server to a request, and no longer than the request's deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from raymlops.serving.http import HttpRequest

__all__ = ["CallerGone", "read_request"]


class CallerGone(Exception):
    """The caller left before the end of the request."""


async def read_request(
    scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]], limit_bytes: int, deadline_s: float
) -> HttpRequest:
    """Read a request.

    Args:
        scope: Of an HTTP request, as ASGI has it.
        receive: Gives the parts of the body.
        limit_bytes: The body is read no further than the part that passes it.
        deadline_s: Longest real time until the body is there: who drips holds a place that others need.

    Raises:
        CallerGone: The caller left.
        TimeoutError: The deadline passed.
    """
    chunks: list[bytes] = []
    length, more = 0, True
    async with asyncio.timeout(deadline_s):
        while more and length <= limit_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise CallerGone
            chunks.append(message.get("body", b""))
            length += len(chunks[-1])
            more = message.get("more_body", False)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return HttpRequest(scope["method"], scope["path"], headers, b"".join(chunks))
