"""The console's front: from a request to a page, whatever fails on the way."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlencode

from raymlops.console import PREFIX
from raymlops.console.acting.actions import ACTIONS
from raymlops.console.acting.desk import Desk
from raymlops.console.acting.sessions import Sessions, Viewer
from raymlops.console.asking import Asking
from raymlops.console.rendering import render
from raymlops.console.request import Page, PageRequest
from raymlops.console.routes import NAVIGATION, Route, find_page
from raymlops.console.sources import Sources
from raymlops.console.static_files import static_file
from raymlops.errors import Forbidden, NotFoundError, Overloaded, RaymlopsError, Unauthenticated
from raymlops.records.serving.keys import ALL_MODELS
from raymlops.serving.front.operations import Operations
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
_STATIC = "static/"
_MOST_UNDER_WAY = 100
"""Requests that are answered, or wait for a thread; further ones are refused: an endless queue helps no caller."""
_PAGES_AT_ONCE, _CALLS_AT_ONCE = 4, 16


@dataclass(frozen=True)
class _Live:
    """Refreshing of a page, for browsers with JavaScript in which a person asks for it.

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
    """The console: answers requests for pages in threads, and takes the forms of actions, on one event loop.

    Args:
        sources: The sources of the pages.
        deadline_s: How long the parts of the platform have to answer one page.
        operations: Carries actions out; without it, the console is only read.
    """

    def __init__(self, sources: Sources, deadline_s: float = 5.0, *, operations: Operations | None = None) -> None:
        self._sources = sources
        self._deadline_s = deadline_s
        self._pages = ThreadPoolExecutor(_PAGES_AT_ONCE, "console-page")
        self._calls = ThreadPoolExecutor(_CALLS_AT_ONCE, "console-call")
        self._under_way = 0
        self._sessions = Sessions(sources.config.serving.port)
        self._desk = None
        if operations is not None:
            self._desk = Desk(sources, operations, self._sessions, self._calls, deadline_s)

    async def handle(self, request: HttpRequest, access: Access) -> HttpReply:
        """Answer one request; pages are rendered in a thread, beside the event loop of the other requests."""
        if self._under_way >= _MOST_UNDER_WAY:
            return _text(503, f"the console draws {_MOST_UNDER_WAY} pages: try again", **{"retry-after": "5"})
        self._under_way += 1
        try:
            return await self._handled(request, access)
        finally:
            self._under_way -= 1

    async def _handled(self, request: HttpRequest, access: Access) -> HttpReply:
        draw = partial(asyncio.get_running_loop().run_in_executor, self._pages)
        path, viewer = _path(request), None
        try:
            if not access.required:
                self._require_local_name(request.headers.get("host", ""))
            viewer = self._sessions.viewer(request.headers, access)
            if self._desk is None or not self._desk.takes(path):
                if not path.startswith(_STATIC):  # here, and not in a thread: refusals are counted on this event loop
                    self._require_reader(path, request, viewer)
                return await draw(self.answer, request, access, viewer)
            shown = await self._desk.handle(request, path, viewer)
        except Exception as error:  # the border: every fault becomes a page
            return await draw(self._failed, error, path, viewer)
        if shown.page is None:
            return HttpReply(shown.status, {**_HEADERS, **shown.headers}, b"")
        reply = await draw(partial(self._shown, shown.page, [], section=None, status=shown.status, viewer=viewer))
        return reply._replace(headers={**_HEADERS, **shown.headers})

    def answer(self, request: HttpRequest, access: Access, viewer: Viewer | None = None) -> HttpReply:
        """Answer one request for a page; every fault becomes a page.

        Args:
            request: For a page.
            access: The keys, and whether reading needs one.
            viewer: The viewer; by default, the holder of the key in the request's header.
        """
        path = _path(request)
        if request.method not in ("GET", "HEAD"):
            return self._fault(405, f"pages take GET, got {request.method}", allow="GET, HEAD")
        if path.startswith(_STATIC):
            return _static(path.removeprefix(_STATIC))
        try:
            viewer = viewer or Sessions(0).viewer(request.headers, access)
            self._require_reader(path, request, viewer)
            return self._page(path, request.query, viewer)
        except Exception as error:  # the border: every fault becomes a page
            return self._failed(error, path, viewer)

    def close(self) -> None:
        """End the threads; calls under way are not waited for."""
        self._pages.shutdown(wait=False, cancel_futures=True)
        self._calls.shutdown(wait=False, cancel_futures=True)

    def _require_local_name(self, host: str) -> None:
        """Refuse a name that a foreign site may have pointed at this machine.

        Where no key is needed, that site could read the pages in a person's browser.
        """
        name = re.sub(r":[0-9]*$", "", host).strip("[]").lower()
        if not host or name in {"localhost", self._sources.config.serving.host} or name.endswith(".localhost"):
            return
        try:
            ip_address(name)
        except ValueError as error:
            asks = "without keys, the console is reached by an address or as localhost"
            raise Forbidden(f"{asks}, got {name!r:.200}: set serving.require_keys to reach it by a name") from error

    def _require_reader(self, path: str, request: HttpRequest, viewer: Viewer) -> None:
        """A page needs a grant to read: of its model, over all models, or, where it shows what may be seen, any.

        Raises:
            Forbidden: The key may read nothing, or not the whole platform, which the page is about.
            NotFoundError: It is about a model that the key may not read: whether there is one is not told.
        """
        route, parts = find_page(path) or (None, ())
        target = parts[0] if route is not None and route.about == "model" else ALL_MODELS
        if viewer.key is None:
            viewer.access.check(request.headers, "read", target)
        elif not viewer.may("read", target):
            if viewer.reads and (route is None or route.about == "seen"):
                return
            try:
                viewer.access.allow(viewer.key, "read", target)  # it refuses, and notes that it did
            except Forbidden as error:
                if target == ALL_MODELS or not viewer.reads:
                    raise
                raise NotFoundError(f"there is no model {target!r:.200}") from error

    def _page(self, path: str, query: str, viewer: Viewer) -> HttpReply:
        found = find_page(path)
        if found is None:
            raise NotFoundError(f"there is no page {PREFIX}/{unquote(path)}")
        route, parts = found
        ask, given = Asking(self._calls, self._deadline_s), tuple(parse_qsl(query))
        page = route.page(self._sources, PageRequest(parts, given, ask, viewer.sight))
        live = _live(path, given) if page.live else None
        return self._shown(page, ask.problems, section=path.partition("/")[0], live=live, viewer=viewer)

    def _shown(
        self,
        page: Page,
        problems: list[str],
        *,
        section: str | None,
        live: _Live | None = None,
        status: int = 200,
        viewer: Viewer | None = None,
    ) -> HttpReply:
        if page.to is not None:
            return HttpReply(303, {**_HEADERS, "location": page.to}, b"")
        sees_all = viewer is None or not viewer.reads or viewer.sight.everything
        frame: dict[str, Any] = {
            "title": page.title,
            "problems": list(dict.fromkeys(problems)),
            "navigation": [
                each for each in NAVIGATION if sees_all or not _is_whole((find_page(each[0]) or (None,))[0])
            ],
            "sees_all": sees_all,
            "section": section,
            "live": live,
            "now": self._sources.clock.now(),
            "version": self._sources.version,
            "environment": self._sources.config.environment,
            "viewer": viewer,
            "can_act": self._desk is not None,
            "actions": ACTIONS,
        }
        return HttpReply(status, _HEADERS, render(page.template, {**page.values, "frame": frame}))

    def _failed(self, error: Exception, path: str, viewer: Viewer | None) -> HttpReply:
        if isinstance(error, TimeoutError):
            return self._fault(504, "it was not done in time", viewer)
        if not isinstance(error, RaymlopsError):
            _log.error("the page %r failed", path, exc_info=error)
            return self._fault(500, "internal error: the log of the gateway tells more", viewer)
        asks_for_key = {"www_authenticate": "Bearer"} if isinstance(error, Unauthenticated) else {}
        retry = {"retry_after": "60"} if isinstance(error, Overloaded) else {}
        return self._fault(status_of(error), str(error), viewer, **asks_for_key, **retry)

    def _fault(self, status: int, message: str, viewer: Viewer | None = None, **headers: str) -> HttpReply:
        page = Page("fault", f"{status}", {"status": status, "message": message})
        reply = self._shown(page, [], section=None, status=status, viewer=viewer)
        return reply._replace(headers={**_HEADERS, **{name.replace("_", "-"): text for name, text in headers.items()}})


def _is_whole(route: Route | None) -> bool:
    return route is not None and route.about == "platform"


def _path(request: HttpRequest) -> str:
    """A path below the console's own, as it was sent: what is quoted in it is part of a name."""
    return request.path[len(PREFIX) :].strip("/")


def _live(path: str, given: Sequence[tuple[str, str]]) -> _Live:
    rest = [(name, value) for name, value in given if name != _Live.NAME]
    place = f"{PREFIX}/{path}".rstrip("/")
    still = f"{place}?{urlencode(rest)}" if rest else place
    return _Live(on=len(rest) < len(given), still=still, refreshed=f"{place}?{urlencode([*rest, (_Live.NAME, '1')])}")


def _static(name: str) -> HttpReply:
    found = static_file(name)
    if found is None:
        return _text(404, "there is no such file")
    kept = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}
    return HttpReply(200, {"content-type": found[1], **kept}, found[0])


def _text(status: int, told: str, **headers: str) -> HttpReply:
    return HttpReply(status, {**_HEADERS, "content-type": "text/plain; charset=utf-8", **headers}, told.encode())
