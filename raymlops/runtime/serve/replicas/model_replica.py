"""The Serve deployments of one model: its endpoint, and a candidate on trial. Shells around the serving cores."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from raymlops.config.platform import PlatformConfig
from raymlops.flavors.protocol import Outputs
from raymlops.records.plans import ServingPlan, Trial
from raymlops.runtime.cluster.clients import metadata_stores
from raymlops.runtime.cluster.memory_limit import limit_growth
from raymlops.runtime.nodes.model_fetching import model_files
from raymlops.runtime.serve.deployments import deployment_of
from raymlops.runtime.serve.endpoint_building import (
    EndpointMaker,
    keys_required,
    report_figures,
)
from raymlops.runtime.serve.http_middleware import answer_directly
from raymlops.runtime.serve.internal_port import close_internal_port
from raymlops.runtime.serve.replicas.admission import Admission
from raymlops.runtime.serve.serve_front import Front
from raymlops.serving.answering.metrics import Family
from raymlops.serving.plans.loader import load_version
from raymlops.serving.plans.slot import PlanFollower
from raymlops.serving.protocol.access import Access

__all__ = [
    "candidate_application",
    "model_application",
]

_log = logging.getLogger(__name__)
close_internal_port()  # when a replica imports its class, before its servers start


class ModelReplica:
    """One replica of a model's endpoint.

    It serves the plan in the store when it starts, then the plans of swap orders, and those that its poll finds.
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


def model_application(
    config: PlatformConfig, model: str, replicas: int, *, shape: str | None = None
) -> serve.Application:
    """The endpoint of one model; ``shape`` is what the reconciler knows it by."""
    serving = config.serving
    deployment = deployment_of(
        ModelReplica, serving, cpus=serving.replica_cpus, replicas=replicas, scaling=serving.autoscaling, shape=shape
    )
    return deployment.bind(model, config)


def candidate_application(
    config: PlatformConfig, model: str, trial: Trial, *, shape: str | None = None
) -> serve.Application:
    """A version on trial, with resources of its own; it has no route and is reached by handle."""
    candidate = config.serving.candidate
    cpus = trial.cpus or candidate.cpus
    deployment = deployment_of(CandidateReplica, config.serving, cpus=cpus, shape=shape, called_by_http=False)
    return deployment.bind(config, model, trial.version, trial.memory_bytes or candidate.memory_bytes)
