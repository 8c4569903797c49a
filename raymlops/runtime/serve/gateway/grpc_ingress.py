"""The gRPC port: one server beside the gateway, which reaches endpoints by their deployments' handles.

Serve has a gRPC proxy of its own. It picks the application by a metadata field that clients of the Open Inference
Protocol do not send, and opens a port on every interface for each replica (docs/adr/0016).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle

from raymlops.config.serving import ServingConfig
from raymlops.control.reconciling.reconcile import POOL_NAME, endpoint_name
from raymlops.errors import ConfigError, UnavailableError
from raymlops.serving.front.gateway import Gateway, ServedPlans
from raymlops.serving.front.grpc_service import SERVICE, InferenceService
from raymlops.serving.protocol.http import HttpReply, HttpRequest, error_reply

__all__ = ["Endpoints", "start_grpc"]

_log = logging.getLogger(__name__)

_OVERHEAD_BYTES = 64 << 10
"""Bytes that a message may hold beside its tensors."""

_HANDSHAKE_MS, _IDLE_MS = 10_000, 300_000
"""A connection that is no HTTP/2 by the first, or on which nothing was asked for the second, is closed."""

_MAX_CALLS = 1000
"""Under way at once; beyond it the answer is RESOURCE_EXHAUSTED. More than an endpoint sheds at by itself."""

_UNAVAILABLE = 503

_SLACK_S = 1.0
"""How much longer than the endpoint itself its caller waits."""


class Endpoints:
    """Asks endpoints by handle; a handle is looked up once.

    Args:
        plans: Knows which models have an endpoint.
        deadline_s: Of an endpoint's answer.
    """

    def __init__(self, plans: ServedPlans, deadline_s: float) -> None:
        self._plans = plans
        self._deadline_s = deadline_s
        self._handles: dict[str, Any] = {}

    async def ask(self, model: str, request: HttpRequest) -> HttpReply | None:
        """Have an endpoint answer, as ``ModelEndpoints`` says."""
        try:
            async with asyncio.timeout(self._deadline_s + _SLACK_S):
                handle = self._handles.get(model) or await self._find(model)
                reply = None if handle is None else cast("HttpReply", await handle.answer.remote(request))
            if reply is not None and reply.status == _UNAVAILABLE:
                self._handles.pop(model, None)  # it may have moved into the pool, or out of it
            return reply
        except BackPressureError:
            return error_reply(429, f"too many requests wait for model {model!r}", retry_after="1")
        except (RayActorError, DeploymentUnavailableError, RayServeException) as error:
            self._handles.pop(model, None)
            _log.warning("the endpoint of %s did not answer: %s", model, error)
            raise UnavailableError(f"the endpoint of model {model!r} did not answer") from error

    async def _find(self, model: str) -> DeploymentHandle | None:
        # the metadata store first: requests for unknown models must not keep Serve's controller busy
        plan = (await self._plans.served_plans()).get(model)
        if plan is None:
            return None
        name = POOL_NAME if plan.pooled else endpoint_name(model)
        try:
            handle = await asyncio.to_thread(serve.get_app_handle, name)
        except RayServeException:
            return None
        # by reference: calls over gRPC end at 4 MiB, a body may have more
        self._handles[model] = handle.options(_by_reference=True)
        return self._handles[model]


def _handler(service: InferenceService, method: str) -> grpc.RpcMethodHandler:
    async def behave(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        metadata = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        reply = await service.call(method, body, metadata)
        if reply.status != "OK":
            await context.abort(grpc.StatusCode[reply.status], reply.message)
        return reply.body

    # without a deserializer: bytes that are no message are the caller's error, and grpcio would make it ours
    return grpc.unary_unary_rpc_method_handler(cast("Callable[..., Awaitable[bytes]]", behave))


async def start_grpc(config: ServingConfig, gateway: Gateway, plans: ServedPlans) -> grpc.aio.Server | None:
    """Listen on the gRPC port, if there is to be one.

    Raises:
        ConfigError: The port is taken.
    """
    if config.grpc_port is None:
        return None
    service = InferenceService(gateway, Endpoints(plans, config.deadline.total_seconds()))
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
