"""The gateway: server metadata, health, the API description, operations and the list of models."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol

import orjson

from raymlops.config.serving import ServingConfig
from raymlops.errors import DataError, DeploymentNotFound, NotFoundError, RaymlopsError, UnavailableError
from raymlops.records.plans import BLOCKED, ServingPlan
from raymlops.records.serving.keys import Scope
from raymlops.serving.front.endpoint_view import EndpointView
from raymlops.serving.front.openapi import docs_page, openapi_document
from raymlops.serving.front.operations import Operations
from raymlops.serving.protocol.access import DESCRIBE, OPEN, Access
from raymlops.serving.protocol.http import HttpReply, HttpRequest, error_reply, json_reply, raw_reply, reply_to
from raymlops.serving.protocol.tensors import parse_json

__all__ = ["Gateway", "ModelEndpoints", "Pages", "ServedPlans"]

_log = logging.getLogger(__name__)

_MODELS = "/v2/models"
_INDEX = "/v2/repository/index"
_MAX_BODY_BYTES = 64 << 10
_READY_WITHIN_S = 2.0
"""Deadline of an endpoint that is asked whether it is ready; the index says of a later one that it does not answer."""

_REASON_WITHIN_S = 1.0
"""Deadline of the question why a model is not up: while the platform starts, its actors are busy, and the caller of the
model must not wait for them."""

_ANYTHING: tuple[Scope, ...] = ("infer", "label", "read", "trigger", "operate")
"""A key with one of these scopes over a model is told that the model has no endpoint."""

_Route = Callable[[HttpRequest], Awaitable[HttpReply]]


class ServedPlans(Protocol):
    """Gives the serving plans of the models that are to have an endpoint."""

    async def served_plans(self) -> Mapping[str, ServingPlan]:
        """Model -> its newest plan, of the models that are served."""
        ...


class ModelEndpoints(Protocol):
    """Calls the endpoint of a model."""

    async def ask(self, model: str, request: HttpRequest) -> HttpReply | None:
        """Have the endpoint of ``model`` answer; ``None`` where it has none.

        Raises:
            UnavailableError: It did not answer.
            TimeoutError: It did not answer in time.
        """
        ...


class Pages(Protocol):
    """Answers with pages for people; the console does."""

    def takes(self, path: str) -> bool:
        """Whether a path is one of theirs."""
        ...

    async def handle(self, request: HttpRequest, access: Access) -> HttpReply:
        """Answer one request; every fault becomes a page."""
        ...


class Gateway:
    """Answers the requests that are for no endpoint. All methods belong to one event loop.

    Args:
        version: Of the product, for the server metadata.
        plans: Knows which models are to have an endpoint.
        view: Knows which of them answers; without it, readiness is that plans can be read.
        operations: Takes orders about them; without it, nobody may operate.
        endpoints: Say whether versions are ready; without them the index does not know.
        config: Limits.
        pages: For people; without them there are none.
        access: Who may ask about models; ``admit`` replaces it.
    """

    def __init__(
        self,
        version: str,
        plans: ServedPlans,
        view: EndpointView | None = None,
        operations: Operations | None = None,
        *,
        endpoints: ModelEndpoints | None = None,
        config: ServingConfig | None = None,
        pages: Pages | None = None,
        access: Access = OPEN,
    ) -> None:
        config = config or ServingConfig()
        self._version = version
        self._plans = plans
        self._view = view
        self._operations = operations
        self._endpoints = endpoints
        self._pages = pages
        self._deadline_s = config.deadline.total_seconds()
        self._access = access
        self._replies: Counter[int] = Counter()
        document = openapi_document(version, config.limits)
        self._static = {
            "/v2": json_reply({"name": "raymlops", "version": version, "extensions": ["binary_tensor_data"]}),
            "/v2/health/live": json_reply({"live": True}),
            "/openapi.json": json_reply(document),
            "/docs": raw_reply(docs_page(document), "text/html; charset=utf-8"),
        }
        self._dynamic: dict[str, tuple[tuple[str, ...], _Route]] = {
            "/v2/health/ready": (("GET",), self._ready),
            _MODELS: (("GET",), self._models),
            _INDEX: (("GET", "POST"), self._index),
        }

    @property
    def replies(self) -> dict[int, int]:
        """Status -> replies since the start."""
        return dict(self._replies)

    def admit(self, access: Access) -> None:
        """Replace the keys that may call, from the next request on."""
        self._access = access

    async def handle(self, request: HttpRequest) -> HttpReply:
        """Answer one request; every fault becomes a reply of the interface."""
        try:
            if self._operations is not None and self._operations.takes(request.path):
                reply = await self._operations.handle(request)
            elif self._pages is not None and self._pages.takes(request.path):
                reply = await self._pages.handle(request, self._access)
            else:
                async with asyncio.timeout(self._deadline_s - request.received_s):
                    reply = await self._dispatch(request)
        except RaymlopsError as error:
            reply = reply_to(error)
        except TimeoutError:
            reply = error_reply(504, f"no answer within {self._deadline_s:g} s")
        except Exception:
            _log.exception("%s %s failed", request.method, request.path)
            reply = error_reply(500, "internal error")
        self._replies[reply.status] += 1
        return reply

    async def _dispatch(self, request: HttpRequest) -> HttpReply:
        path = request.path.rstrip("/")
        if path.startswith(f"{_MODELS}/"):
            model = path[len(_MODELS) + 1 :].partition("/")[0]
            self._access.check(request.headers, _ANYTHING, model)
            await self._refuse_model(model)
        if path.startswith((_MODELS, _INDEX)):
            self._access.check_any(request.headers, DESCRIBE)
        methods: tuple[str, ...] = ("GET",)
        if path in self._dynamic:
            methods = self._dynamic[path][0]
        elif path not in self._static:
            raise NotFoundError(f"there is no {path or '/'!r}")
        if request.method != "HEAD" and request.method not in methods:
            allowed = ", ".join((*methods, "HEAD"))
            return error_reply(405, f"{path!r} takes {allowed}, got {request.method}", allow=allowed)
        if len(request.body) > _MAX_BODY_BYTES:  # it would be read on the event loop that all callers share
            return error_reply(413, f"the body must be at most {_MAX_BODY_BYTES} bytes, got {len(request.body)}")
        return self._static[path] if path in self._static else await self._dynamic[path][1](request)

    async def _ready(self, request: HttpRequest) -> HttpReply:
        # raises, and so is 503, where the metadata store does not answer
        plans = await self._plans.served_plans()
        seen = {} if self._view is None else await self._view.statuses()
        silent = [] if self._view is None else [one for one in plans if one not in seen or not seen[one].answers]
        if not silent:
            return json_reply({"ready": True})
        shown = self._access.shown(request.headers, DESCRIBE)  # health is for everybody, names are not
        named = [model for model in silent if shown(model)]
        told = [f"{model}: {seen[model].reason if model in seen else 'nobody has looked yet'}" for model in named]
        names = f": {'; '.join(told)}" if told else ""
        raise UnavailableError(f"{len(silent)} of {len(plans)} models do not answer{names}")

    async def _models(self, request: HttpRequest) -> HttpReply:
        shown = self._access.check_any(request.headers, DESCRIBE)
        return json_reply({"models": [model for model in sorted(await self._plans.served_plans()) if shown(model)]})

    async def _index(self, request: HttpRequest) -> HttpReply:
        asked = parse_json(request.body) if request.body else {}
        ready_only = asked.get("ready", False)
        if type(ready_only) is not bool:
            raise DataError("'ready' must be a bool")
        shown = self._access.check_any(request.headers, DESCRIBE)
        plans = await self._plans.served_plans()
        models = [model for model in sorted(plans) if shown(model)]
        found = await asyncio.gather(*(self._versions(plans[model], request) for model in models))
        rows = [row for some in found for row in some]
        return json_reply([row for row in rows if row["state"] == "READY" or not ready_only])

    async def _versions(self, plan: ServingPlan, request: HttpRequest) -> list[dict[str, str]]:
        states = await asyncio.gather(*(self._state(plan, version, request) for version in sorted(plan.versions)))
        return [
            {"name": plan.model, "version": str(version), "state": state, "reason": reason}
            for version, (state, reason) in zip(sorted(plan.versions), states, strict=True)
        ]

    async def _state(self, plan: ServingPlan, version: int, request: HttpRequest) -> tuple[str, str]:
        """A version's state, as Triton names it, and what keeps it from being ready."""
        if version in plan.blocked:
            return "UNAVAILABLE", BLOCKED
        if plan.trial is not None and version == plan.trial.version:
            return "UNKNOWN", "on trial, in a process of its own"
        if self._endpoints is None:
            return "UNKNOWN", "endpoints are not asked here"
        path = f"{_MODELS}/{plan.model}/versions/{version}/ready"
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                reply = await self._endpoints.ask(plan.model, HttpRequest("GET", path, request.headers))
        except (TimeoutError, UnavailableError) as error:
            return "UNAVAILABLE", str(error) or f"the endpoint did not answer within {_READY_WITHIN_S:g} s"
        if reply is None:
            return "UNAVAILABLE", "its endpoint is not up"
        return ("READY", "") if reply.status == 200 else ("UNAVAILABLE", orjson.loads(reply.body)["error"])

    async def _refuse_model(self, model: str) -> None:
        """A request for a model that comes here has found no endpoint."""
        status = None
        with suppress(TimeoutError, UnavailableError):  # the caller is told that it is not up, without the reason
            async with asyncio.timeout(_REASON_WITHIN_S):
                if model not in await self._plans.served_plans():
                    raise DeploymentNotFound.of(model)
                status = None if self._view is None else (await self._view.statuses()).get(model)
        reason = f": {status.reason}" if status is not None and status.reason else ""
        raise UnavailableError(f"the endpoint of model {model!r} is not up yet{reason}")
