from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from raymlops.clock import ManualClock
from raymlops.console import Console
from raymlops.metadata import MetadataService
from raymlops.serving.protocol.access import OPEN
from raymlops.serving.protocol.http import HttpReply, HttpRequest
from tests.support.console_world import NOW, fill, make_sources


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
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database to begin with: filling one takes seconds, copying it does not."""
    path = tmp_path_factory.mktemp("console-filled") / "metadata.db"
    with closing(MetadataService(path, clock=ManualClock(NOW))) as metadata:
        fill(metadata)
    return path


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory, filled: Path) -> Iterator[Browser]:
    """Of one platform for all tests: pages change nothing."""
    sources, close = make_sources(tmp_path_factory.mktemp("console"), filled=filled)
    console = Console(sources)
    yield Browser(console)
    console.close()
    close()
