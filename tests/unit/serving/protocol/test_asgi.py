from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from raymlops.errors import Overloaded
from raymlops.serving.protocol.asgi import Bodies, CallerGone

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
    request = await Bodies(10, 100, 5).read(SCOPE, Caller(b"ab", b"", b"c", last="end").receive)
    assert request[:4] == ("POST", "/v2", {"x-name": "é"}, b"abc")
    assert 0 < request.received_s < 5


async def test_a_body_over_the_limit_is_not_read_on() -> None:
    caller = Caller(*[b"x" * 10] * 100, last="end")
    request = await Bodies(25, 100, 5).read(SCOPE, caller.receive)
    assert (len(request.body), caller.asked) == (30, 3)


async def test_who_leaves_is_gone() -> None:
    with pytest.raises(CallerGone):
        await Bodies(10, 100, 5).read(SCOPE, Caller(b"a", last="leave").receive)


@pytest.mark.parametrize("parts", [[], [b"a"], [b"a", b"b"]])
async def test_who_drips_is_not_waited_for(parts: list[bytes]) -> None:
    with pytest.raises(TimeoutError):
        await Bodies(10, 100, 0.01).read(SCOPE, Caller(*parts).receive)


async def test_large_bodies_share_a_room_and_give_it_back() -> None:
    size = 100_000
    bodies = Bodies(size, 2 * size, 5)
    held = [await bodies.read(SCOPE, Caller(b"x" * size, last="end").receive) for _ in range(2)]
    with pytest.raises(Overloaded, match="no room for another"):
        await bodies.read(SCOPE, Caller(b"x" * size, last="end").receive)
    with pytest.raises(Overloaded):
        await bodies.read(SCOPE, Caller(*[b"x" * 1000] * 100, last="end").receive)
    small = await bodies.read(SCOPE, Caller(b"x", last="end").receive)
    bodies.release(small)
    bodies.release(held.pop())
    held.append(await bodies.read(SCOPE, Caller(*[b"x" * 1000] * 100, last="end").receive))
    for request in held:
        bodies.release(request)
    assert bodies.held_bytes == 0


@pytest.mark.parametrize("caller", [Caller(b"x" * 70_000, last="leave"), Caller(b"x", b"y", last="end")])
async def test_what_is_not_kept_takes_no_room(caller: Caller) -> None:
    bodies = Bodies(1 << 20, 1 << 20, 5)
    with contextlib.suppress(CallerGone):
        bodies.release(await bodies.read(SCOPE, caller.receive))
    assert bodies.held_bytes == 0
