from __future__ import annotations

from collections.abc import Iterator

import pytest

from raymlops.console import Console
from raymlops.serving.protocol.access import OPEN
from raymlops.serving.protocol.http import HttpReply, HttpRequest
from tests.support.console_world import make_sources


class Browser:
    """Asks a console for pages."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def reply(self, path: str = "", **headers: str) -> HttpReply:
        place, _, query = path.partition("?")
        address = f"/console/{place}" if place else "/console"
        return self.console.answer(HttpRequest("GET", address, headers, query=query), OPEN)

    def page(self, path: str = "", status: int = 200) -> str:
        reply = self.reply(path)
        text = reply.body.decode()
        assert reply.status == status, text
        return text


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Of one platform for all tests: pages change nothing."""
    sources, close = make_sources(tmp_path_factory.mktemp("console"))
    console = Console(sources)
    yield Browser(console)
    console.close()
    close()
