from __future__ import annotations

import asyncio
from typing import Any

import pytest

from raymlops.serving.asgi import CallerGone, read_request

pytestmark = pytest.mark.asyncio

SCOPE = {"method": "POST", "path": "/v2", "headers": [(b"x-name", "é".encode("latin-1"))]}


class Caller:
    """Sends parts, then leaves, or falls silent."""

    def __init__(self, *parts: bytes, last: str = "silence") -> None:
        self._parts = list(parts)
        self._last = last
        self.asked = 0

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        if self._parts:
            part = self._parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self._parts) or self._last != "end"}
        if self._last == "leave":
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_request_is_put_together() -> None:
    request = await read_request(SCOPE, Caller(b"ab", b"", b"c", last="end").receive, 10, 5)
    assert request == ("POST", "/v2", {"x-name": "é"}, b"abc")


async def test_a_body_over_the_limit_is_not_read_on() -> None:
    caller = Caller(*[b"x" * 10] * 100, last="end")
    request = await read_request(SCOPE, caller.receive, 25, 5)
    assert (len(request.body), caller.asked) == (30, 3)


async def test_who_leaves_is_gone() -> None:
    with pytest.raises(CallerGone):
        await read_request(SCOPE, Caller(b"a", last="leave").receive, 10, 5)


@pytest.mark.parametrize("parts", [[], [b"a"], [b"a", b"b"]])
async def test_who_drips_is_not_waited_for(parts: list[bytes]) -> None:
    with pytest.raises(TimeoutError):
        await read_request(SCOPE, Caller(*parts).receive, 10, 0.01)
