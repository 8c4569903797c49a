"""Reads of request bodies from an ASGI server, within the request's deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from raymlops.errors import Overloaded
from raymlops.serving.protocol.http import HttpRequest

__all__ = ["Bodies", "CallerGone"]

_SMALL_BYTES = 64 << 10
"""A body that comes in one part, and has no more, is not counted: requests under way are."""


class CallerGone(Exception):
    """The caller left before the end of the request."""


class Bodies:
    """Reads requests, and bounds the memory of all that are under way. All methods belong to one event loop.

    Args:
        limit_bytes: A body is read no further than the part that passes it.
        total_bytes: Of all large bodies together.
        deadline_s: Longest real time until a body is there: who drips holds a place that others need.
    """

    def __init__(self, limit_bytes: int, total_bytes: int, deadline_s: float) -> None:
        self._limit_bytes = limit_bytes
        self._total_bytes = total_bytes
        self._deadline_s = deadline_s
        self.held_bytes = 0
        """What is counted now."""

    async def read(self, scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]]) -> HttpRequest:
        """Read a request, which must be released when it is answered.

        Args:
            scope: Of an HTTP request, as ASGI has it.
            receive: Gives the parts of the body.

        Raises:
            CallerGone: The caller left.
            TimeoutError: The deadline passed.
            Overloaded: There is no room for it.
        """
        started = time.perf_counter()
        async with asyncio.timeout(self._deadline_s):
            message = await receive()
            body = message.get("body", b"")
            if message["type"] == "http.disconnect":
                raise CallerGone
            if message.get("more_body", False) or len(body) > _SMALL_BYTES:
                body = await self._read_on(message, receive)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        return HttpRequest(scope["method"], scope["path"], headers, body, time.perf_counter() - started)

    def release(self, request: HttpRequest) -> None:
        """Forget what was read."""
        if len(request.body) > _SMALL_BYTES:
            self.held_bytes -= len(request.body)

    async def _read_on(self, message: Any, receive: Callable[[], Awaitable[Any]]) -> bytes:
        chunks: list[bytes] = []
        length = 0
        try:
            while True:
                chunks.append(message.get("body", b""))
                length += len(chunks[-1])
                self.held_bytes += len(chunks[-1])
                if self.held_bytes > self._total_bytes:
                    rule = f"large bodies under way may take {self._total_bytes} bytes together"
                    raise Overloaded(f"{rule}, and there is no room for another")
                if length > self._limit_bytes or not message.get("more_body", False):
                    break
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise CallerGone
        except BaseException:
            self.held_bytes -= length
            raise
        if length <= _SMALL_BYTES:
            self.held_bytes -= length
        return b"".join(chunks)
