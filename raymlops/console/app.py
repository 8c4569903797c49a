"""The console's front: from a request to a page, whatever fails on the way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlencode

from raymlops.console import PREFIX
from raymlops.console.asking import Asking
from raymlops.console.rendering import render
from raymlops.console.request import Page, PageRequest
from raymlops.console.routes import NAVIGATION, find_page
from raymlops.console.sources import Sources
from raymlops.console.static_files import static_file
from raymlops.errors import NotFoundError, RaymlopsError, Unauthenticated
from raymlops.records.keys import Scope
from raymlops.serving.protocol.access import Access
from raymlops.serving.protocol.http import HttpReply, HttpRequest, status_of

__all__ = ["Console"]

_log = logging.getLogger(__name__)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
_READ: Scope = "operate"
"""What a key must allow whose holder looks at pages, where keys are asked for."""
_PAGES_AT_ONCE, _CALLS_AT_ONCE = 4, 16


@dataclass(frozen=True)
class _Live:
    """How a page refreshes itself, for who has JavaScript and asks for it.

    Attributes:
        on: Whether it does now.
        still: Its address where it does not.
        refreshed: Its address where it does.
    """

    NAME: ClassVar[str] = "live"
    on: bool
    still: str
    refreshed: str


class Console:
    """Answers requests for pages. Thread-safe.

    Args:
        sources: What the pages read.
        deadline_s: How long the parts of the platform have to answer one page.
    """

    def __init__(self, sources: Sources, deadline_s: float = 5.0) -> None:
        self._sources = sources
        self._deadline_s = deadline_s
        self._pages = ThreadPoolExecutor(_PAGES_AT_ONCE, "console-page")
        self._calls = ThreadPoolExecutor(_CALLS_AT_ONCE, "console-call")

    async def handle(self, request: HttpRequest, access: Access) -> HttpReply:
        """Answer one request, in a thread: pages are drawn aside from the loop that answers everybody else."""
        return await asyncio.get_running_loop().run_in_executor(self._pages, self.answer, request, access)

    def answer(self, request: HttpRequest, access: Access) -> HttpReply:
        """Answer one request; every fault becomes a page."""
        path = request.path[len(PREFIX) :].strip("/")
        if request.method not in ("GET", "HEAD"):
            return self._fault(405, f"pages take GET, got {request.method}", allow="GET, HEAD")
        if path.startswith("static/"):
            return _static(path.removeprefix("static/"))
        try:
            access.check(request.headers, _READ)
            return self._page(path, request.query)
        except RaymlopsError as error:
            asks_for_key = {"www_authenticate": "Bearer"} if isinstance(error, Unauthenticated) else {}
            return self._fault(status_of(error), str(error), **asks_for_key)
        except Exception:
            _log.exception("the page %r failed", path)
            return self._fault(500, "internal error: the log of the gateway tells more")

    def close(self) -> None:
        """End the threads; calls under way are not waited for."""
        self._pages.shutdown(wait=False, cancel_futures=True)
        self._calls.shutdown(wait=False, cancel_futures=True)

    def _page(self, path: str, query: str) -> HttpReply:
        found = find_page(path)
        if found is None:
            raise NotFoundError(f"there is no page {PREFIX}/{unquote(path)}")
        function, parts = found
        ask, given = Asking(self._calls, self._deadline_s), tuple(parse_qsl(query))
        page = function(self._sources, PageRequest(parts, given, ask))
        live = _live(path, given) if page.live else None
        return self._shown(page, ask.problems, section=path.partition("/")[0], live=live)

    def _shown(
        self, page: Page, problems: list[str], *, section: str | None, live: _Live | None = None, status: int = 200
    ) -> HttpReply:
        if page.to is not None:
            return HttpReply(303, {**_HEADERS, "location": page.to}, b"")
        frame: dict[str, Any] = {
            "title": page.title,
            "problems": list(dict.fromkeys(problems)),
            "navigation": NAVIGATION,
            "section": section,
            "live": live,
            "now": self._sources.clock.now(),
            "version": self._sources.version,
            "environment": self._sources.config.environment,
        }
        return HttpReply(status, _HEADERS, render(page.template, {**page.values, "frame": frame}))

    def _fault(self, status: int, message: str, **headers: str) -> HttpReply:
        page = Page("fault", f"{status}", {"status": status, "message": message})
        reply = self._shown(page, [], section=None, status=status)
        return reply._replace(headers={**_HEADERS, **{name.replace("_", "-"): text for name, text in headers.items()}})


def _live(path: str, given: Sequence[tuple[str, str]]) -> _Live:
    rest = [(name, value) for name, value in given if name != _Live.NAME]
    place = f"{PREFIX}/{path}".rstrip("/")
    still = f"{place}?{urlencode(rest)}" if rest else place
    return _Live(on=len(rest) < len(given), still=still, refreshed=f"{place}?{urlencode([*rest, (_Live.NAME, '1')])}")


def _static(name: str) -> HttpReply:
    found = static_file(name)
    if found is None:
        return HttpReply(404, {**_HEADERS, "content-type": "text/plain; charset=utf-8"}, b"there is no such file")
    kept = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}
    return HttpReply(200, {"content-type": found[1], **kept}, found[0])
