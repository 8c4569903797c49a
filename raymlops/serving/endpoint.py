"""The prediction service of one model, free of any web framework."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from uuid import uuid4

from raymlops.clock import Clock, SystemClock, to_us
from raymlops.config.serving import ServingConfig
from raymlops.errors import (
    DataError,
    DeploymentError,
    ModelVersionNotFound,
    NotFoundError,
    RaymlopsError,
    UnavailableError,
)
from raymlops.records.keys import Scope
from raymlops.records.plans import ServingPlan
from raymlops.serving.access import OPEN, Access
from raymlops.serving.answering import Answerer, Query
from raymlops.serving.batching import Batcher
from raymlops.serving.breaker import Breakers
from raymlops.serving.event_log import EventLog, EventLogStats
from raymlops.serving.http import HttpReply, HttpRequest, error_reply, json_reply, raw_reply, reply_to
from raymlops.serving.labels import decode_labels
from raymlops.serving.loader import Loaded, Loader, Serving
from raymlops.serving.open_inference import decode_infer, encode_infer
from raymlops.serving.probing import Prober
from raymlops.serving.protocols import LabelSink
from raymlops.serving.rehearsal import RecordedRequests
from raymlops.serving.slot import Slot
from raymlops.serving.trials import ShadowQueue

__all__ = ["Endpoint", "EndpointStats"]

MAX_IN_FLIGHT = 512
"""Requests that may be under way at once; only those that wait for a canary or for labels ever are."""

_log = logging.getLogger(__name__)


class _Call(NamedTuple):
    """A request on its way to its handler."""

    request: HttpRequest
    serving: Serving
    pinned: Loaded | None
    started_ns: int


_Handler = Callable[[_Call], Awaitable[HttpReply]]


class EndpointStats(NamedTuple):
    """Figures since the start."""

    plan: int
    replies: Mapping[int, int]
    """Status -> replies."""
    in_flight: int
    shadow_dropped_rows: int
    breakers: Mapping[int, str]
    """Version -> ``closed``, ``open`` or ``probing``; versions that were asked."""
    events: EventLogStats | None


class Endpoint:
    """Serves one model: holds what is served in one reference, which a request reads once.

    ``handle``, ``start`` and ``stop`` belong to one event loop. ``load`` blocks, so call it from a thread; ``swap`` and
    ``number`` are safe everywhere.

    Args:
        model: The model's name.
        loader: Builds servings.
        clock: Dates predictions.
        config: Limits.
        events: Takes prediction events; ``None`` records none.
        labels: Takes labels; without it the labels route answers 503.
        access: Who may ask; ``admit`` replaces it.
        max_in_flight: Beyond this many requests under way the answer is 429.
    """

    def __init__(
        self,
        model: str,
        loader: Loader,
        *,
        clock: Clock | None = None,
        config: ServingConfig | None = None,
        events: EventLog | None = None,
        labels: LabelSink | None = None,
        access: Access = OPEN,
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        self.model = model
        self._clock = clock or SystemClock()
        config = config or ServingConfig()
        self._body_limit = config.body_limit_bytes
        self._deadline_s = config.deadline.total_seconds()
        self._events = events
        self._labels = labels
        self._access = access
        self._max_in_flight = max_in_flight
        self._shadow = ShadowQueue(config.shadow_queue_rows)
        self._batcher = Batcher(config.batching)
        self._breakers, self._recorded = Breakers(config.breaker), RecordedRequests()
        self._answerer = Answerer(
            self._clock, events, self._shadow, self._deadline_s, self._batcher, self._breakers, self._recorded
        )
        self._slot = Slot(model, loader, self._recorded)
        self._prober = Prober(self._breakers, self._recorded, self._slot)
        self._replies: Counter[int] = Counter()
        self._in_flight = 0
        self._prefix = f"/v2/models/{model}"
        self._routes: dict[str, tuple[str, Scope, _Handler]] = {
            "": ("GET", "infer", self._metadata),
            "/ready": ("GET", "infer", self._ready),
            "/plan": ("GET", "infer", self._plan),
            "/infer": ("POST", "infer", self._infer),
            "/predict": ("POST", "infer", self._predict),
            "/labels": ("POST", "label", self._record_labels),
        }
        self._versioned = ("", "/ready", "/infer")

    @property
    def number(self) -> int:
        """Number of the plan that is served; 0 where none is."""
        return self._slot.number

    @property
    def stats(self) -> EndpointStats:
        """Figures since the start."""
        events = self._events.stats if self._events is not None else None
        return EndpointStats(
            self.number,
            dict(self._replies),
            self._in_flight,
            self._shadow.dropped_rows,
            self._breakers.states(),
            events,
        )

    def load(self, plan: ServingPlan) -> Serving:
        """Build what serves a plan, as ``Slot.load``."""
        return self._slot.load(plan)

    def swap(self, serving: Serving) -> bool:
        """Serve it from the next request on, as ``Slot.swap``."""
        return self._slot.swap(serving)

    def admit(self, access: Access) -> None:
        """Let in whom it lets in, from the next request on."""
        self._access = access

    def start(self) -> None:
        """Begin the background work, on the running event loop; a repeat changes nothing."""
        self._shadow.start()
        self._prober.start()
        if self._events is not None:
            self._events.start()

    async def flush(self, deadline_s: float = 30.0) -> int:
        """Let the shadow answer what waits for it, then send all events.

        Returns:
            How many rows of events still wait after the deadline.
        """
        try:
            async with asyncio.timeout(deadline_s):
                await self._shadow.drain()
        except TimeoutError:
            _log.warning("%d rows still wait for the shadow of %s", self._shadow.waiting_rows, self.model)
        return 0 if self._events is None else await self._events.flush(deadline_s)

    async def stop(self, deadline_s: float = 10.0) -> int:
        """End the background work; events are sent first.

        Returns:
            How many rows of events were lost, because nobody took them before the deadline.
        """
        await self._prober.stop()
        await self._shadow.stop()
        self._batcher.close()
        return 0 if self._events is None else await self._events.stop(deadline_s)

    async def handle(self, request: HttpRequest) -> HttpReply:
        """Answer one request; whatever happens, the reply is one of the interface's."""
        started_ns = time.perf_counter_ns()
        self._in_flight += 1
        try:
            reply = await self._dispatch(request, started_ns)
        except TimeoutError:
            reply = error_reply(504, f"no answer within {self._deadline_s:g} s")
        except RaymlopsError as error:
            reply = reply_to(error)
        except Exception:
            _log.exception("%s %s failed", request.method, request.path)
            reply = error_reply(500, "internal error")
        finally:
            self._in_flight -= 1
        self._replies[reply.status] += 1
        return reply

    async def _dispatch(self, request: HttpRequest, started_ns: int) -> HttpReply:
        path = request.path.rstrip("/")
        action, version = self._split(path)
        route = self._routes.get(action)
        if route is None or (version is not None and action not in self._versioned):
            raise NotFoundError(f"there is no {path!r}")
        method, scope, handler = route
        self._access.check(request.headers, scope)
        if request.method != method:
            return error_reply(405, f"{path!r} takes {method}, got {request.method}", allow=method)
        if len(request.body) > self._body_limit:
            return error_reply(413, f"the body must be at most {self._body_limit} bytes, got {len(request.body)}")
        if self._in_flight > self._max_in_flight:
            return error_reply(429, f"more than {self._max_in_flight} requests are under way", retry_after="1")
        if request.headers.get("content-encoding", "identity") != "identity":
            raise DataError("the body must be sent without content-encoding")
        serving = self._slot.current
        if serving is None:
            raise UnavailableError(f"model {self.model!r} is not ready: no plan is loaded yet")
        pinned = None if version is None else self._pinned(serving, version)
        return await handler(_Call(request, serving, pinned, started_ns))

    def _split(self, path: str) -> tuple[str, str | None]:
        """Action and version of a path."""
        if not path.startswith(self._prefix):
            raise NotFoundError(f"there is no {path!r}")
        action = path[len(self._prefix) :]
        if not action.startswith("/versions/"):
            return action, None
        version, slash, rest = action[len("/versions/") :].partition("/")
        return slash + rest, version

    def _pinned(self, serving: Serving, version: str) -> Loaded:
        number = int(version) if version.isascii() and version.isdecimal() and len(version) < 10 else -1
        loaded = serving.versions.get(number)
        if loaded is None:
            raise ModelVersionNotFound(f"model {self.model!r} has no version {version!r} in service")
        return loaded

    async def _metadata(self, call: _Call) -> HttpReply:
        loaded = call.pinned or call.serving.champion
        return raw_reply(call.serving.metadata_json[loaded.version])

    async def _ready(self, call: _Call) -> HttpReply:
        able = [call.pinned] if call.pinned is not None else call.serving.versions.values()
        if all(loaded.broken for loaded in able) and (call.pinned or call.serving.plan.baseline is None):
            raise UnavailableError(f"model {self.model!r} is not ready: its files cannot be loaded")
        return json_reply({"name": self.model, "ready": True})

    async def _plan(self, call: _Call) -> HttpReply:
        return raw_reply(call.serving.plan_json)

    async def _infer(self, call: _Call) -> HttpReply:
        loaded = call.pinned or call.serving.champion
        infer = decode_infer(call.request.body, call.request.headers, loaded.model.schema)
        request_id = infer.id or uuid4().hex
        at_us = [to_us(self._clock.now())] * infer.rows
        key = call.request.headers.get("x-sticky-key") or request_id
        answer = await self._answerer.answer(
            Query(call.serving, call.pinned, request_id, key, infer.columns, at_us, call.started_ns)
        )
        head = _head(self.model, answer.version, request_id, {"role": answer.role})
        body, headers = encode_infer(head, answer.outputs, infer)
        return HttpReply(200, headers, body)

    async def _predict(self, call: _Call) -> HttpReply:
        predict = call.serving.instances.decode(call.request.body, to_us(self._clock.now()))
        request_id = predict.id or uuid4().hex
        key = call.request.headers.get("x-sticky-key") or request_id
        answer = await self._answerer.answer(
            Query(
                call.serving,
                None,
                request_id,
                key,
                predict.columns,
                predict.at_us,
                call.started_ns,
                predict.missing,
                predict.entities,
                predict.feature_times_us,
            )
        )
        head = _head(self.model, answer.version, request_id, {"role": answer.role, "missing": predict.missing})
        body, headers = encode_infer(head, answer.outputs)
        return HttpReply(200, headers, body)

    async def _record_labels(self, call: _Call) -> HttpReply:
        if self._labels is None:
            raise DeploymentError(f"model {self.model!r} takes no labels: nothing stores them")
        signature = call.serving.champion.model.signature
        table, batch_id = decode_labels(call.request.body, call.request.headers, signature, to_us(self._clock.now()))
        async with asyncio.timeout(self._deadline_s):
            recorded = await self._labels.record(self.model, table, batch_id)
        return json_reply({"recorded": recorded})


def _head(model: str, version: int, request_id: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"model_name": model, "model_version": str(version), "id": request_id, "parameters": parameters}
