from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from raymlops.config.platform import PlatformConfig
from raymlops.errors import UnavailableError
from raymlops.runtime.serve.gateway import late_console
from raymlops.runtime.serve.gateway.late_console import LateConsole
from raymlops.runtime.serve.serve_front import Front
from raymlops.serving.front.gateway import Gateway
from raymlops.serving.front.operations import Operations
from raymlops.serving.protocol.access import OPEN, Access
from raymlops.serving.protocol.http import HttpReply, HttpRequest

pytestmark = pytest.mark.asyncio
OPERATIONS: Any = object()


class FakeConsole:
    def __init__(self) -> None:
        self.closed = False

    async def handle(self, request: HttpRequest, access: Access) -> HttpReply:
        assert access is OPEN
        return HttpReply(200, {"content-type": "text/html"}, f"{request.path}?{request.query}".encode())

    def close(self) -> None:
        self.closed = True


async def test_requests_wait_until_the_console_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console, may_build = FakeConsole(), threading.Event()

    def build(config: PlatformConfig, operations: Operations) -> FakeConsole:
        assert operations is OPERATIONS
        assert may_build.wait(20)
        return console

    monkeypatch.setattr(late_console, "_build", build)
    late = LateConsole(PlatformConfig(home=tmp_path), OPERATIONS)
    assert late.takes("/console")
    assert late.takes("/console/runs")
    assert not late.takes("/consoles")
    may_build.set()
    assert (await late.handle(HttpRequest("GET", "/console"), OPEN)).status == 200
    late.close()
    assert console.closed


async def test_a_console_that_nobody_waits_for_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = threading.Event()
    monkeypatch.setattr(late_console, "_build", lambda *_: may_end.wait(20))
    late = LateConsole(PlatformConfig(home=tmp_path), OPERATIONS)
    late.close()
    may_end.set()


async def test_nobody_waits_for_ever_for_a_console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = threading.Event()
    monkeypatch.setattr(late_console, "_build", lambda *_: may_end.wait(20))
    late = LateConsole(PlatformConfig(home=tmp_path), OPERATIONS, built_within_s=0.01)
    with pytest.raises(UnavailableError, match="not built yet"):
        await late.handle(HttpRequest("GET", "/console"), OPEN)
    late.close()
    may_end.set()


async def test_the_gateway_is_given_the_query_and_the_path_as_it_was_sent(tmp_path: Path) -> None:
    class NoPlans:
        async def served_plans(self) -> dict[str, object]:
            return {}

    class Pages(FakeConsole):
        def takes(self, path: str) -> bool:
            return path.startswith("/console")

    config = PlatformConfig(home=tmp_path).serving
    front = Front(Gateway("1", NoPlans(), pages=Pages()), config)  # type: ignore[arg-type]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/console/runs/a/b",
        "raw_path": b"/console/runs/a%2Fb",
        "query_string": b"step=tr%C3%A4in&x=1",
        "headers": [],
    }
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    response = await front.answer(scope, receive)
    await response(scope, receive, send)  # type: ignore[arg-type]
    assert sent[1]["body"] == b"/console/runs/a%2Fb?step=tr%C3%A4in&x=1"
