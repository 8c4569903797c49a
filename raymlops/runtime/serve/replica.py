"""The Serve deployments: a model's endpoint, a candidate on trial, the gateway. Shells around the serving cores."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import LoggingConfig
from starlette.requests import Request
from starlette.responses import Response

from raymlops.config.platform import PlatformConfig
from raymlops.config.serving import AutoscalingConfig, ServingConfig
from raymlops.control.reconciling.reconcile import Wanted
from raymlops.flavors.protocol import Outputs
from raymlops.records.plans import ServingPlan, Trial
from raymlops.runtime.cluster.clients import metadata_stores
from raymlops.runtime.cluster.memory_limit import limit_growth
from raymlops.runtime.cluster.names import SHAPE_VARIABLE
from raymlops.runtime.serve.admission import Admission
from raymlops.runtime.serve.endpoint_building import (
    EndpointMaker,
    host_of_serve,
    keys_required,
    report_figures,
)
from raymlops.runtime.serve.gateway_replica import GatewayReplica
from raymlops.runtime.serve.http_middleware import answer_directly
from raymlops.runtime.serve.internal_port import close_internal_port
from raymlops.runtime.serve.keys import require_keys
from raymlops.runtime.serve.model_fetching import model_files
from raymlops.runtime.serve.pool_replica import PoolReplica
from raymlops.runtime.serve.serve_front import Front
from raymlops.serving.answering.metrics import Family
from raymlops.serving.plans.loader import load_version
from raymlops.serving.plans.slot import PlanFollower
from raymlops.serving.protocol.access import Access
from raymlops.serving.protocol.http import HttpReply, HttpRequest

__all__ = [
    "application_of",
    "candidate_application",
    "gateway_application",
    "model_application",
    "pool_application",
    "serve_runs",
    "start_serving",
]

_log = logging.getLogger(__name__)
close_internal_port()  # when a replica imports its class, before its servers start
_SHED_AT_ONCE = 488
"""So many more requests reach a replica than it works on, so that it is the endpoint that answers 429."""
_HEAD = "node:__internal_head__"
"""The resource that Ray's head node alone has."""


class ModelReplica:
    """One replica of a model's endpoint.

    It serves the plan the store holds when it starts, the plans it is told to swap to, and those its poll finds.
    """

    async def __init__(self, model: str, config: PlatformConfig) -> None:  # type: ignore[misc]  # Serve awaits it
        self._model = model
        self._metadata = metadata_stores()
        required = await keys_required(config)
        maker = await EndpointMaker.create(config)
        self._endpoint = maker.make(model, access=Access(required=required))
        replica = serve.get_replica_context().replica_id.unique_id
        self._admission = Admission(self._endpoint.admit, self._metadata, required=required, replica=replica)
        self._front = Front(self._endpoint, config.serving)
        every_s = config.serving.plan_poll_every.total_seconds()
        self._follower = PlanFollower(self._endpoint.slot, self._metadata.plans, every_s, also=self._admission.refresh)
        await self._follower.refresh()
        await self._admission.refresh()
        self._endpoint.start()
        self._follower.start()
        # Serve scales by the requests that it counts itself, and logs those that it sees
        if config.serving.autoscaling is None and not config.serving.access_log:
            answer_directly(self._front.answer_directly)
        self._reporting = report_figures(config, self._figures)

    async def __call__(self, request: Request) -> Response:
        return await self._front.answer(request.scope, request.receive)

    async def answer(self, request: HttpRequest) -> HttpReply:
        """Answer what came by gRPC."""
        return await self._endpoint.handle(request)

    async def prepare(self, plan_json: str) -> int:
        """Load and warm what a plan needs, off the request path; nothing changes for callers."""
        return await self._follower.prepare(ServingPlan.model_validate_json(plan_json))

    async def swap(self, model: str, number: int) -> int:
        """Serve a prepared plan; a replica that did not prepare it takes it from the store."""
        del model
        return await self._follower.swap(number)

    async def serves(self) -> int:
        """Number of the plan it serves; 0 where none is loaded."""
        return self._endpoint.number

    async def flush(self, model: str) -> int:
        """Send all prediction events; returns how many rows still wait."""
        del model
        return await self._endpoint.flush()

    async def drain(self) -> int:
        """Take no further request and send all prediction events; returns how many rows still wait."""
        await self._admission.close(lambda: self._endpoint.in_flight, self._model)
        return await self._endpoint.flush()

    async def stats(self) -> dict[str, Any]:
        """Figures of this replica since its start."""
        stats = self._endpoint.stats
        return {
            **stats._asdict(),
            "breakers": dict(stats.breakers),
            "events": None if stats.events is None else stats.events._asdict(),
        }

    def _figures(self) -> list[tuple[str, list[Family]]]:
        return [(self._model, self._endpoint.families())]

    async def __del__(self) -> None:  # Serve awaits it at a graceful stop
        await self._follower.stop()
        self._reporting.cancel()
        await self._endpoint.stop()


class CandidateReplica:
    """One version on trial, in a process of its own."""

    def __init__(self, config: PlatformConfig, model: str, version: int, memory_bytes: int) -> None:
        self._version = version
        self._loaded = load_version(metadata_stores().models, model, version, model_files(config))
        limit_growth(memory_bytes)

    async def serves(self) -> int:
        """The version it answers with."""
        return self._version

    async def infer(self, columns: dict[str, np.ndarray[Any, Any]]) -> Outputs:
        """Predict N rows."""
        return self._loaded.model.predict(columns)


def _deployment(
    kind: type,
    config: ServingConfig,
    *,
    cpus: float,
    replicas: int = 1,
    scaling: AutoscalingConfig | None = None,
    shape: str | None = None,
) -> serve.Deployment:
    said = {} if shape is None else {SHAPE_VARIABLE: shape}
    options = {"num_cpus": cpus, "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1", **said}}}
    level = "INFO" if config.access_log else "WARNING"
    number: dict[str, Any] = {"num_replicas": replicas}
    if scaling is not None:
        wanted = {
            "min_replicas": replicas,
            "max_replicas": max(replicas, scaling.max_replicas),
            "target_ongoing_requests": scaling.target_ongoing_requests,
            "upscale_delay_s": scaling.upscale_delay.total_seconds(),
            "downscale_delay_s": scaling.downscale_delay.total_seconds(),
        }
        number = {"autoscaling_config": wanted}
    return serve.deployment(kind).options(
        name=kind.__name__,
        max_ongoing_requests=config.max_in_flight + _SHED_AT_ONCE,
        ray_actor_options=options,
        logging_config=LoggingConfig(log_level=level, enable_access_log=config.access_log),
        **number,
    )


def model_application(
    config: PlatformConfig, model: str, replicas: int, *, shape: str | None = None
) -> serve.Application:
    """The endpoint of one model; ``shape`` is what the reconciler knows it by."""
    serving = config.serving
    deployment = _deployment(
        ModelReplica, serving, cpus=serving.replica_cpus, replicas=replicas, scaling=serving.autoscaling, shape=shape
    )
    return deployment.bind(model, config)


def pool_application(config: PlatformConfig, *, shape: str | None = None) -> serve.Application:
    """The pool; its route is the beginning of those of all models, so that what has no other comes to it."""
    serving, pool = config.serving, config.serving.pool
    deployment = _deployment(PoolReplica, serving, cpus=pool.cpus, replicas=pool.replicas, shape=shape)
    return deployment.bind(config)


def candidate_application(
    config: PlatformConfig, model: str, trial: Trial, *, shape: str | None = None
) -> serve.Application:
    """One version on trial, with resources of its own; it has no route and is reached by handle."""
    candidate = config.serving.candidate
    deployment = _deployment(CandidateReplica, config.serving, cpus=trial.cpus or candidate.cpus, shape=shape)
    return deployment.bind(config, model, trial.version, trial.memory_bytes or candidate.memory_bytes)


def gateway_application(config: PlatformConfig) -> serve.Application:
    """Server metadata, health and API description; on the head node, for the gRPC port has one address."""
    deployment = _deployment(GatewayReplica, config.serving, cpus=0.0)
    on_head = {**(deployment.ray_actor_options or {}), "resources": {_HEAD: 0.001}}
    return deployment.options(ray_actor_options=on_head).bind(config)


def application_of(config: PlatformConfig, wanted: Wanted) -> serve.Application:
    """The application that the reconciler wants: the pool, a model's endpoint or a candidate."""
    if wanted.pooled:
        return pool_application(config, shape=wanted.shape)
    if wanted.trial is None:
        return model_application(config, wanted.model, wanted.replicas, shape=wanted.shape)
    return candidate_application(config, wanted.model, wanted.trial, shape=wanted.shape)


def serve_runs() -> bool:
    """Whether the cluster has a Serve that somebody started."""
    return _get_global_client(raise_if_no_controller_running=False) is not None


def start_serving(config: PlatformConfig) -> None:
    """Start Serve on the configured port, and the gateway; a repeat finds them running.

    Raises:
        ConfigError: Serve runs already, where strangers may call, and there is no key.
    """
    serve.start(http_options={"host": config.serving.host, "port": config.serving.port})
    require_keys(config, host_of_serve())
    if "gateway" not in serve.status().applications:
        serve.run(gateway_application(config), name="gateway", route_prefix="/")
