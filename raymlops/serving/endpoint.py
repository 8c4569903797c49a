"""The prediction service of one model, free of any web framework."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

from raymlops.clock import Clock, SystemClock, to_us
from raymlops.config.serving import ServingConfig
from raymlops.errors import (
    DataError,
    DeploymentError,
    ModelVersionNotFound,
    NotFoundError,
    Overloaded,
    RaymlopsError,
    UnavailableError,
)
from raymlops.records.serving.keys import Scope
from raymlops.serving.answering.batching import Batcher
from raymlops.serving.answering.breaker import Breakers
from raymlops.serving.answering.event_log import EventLog, EventLogStats
from raymlops.serving.answering.fallback import Answer, Answerer, Query
from raymlops.serving.answering.metrics import Family, ServingMetrics, breaker_families, family_of
from raymlops.serving.answering.probing import Prober
from raymlops.serving.plans.loader import Loaded, Loader, Serving
from raymlops.serving.plans.recorded_requests import RecordedRequests
from raymlops.serving.plans.slot import Slot
from raymlops.serving.plans.trials import ShadowQueue
from raymlops.serving.protocol.access import DESCRIBE, OPEN, Access
from raymlops.serving.protocol.http import HttpReply, HttpRequest, error_reply, json_reply, raw_reply, reply_to
from raymlops.serving.protocol.open_inference import encode_infer
from raymlops.serving.protocol.prediction_request import PredictionRequest
from raymlops.serving.protocol.protocols import LabelSink
from raymlops.serving.protocol.reading import ROWS_AT_ONCE, BodyReader, left_s

__all__ = ["Endpoint", "EndpointStats", "OnDemand"]

_log = logging.getLogger(__name__)


class _Call(NamedTuple):
    """A request on its way to its handler."""

    request: HttpRequest
    serving: Serving
    pinned: Loaded | None
    started_ns: int
    ends_ns: int


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


class OnDemand(Protocol):
    """Loads what an endpoint serves when it is asked for."""

    async def serving(self) -> Serving:
        """What is served, loaded now where it is not.

        Raises:
            RaymlopsError: It cannot be loaded.
        """
        ...

    def problem(self) -> str | None:
        """Why it could not be loaded the last time; ``None`` where nothing is known to be wrong."""
        ...


class Endpoint:
    """Serves one model: holds what is served in one reference, which a request reads once.

    ``handle``, ``start`` and ``stop`` belong to one event loop; ``number`` is safe everywhere.

    Args:
        model: The model's name.
        loader: Builds servings.
        clock: Dates predictions.
        config: Limits.
        events: Takes prediction events; ``None`` records none.
        labels: Takes labels; without it the labels route answers 503.
        access: Who may ask; ``admit`` replaces it.
        on_demand: Asked where nothing is loaded; ``None``: then there is no answer.

    Attributes:
        slot: What is served; who changes that calls it.
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
        on_demand: OnDemand | None = None,
    ) -> None:
        self.model = model
        self._on_demand = on_demand
        self._clock = clock or SystemClock()
        config = config or ServingConfig()
        self._body_limit = config.body_limit_bytes
        self._deadline_s = config.deadline.total_seconds()
        self._events = events
        self._labels = labels
        self._access = access
        self._max_in_flight = config.max_in_flight
        self._reader = BodyReader(config)
        self._queue_rows = config.queue_rows
        self._metrics = ServingMetrics()
        self._shadow = ShadowQueue(config.shadow_queue_rows, config.shadow_queue_bytes)
        self._batcher = Batcher(config.batching, self._metrics.batch_rows.observe)
        self._breakers, self._recorded = Breakers(config.breaker), RecordedRequests()
        self._answerer = Answerer(
            self._clock, events, self._shadow, self._deadline_s, self._batcher, self._breakers, self._recorded
        )
        self.slot = Slot(model, loader, self._recorded)
        self._prober = Prober(self._breakers, self._recorded, self.slot)
        self._in_flight = 0
        self._prefix = f"/v2/models/{model}"
        self._routes: dict[str, tuple[str, tuple[Scope, ...], _Handler]] = {
            "": ("GET", DESCRIBE, self._metadata),
            "/ready": ("GET", DESCRIBE, self._ready),
            "/plan": ("GET", DESCRIBE, _plan),
            "/infer": ("POST", ("infer",), self._infer),
            "/predict": ("POST", ("infer",), self._predict),
            "/labels": ("POST", ("label",), self._record_labels),
        }
        self._versioned = ("", "/ready", "/infer")

    @property
    def number(self) -> int:
        """Number of the plan that is served; 0 where none is."""
        return self.slot.number

    @property
    def stats(self) -> EndpointStats:
        """Figures since the start."""
        events = self._events.stats if self._events is not None else None
        replies: Counter[int] = Counter()
        for (status, _), count in self._metrics.replies.items():
            replies[status] += count
        dropped, states = self._shadow.dropped_rows, self._breakers.states()
        return EndpointStats(self.number, replies, self._in_flight, dropped, states, events)

    def families(self) -> list[Family]:
        """Figures since the start, as Prometheus has them; called on the event loop."""
        levels = {
            "requests_in_flight": ("Requests under way.", self._in_flight),
            "queue_rows": ("Rows that wait for a model.", self._batcher.waiting_rows),
            "plan_number": ("Number of the plan that is served.", self.number),
        }
        counts = {"shadow_dropped_rows_total": ("Rows the shadow was not asked about.", self._shadow.dropped_rows)}
        if self._events is not None:
            events = self._events.stats
            levels["events_waiting"] = ("Prediction events on their way, in rows.", events.waiting)
            counts["events_recorded_total"] = ("Prediction events, in rows.", events.recorded)
            counts["events_dropped_total"] = ("Prediction events that were lost, in rows.", events.dropped)
        self._metrics.candidate_fallbacks = self._answerer.candidate_fallbacks
        serving = self.slot.current
        served = frozenset() if serving is None else serving.plan.versions
        self._metrics.forget_but(served)
        self._metrics.swaps, self._metrics.load_s = self.slot.swaps, self.slot.load_s
        return [
            *self._metrics.families(),
            *breaker_families(self._breakers, served),
            *(family_of(name, "gauge", *level) for name, level in levels.items()),
            *(family_of(name, "counter", *count) for name, count in counts.items()),
        ]

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return self._in_flight

    def admit(self, access: Access) -> None:
        """Replace the keys that may call, from the next request on."""
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
        self._reader.close()
        return 0 if self._events is None else await self._events.stop(deadline_s)

    async def handle(self, request: HttpRequest) -> HttpReply:
        """Answer one request; every fault becomes a reply of the interface."""
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
        self._metrics.replied(reply.status, reply.version, (time.perf_counter_ns() - started_ns) / 1e9)
        return reply

    async def _dispatch(self, request: HttpRequest, started_ns: int) -> HttpReply:
        path = request.path.rstrip("/")
        action, version = self._split(path)
        route = self._routes.get(action)
        if route is None or (version is not None and action not in self._versioned):
            raise NotFoundError(f"there is no {path!r}")
        method, scope, handler = route
        self._access.check(request.headers, scope, self.model)
        if request.method != method and (request.method, method) != ("HEAD", "GET"):
            allowed = "GET, HEAD" if method == "GET" else method
            return error_reply(405, f"{path!r} takes {allowed}, got {request.method}", allow=allowed)
        if len(request.body) > self._body_limit:
            return error_reply(413, f"the body must be at most {self._body_limit} bytes, got {len(request.body)}")
        if self._in_flight > self._max_in_flight:
            raise Overloaded(f"more than {self._max_in_flight} requests are under way")
        if request.headers.get("content-encoding", "identity") != "identity":
            raise DataError("the body must be sent without content-encoding")
        ends_ns = started_ns + int((self._deadline_s - request.received_s) * 1e9)
        serving = self.slot.current
        if serving is None:
            if self._on_demand is None:
                raise UnavailableError(f"model {self.model!r} is not ready: no plan is loaded yet")
            if action == "/ready" and version is None:
                return _loadable(self.model, self._on_demand)
            async with asyncio.timeout(left_s(ends_ns)):
                serving = await self._on_demand.serving()
        pinned = None if version is None else self._pinned(serving, version)
        return await handler(_Call(request, serving, pinned, started_ns, ends_ns))

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

    async def _infer(self, call: _Call) -> HttpReply:
        loaded = call.pinned or call.serving.champion
        infer = await self._reader.infer(call.request, loaded.model.schema, call.ends_ns)
        read_ns = time.perf_counter_ns()
        at_us = [to_us(self._clock.now())] * infer.rows
        asked = PredictionRequest(infer.id or uuid4().hex, infer.columns, at_us)
        answer = await self._answer(_query(call, asked))
        answered_ns = time.perf_counter_ns()
        head = _head(self.model, answer.version, asked.request_id, {"role": answer.role})
        if infer.rows <= ROWS_AT_ONCE:
            body, headers = encode_infer(head, answer.outputs, infer)
        else:
            body, headers = await asyncio.to_thread(encode_infer, head, answer.outputs, infer)
        self._metrics.staged(call.started_ns, read_ns, answered_ns, time.perf_counter_ns())
        return HttpReply(200, headers, body, answer.counted_for)

    async def _answer(self, query: Query) -> Answer:
        """The answer within the deadline.

        Raises:
            Overloaded: Too many rows wait already.
            TimeoutError: There was none.
        """
        rows = query.request.rows
        waiting = self._batcher.waiting_beside(rows)
        if waiting and waiting + rows > self._queue_rows:
            raise Overloaded(f"{waiting} rows wait for a model, and at most {self._queue_rows} may")
        try:
            async with asyncio.timeout(left_s(query.ends_ns)) as limit:
                answer = await self._answerer.answer(query)
        except TimeoutError:
            if limit.expired():
                self._answerer.give_up(query)
            raise
        if answer.counted_for is not None:
            self._metrics.rows[answer.counted_for] += rows
        if answer.fallback is not None:
            self._metrics.fallbacks[answer.version, answer.role] += 1
        return answer

    async def _predict(self, call: _Call) -> HttpReply:
        now_us = to_us(self._clock.now())
        asked = await self._reader.predict(call.request, call.serving.instances, now_us, call.ends_ns)
        read_ns = time.perf_counter_ns()
        answer = await self._answer(_query(call, asked))
        answered_ns = time.perf_counter_ns()
        head = _head(self.model, answer.version, asked.request_id, {"role": answer.role, "missing": asked.missing})
        body, headers = encode_infer(head, answer.outputs)
        self._metrics.staged(call.started_ns, read_ns, answered_ns, time.perf_counter_ns())
        return HttpReply(200, headers, body, answer.counted_for)

    async def _record_labels(self, call: _Call) -> HttpReply:
        if self._labels is None:
            raise DeploymentError(f"model {self.model!r} takes no labels: nothing stores them")
        signature = call.serving.champion.model.signature
        now_us = to_us(self._clock.now())
        table, batch_id = await self._reader.labels(call.request, signature, now_us, call.ends_ns)
        async with asyncio.timeout(left_s(call.ends_ns)):
            recorded = await self._labels.record(self.model, table, batch_id)
        return json_reply({"recorded": recorded})


def _query(call: _Call, asked: PredictionRequest) -> Query:
    key = call.request.headers.get("x-sticky-key") or asked.request_id
    return Query(asked, key, call.serving, call.pinned, call.started_ns, call.ends_ns)


async def _plan(call: _Call) -> HttpReply:
    return raw_reply(call.serving.plan_json)


def _loadable(model: str, on_demand: OnDemand) -> HttpReply:
    """Readiness of a model that is loaded on demand and is not loaded now: it is ready unless its last load failed."""
    if (problem := on_demand.problem()) is not None:
        raise UnavailableError(f"model {model!r} is not ready: {problem}")
    return json_reply({"name": model, "ready": True})


def _head(model: str, version: int, request_id: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"model_name": model, "model_version": str(version), "id": request_id, "parameters": parameters}
