"""What is served beside the models: server metadata, health, the API's description, orders, and who is unknown."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

from raymlops.errors import DeploymentNotFound, NotFoundError, RaymlopsError, UnavailableError
from raymlops.serving.endpoint_view import EndpointView
from raymlops.serving.http import HttpReply, HttpRequest, error_reply, json_reply, raw_reply, reply_to
from raymlops.serving.openapi import docs_page, openapi_document
from raymlops.serving.operations import Operations
from raymlops.serving.protocols import ServedPlans

__all__ = ["Gateway"]

_log = logging.getLogger(__name__)

_MODELS = "/v2/models/"


class Gateway:
    """Answers what no endpoint does. All methods belong to one event loop.

    Args:
        version: Of the product, for the server metadata.
        plans: Knows which models are to have an endpoint.
        view: Knows which of them answers; without it, readiness is that plans can be read.
        operations: Takes orders about them; without it, nobody may operate.
        deadline_s: Longest time, on the wall clock, a request may take; orders have one of their own.
    """

    def __init__(
        self,
        version: str,
        plans: ServedPlans,
        view: EndpointView | None = None,
        operations: Operations | None = None,
        deadline_s: float = 10.0,
    ) -> None:
        self._version = version
        self._plans = plans
        self._view = view
        self._operations = operations
        self._deadline_s = deadline_s
        self._replies: Counter[int] = Counter()
        document = openapi_document(version)
        self._static = {
            "/v2": json_reply({"name": "raymlops", "version": version, "extensions": ["binary_tensor_data"]}),
            "/v2/health/live": json_reply({"live": True}),
            "/openapi.json": json_reply(document),
            "/docs": raw_reply(docs_page(document), "text/html; charset=utf-8"),
        }
        self._dynamic: dict[str, Callable[[], Awaitable[HttpReply]]] = {"/v2/health/ready": self._ready}

    @property
    def replies(self) -> dict[int, int]:
        """Status -> replies since the start."""
        return dict(self._replies)

    async def handle(self, request: HttpRequest) -> HttpReply:
        """Answer one request; whatever happens, the reply is one of the interface's."""
        try:
            if self._operations is not None and self._operations.takes(request.path):
                reply = await self._operations.handle(request)
            else:
                async with asyncio.timeout(self._deadline_s):
                    reply = await self._dispatch(request)
        except RaymlopsError as error:
            reply = reply_to(error)
        except TimeoutError:
            reply = error_reply(504, "no answer within the deadline")
        except Exception:
            _log.exception("%s %s failed", request.method, request.path)
            reply = error_reply(500, "internal error")
        self._replies[reply.status] += 1
        return reply

    async def _dispatch(self, request: HttpRequest) -> HttpReply:
        path = request.path.rstrip("/")
        if path.startswith(_MODELS):
            await self._refuse_model(path[len(_MODELS) :].partition("/")[0])
        if path not in self._static and path not in self._dynamic:
            raise NotFoundError(f"there is no {path or '/'!r}")
        if request.method != "GET":
            return error_reply(405, f"{path!r} takes GET, got {request.method}", allow="GET")
        return self._static[path] if path in self._static else await self._dynamic[path]()

    async def _ready(self) -> HttpReply:
        # raises, and so is 503, where the metadata store does not answer
        plans = await self._plans.served_plans()
        seen = {} if self._view is None else await self._view.statuses()
        silent = [] if self._view is None else [one for one in plans if one not in seen or not seen[one].answers]
        if not silent:
            return json_reply({"ready": True})
        told = [f"{model}: {seen[model].reason if model in seen else 'nobody has looked yet'}" for model in silent]
        raise UnavailableError(f"{len(silent)} of {len(plans)} models do not answer: {'; '.join(told)}")

    async def _refuse_model(self, model: str) -> None:
        """A request for a model that comes here has found no endpoint."""
        if model not in await self._plans.served_plans():
            raise DeploymentNotFound.of(model)
        try:
            status = None if self._view is None else (await self._view.statuses()).get(model)
        except UnavailableError:
            status = None  # that it is not up is known without
        reason = f": {status.reason}" if status is not None and status.reason else ""
        raise UnavailableError(f"the endpoint of model {model!r} is not up yet{reason}")
