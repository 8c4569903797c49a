"""From the requests that Serve hands over to the answers of a core that knows no web framework."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from raymlops.config.serving import ServingConfig
from raymlops.errors import Overloaded
from raymlops.serving.endpoint import Endpoint
from raymlops.serving.protocol.asgi import Bodies, CallerGone
from raymlops.serving.protocol.http import HttpReply, error_reply

if TYPE_CHECKING:
    from raymlops.serving.pool.pool import Core

__all__ = ["Front"]


class Front:
    """From Serve's requests to a core's answers."""

    def __init__(self, core: Core, config: ServingConfig) -> None:
        self._core = core
        self._deadline_s = config.deadline.total_seconds()
        self._bodies = Bodies(config.body_limit_bytes, config.bodies_limit_bytes, self._deadline_s)

    async def answer(self, scope: Scope, receive: Receive) -> Response:
        try:
            request = await self._bodies.read(scope, receive)
        except CallerGone:
            return Response(status_code=499)
        except TimeoutError:
            late = f"the request was not there within {self._deadline_s:g} s"
            return _Response(error_reply(408, late, connection="close"))
        except Overloaded as error:
            return _Response(error_reply(429, str(error), retry_after="1", connection="close"))
        if not isinstance(self._core, Endpoint):
            request = request._replace(query=scope.get("query_string", b"").decode("latin-1"))
            if b"%" in (sent := scope.get("raw_path") or b""):
                # HAProxy finds endpoints by the path as it was sent; decoded it may name one that is up, which this is
                # not
                request = request._replace(path=sent.decode("latin-1"))
        try:
            return _Response(await self._core.handle(request))
        finally:
            self._bodies.release(request)

    async def answer_directly(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that Serve does not see."""
        response = await self.answer(scope, receive)
        await response(scope, receive, send)


class _Response(Response):
    """A reply as it is sent; Starlette's own constructor prepares for what no reply here has, as cookies."""

    def __init__(self, reply: HttpReply) -> None:
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        status, headers, body, _ = self._reply
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        raw.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})
