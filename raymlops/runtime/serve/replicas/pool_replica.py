"""The Serve deployment of the pool: one process that answers for many models. A shell around the serving core."""

from __future__ import annotations

import asyncio
import logging
from importlib.metadata import version
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from raymlops.config.platform import PlatformConfig
from raymlops.errors import RaymlopsError
from raymlops.records.plans import ServingPlan
from raymlops.records.serving.endpoints import Hosting
from raymlops.runtime.cluster.clients import AsyncActorProxy, metadata_stores
from raymlops.runtime.cluster.names import RECONCILER
from raymlops.runtime.serve.deployments import deployment_of
from raymlops.runtime.serve.endpoint_building import EndpointMaker, keys_required, report_figures
from raymlops.runtime.serve.http_middleware import answer_directly
from raymlops.runtime.serve.internal_port import close_internal_port
from raymlops.runtime.serve.replicas.admission import Admission
from raymlops.runtime.serve.serve_front import Front
from raymlops.serving.answering.metrics import Family
from raymlops.serving.endpoint import Endpoint
from raymlops.serving.front.endpoint_view import EndpointView
from raymlops.serving.front.gateway import Gateway
from raymlops.serving.pool.hosted import Hosted
from raymlops.serving.pool.pool import Pool
from raymlops.serving.pool.watched import WatchedModel
from raymlops.serving.protocol.access import Access

__all__ = ["PoolReplica", "pool_application"]

_log = logging.getLogger(__name__)
close_internal_port()  # when a replica imports its class, before its servers start
_ALL_EVERY = 10
"""Reports after which idle models are sent, too: the monitor forgets a model that is silent for 30 s."""


class PoolReplica:
    """One replica of the pool: it answers for every model whose newest plan is pooled."""

    async def __init__(self, config: PlatformConfig) -> None:  # type: ignore[misc]  # Serve awaits it
        self._metadata = metadata_stores()
        self._keys_required = await keys_required(config)
        access = Access(required=self._keys_required)
        self._maker = await EndpointMaker.create(config)
        # requests for no pooled model come here, too, since all of /v2/models does
        plans: Any = metadata_stores(kind=AsyncActorProxy).plans
        reconciler: Any = AsyncActorProxy(RECONCILER, part="reconciler")
        others = Gateway(
            version("raymlops"),
            plans,
            EndpointView(reconciler),
            config=config.serving,
            access=access,
        )
        notes = config.home / "pool"
        self._pool = Pool(self._metadata.plans, self._endpoint, others, config.serving.pool, notes, access=access)
        self._front = Front(self._pool, config.serving)
        replica = serve.get_replica_context().replica_id.unique_id
        self._admission = Admission(self._pool.admit, self._metadata, required=self._keys_required, replica=replica)
        await self._admission.refresh()
        await self._pool.look()
        if config.serving.autoscaling is None and not config.serving.access_log:
            answer_directly(self._front.answer_directly)
        self._told, self._reports = 0, 0
        self._reporting = report_figures(config, self._figures)
        every_s = config.serving.plan_poll_every.total_seconds()
        self._following = asyncio.get_running_loop().create_task(self._follow(every_s))

    async def __call__(self, request: Request) -> Response:
        return await self._front.answer(request.scope, request.receive)

    async def prepare(self, plan_json: str) -> int:
        """Load and warm what a plan needs, off the request path; nothing changes for callers."""
        return await self._pool.prepare(ServingPlan.model_validate_json(plan_json))

    async def swap(self, model: str, number: int) -> int:
        """Serve a prepared plan; a replica that did not prepare it takes it from the store."""
        return await self._pool.swap(model, number)

    async def serves(self) -> dict[str, Hosting]:
        """Pooled model -> how it stands here."""
        return self._pool.hostings()

    async def flush(self, model: str) -> int:
        """Send all prediction events of a model; returns how many rows still wait."""
        return await self._pool.flush(model)

    async def drain(self) -> int:
        """Take no further request and send all prediction events; returns how many rows still wait."""
        await self._admission.close(
            lambda: sum(endpoint.in_flight for endpoint in self._pool.endpoints.values()), "the pool"
        )
        return await self._pool.flush()

    async def stats(self) -> dict[str, Any]:
        """Which models are in memory, and the process they are in."""
        return {"loaded": self._pool.loaded, "used": sorted(self._pool.endpoints)}

    def _endpoint(self, hosted: Hosted) -> Endpoint:
        return self._maker.make(
            hosted.model,
            access=Access(required=self._keys_required),
            on_demand=hosted,
            watch=lambda model: WatchedModel(model, hosted.work),
        )

    def _figures(self) -> list[tuple[str, list[Family]]]:
        since = -1 if self._reports % _ALL_EVERY == 0 else self._told
        self._reports += 1
        self._told, told = self._pool.families(since)
        return told

    async def _follow(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await self._admission.refresh()
                await self._pool.look()
            except Exception as error:  # whatever it is: a replica that stops asking would be stale for ever
                unforeseen = not isinstance(error, RaymlopsError)
                _log.warning("plans could not be followed, serving on: %r", error, exc_info=unforeseen)

    async def __del__(self) -> None:  # Serve awaits it at a graceful stop
        self._following.cancel()
        self._reporting.cancel()
        await self._pool.stop()


def pool_application(config: PlatformConfig, *, shape: str | None = None) -> serve.Application:
    """The pool; its route is the prefix of all models' routes, so that it gets every request without another route."""
    serving, pool = config.serving, config.serving.pool
    deployment = deployment_of(PoolReplica, serving, cpus=pool.cpus, replicas=pool.replicas, shape=shape)
    return deployment.bind(config)
