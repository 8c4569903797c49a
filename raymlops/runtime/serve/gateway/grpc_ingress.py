"""The gRPC port: one server beside the gateway, which asks endpoints by the HTTP port.

Serve has a gRPC proxy of its own. It picks the application by a metadata field that clients of the Open Inference
Protocol do not send, and opens a port on every interface for each replica (docs/adr/0016).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast
from urllib.parse import quote

import aiohttp
import grpc
from yarl import URL

from raymlops.config.serving import ServingConfig
from raymlops.errors import ConfigError, UnavailableError
from raymlops.serving.front.gateway import Gateway, ModelEndpoints, ServedPlans
from raymlops.serving.front.grpc_service import SERVICE, InferenceService
from raymlops.serving.protocol.http import JSON, HttpReply, HttpRequest

__all__ = ["Endpoints", "start_grpc"]

_OVERHEAD_BYTES = 64 << 10
"""Bytes that a message may hold beside its tensors."""

_HANDSHAKE_MS, _IDLE_MS = 10_000, 300_000
"""A connection that is no HTTP/2 by the first, or on which nothing was asked for the second, is closed."""

_MAX_CALLS = 1000
"""Under way at once; beyond it the answer is RESOURCE_EXHAUSTED. More than an endpoint sheds at by itself."""

_IDLE_CONNECTION_S = 4.0
"""Less than Serve and HAProxy keep a connection open, so that none is closed under a request."""

_MAX_CONNECTIONS = 256

_FROM_ELSEWHERE = frozenset({404, 503})
"""Whoever answers so may not be the endpoint."""

_SLACK_S = 1.0
"""How much longer than the endpoint itself its caller waits."""


class Endpoints:
    """Asks endpoints as their other callers do, by connections to the HTTP port that stay open.

    Args:
        plans: Knows which models have an endpoint.
        config: Of the HTTP port.
    """

    def __init__(self, plans: ServedPlans, config: ServingConfig) -> None:
        self._plans = plans
        self._url = config.local_url
        self._timeout = aiohttp.ClientTimeout(total=config.deadline.total_seconds() + _SLACK_S)
        self._known: set[str] = set()
        self._opened: aiohttp.ClientSession | None = None

    async def ask(self, model: str, request: HttpRequest) -> HttpReply | None:
        """Have an endpoint answer, as ``ModelEndpoints`` says."""
        if model not in self._known:  # the metadata store: the gateway answers here for what has no endpoint
            if model not in await self._plans.served_plans():
                return None
            self._known.add(model)
        url = URL(self._url + quote(request.path), encoded=True)
        try:
            async with self._session().request(
                request.method, url, data=request.body or None, headers=dict(request.headers)
            ) as response:
                body, kind = await response.read(), response.headers.get("content-type", "")
        except aiohttp.ClientError as error:
            self._known.discard(model)
            raise UnavailableError(f"the endpoint of model {model!r} did not answer: {error}") from error
        if response.status in _FROM_ELSEWHERE:
            self._known.discard(model)
        if response.status != 200 and not kind.startswith(JSON):
            raise UnavailableError(f"the endpoint of model {model!r} did not answer: HTTP status {response.status}")
        return HttpReply(response.status, {name.lower(): value for name, value in response.headers.items()}, body)

    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            connector = aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, keepalive_timeout=_IDLE_CONNECTION_S)
            self._opened = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        return self._opened

    async def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            await self._opened.close()


def _handler(service: InferenceService, method: str) -> grpc.RpcMethodHandler:
    async def behave(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        metadata = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        reply = await service.call(method, body, metadata)
        if reply.status != "OK":
            await context.abort(grpc.StatusCode[reply.status], reply.message)
        return reply.body

    # without a deserializer: bytes that are no message are the caller's error, and grpcio would make it ours
    return grpc.unary_unary_rpc_method_handler(cast("Callable[..., Awaitable[bytes]]", behave))


async def start_grpc(config: ServingConfig, gateway: Gateway, endpoints: ModelEndpoints) -> grpc.aio.Server | None:
    """Listen on the gRPC port, if there is to be one.

    Raises:
        ConfigError: The port is taken.
    """
    if config.grpc_port is None:
        return None
    service = InferenceService(gateway, endpoints)
    limit = config.body_limit_bytes + _OVERHEAD_BYTES
    options = [
        ("grpc.max_receive_message_length", limit),
        ("grpc.so_reuseport", 0),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
        ("grpc.max_connection_idle_ms", _IDLE_MS),
    ]
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=_MAX_CALLS)
    handlers = {method: _handler(service, method) for method in service.methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    host = f"[{config.host}]" if ":" in config.host.strip("[]") else config.host
    try:
        server.add_insecure_port(f"{host}:{config.grpc_port}")
    except RuntimeError as error:
        raise ConfigError(f"gRPC port {config.grpc_port} on {config.host} is taken", port=config.grpc_port) from error
    await server.start()
    return server
