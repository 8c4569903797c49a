"""The Serve deployment of the gateway, which comes up with Serve itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from ray import serve
from ray.serve.config import ProxyLocation
from starlette.requests import Request
from starlette.responses import Response

from raymlops.config.platform import PlatformConfig
from raymlops.config.section import is_loopback
from raymlops.control.triggering.model_policies import ModelPolicies
from raymlops.runtime.cluster.clients import AsyncActorProxy, metadata_stores
from raymlops.runtime.cluster.names import CONTROLLER, HEAD, RECONCILER
from raymlops.runtime.serve.deployments import deployment_of
from raymlops.runtime.serve.endpoint_building import host_of_serve, keys_required
from raymlops.runtime.serve.endpoint_orders import reconciler_timeout_s
from raymlops.runtime.serve.gateway.approvals import Approvals
from raymlops.runtime.serve.gateway.grpc_ingress import Endpoints, start_grpc
from raymlops.runtime.serve.gateway.late_console import LateConsole
from raymlops.runtime.serve.internal_port import close_internal_port
from raymlops.runtime.serve.keys import require_keys
from raymlops.runtime.serve.serve_front import Front
from raymlops.serving.front.endpoint_view import EndpointView
from raymlops.serving.front.gateway import Gateway
from raymlops.serving.front.operations import Operations
from raymlops.serving.protocol.access import Access
from raymlops.serving.protocol.refusal_log import RefusalLog

__all__ = ["GatewayReplica", "gateway_application", "start_serving"]

_log = logging.getLogger(__name__)
close_internal_port()  # when a replica imports its class, before its servers start
_GRACE_S = 10.0
"""How long requests under way have to end where the gateway is stopped."""


class GatewayReplica:
    """The gateway: it answers every request that belongs to no endpoint."""

    async def __init__(self, config: PlatformConfig) -> None:  # type: ignore[misc]  # Serve awaits it
        serving = config.serving
        metadata: Any = metadata_stores(kind=AsyncActorProxy)
        order_s = reconciler_timeout_s(config)
        operator: Any = AsyncActorProxy(RECONCILER, order_s, "operator")
        reconciler: Any = AsyncActorProxy(RECONCILER, part="reconciler")
        controller: Any = AsyncActorProxy(CONTROLLER)
        self._records = metadata
        self._refusals = RefusalLog(serve.get_replica_context().replica_id.unique_id)
        required = await keys_required(config)
        self._required = required
        operations = Operations(
            metadata,
            operator,
            order_s,
            _trial_deadlines(config),
            controls=controller,
            delivery=Approvals(config.home, lambda: metadata_stores().ledger),
            refusals=self._refusals,
        )
        self._console = LateConsole(config, operations)
        self._endpoints = Endpoints(metadata.plans, serving)
        self._gateway = Gateway(
            version("raymlops"),
            metadata.plans,
            EndpointView(reconciler),
            operations,
            endpoints=self._endpoints,
            config=serving,
            pages=self._console,
            access=Access(required=required),
        )
        self._front = Front(self._gateway, serving)
        self._keys = asyncio.create_task(self._follow_keys(serving.plan_poll_every.total_seconds()))
        self._grpc = await start_grpc(serving, self._gateway, self._endpoints)

    async def __call__(self, request: Request) -> Response:
        return await self._front.answer(request.scope, request.receive)

    async def _follow_keys(self, every_s: float) -> None:
        while True:
            try:
                keys = await self._records.keys.list_keys()
                self._gateway.admit(Access(keys, required=self._required, refusals=self._refusals))
                await self._refusals.tell(self._records.ledger.append_entry)
            except Exception as error:  # whatever it is: a gateway that stops asking would know no new key for ever
                _log.warning("keys could not be read, going on with those that are known: %r", error)
            await asyncio.sleep(every_s)

    async def __del__(self) -> None:  # Serve awaits it at a graceful stop
        self._keys.cancel()
        if self._grpc is not None:
            await self._grpc.stop(_GRACE_S)
        await self._endpoints.close()
        self._console.close()


def _trial_deadlines(config: PlatformConfig) -> Callable[[str], Awaitable[float]]:
    """Model -> the deadline of a trial of it, in milliseconds, by the policy in force."""
    policies = ModelPolicies(metadata_stores().deployments, config.control, config.environment)

    def read(model: str) -> float:
        policies.refresh()
        return policies.of(model).config.trial.deadline.total_seconds() * 1000

    async def read_aside(model: str) -> float:
        return await asyncio.to_thread(read, model)

    return read_aside


def gateway_application(config: PlatformConfig) -> serve.Application:
    """Server metadata, health and API description; on the head node, for the gRPC port has one address."""
    deployment = deployment_of(GatewayReplica, config.serving, cpus=0.0)
    on_head = {**(deployment.ray_actor_options or {}), "resources": {HEAD: 0.0001}}
    return deployment.options(ray_actor_options=on_head).bind(config)


def start_serving(config: PlatformConfig) -> None:
    """Start Serve on the configured port, and the gateway; a repeat finds them running.

    Raises:
        ConfigError: Serve runs already, where strangers may call, and there is no key.
    """
    alone = config.serving.proxies == "head" or is_loopback(config.serving.host)
    place = ProxyLocation.HeadOnly if alone else ProxyLocation.EveryNode
    options = {"host": config.serving.host, "port": config.serving.port}
    serve.start(http_options=options, proxy_location=place)
    require_keys(config, host_of_serve())
    if "gateway" not in serve.status().applications:
        serve.run(gateway_application(config), name="gateway", route_prefix="/")
