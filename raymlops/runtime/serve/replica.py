"""The Serve deployments: a model's endpoint, a candidate on trial, the gateway. Shells around the serving cores."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any, cast

import numpy as np
import pyarrow as pa
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from raymlops import runtime
from raymlops.config.platform import PlatformConfig
from raymlops.config.serving import AutoscalingConfig, ServingConfig
from raymlops.control.triggering.model_policies import ModelPolicies
from raymlops.errors import RaymlopsError
from raymlops.records.plans import ServingPlan, Trial
from raymlops.runtime.cluster.clients import AsyncActorProxy, metadata_stores
from raymlops.runtime.cluster.clocks import build_clock
from raymlops.runtime.cluster.memory_limit import limit_growth
from raymlops.runtime.cluster.names import MONITOR, RECONCILER
from raymlops.runtime.serve.endpoint_orders import reconciler_timeout_s
from raymlops.runtime.serve.grpc_ingress import Endpoints, start_grpc
from raymlops.runtime.serve.http_middleware import answer_directly
from raymlops.runtime.serve.internal_port import close_internal_port
from raymlops.runtime.serve.keys import require_keys
from raymlops.runtime.serve.late_console import LateConsole
from raymlops.runtime.serve.model_fetching import model_files
from raymlops.runtime.serve.serve_front import Front
from raymlops.serving.answering.event_log import EventLog
from raymlops.serving.endpoint import Endpoint
from raymlops.serving.front.endpoint_view import EndpointView
from raymlops.serving.front.gateway import Gateway
from raymlops.serving.front.operations import Operations
from raymlops.serving.plans.loader import Loader, load_version
from raymlops.serving.plans.slot import PlanFollower
from raymlops.serving.protocol.access import CLOSED, Access
from raymlops.serving.protocol.http import HttpReply, HttpRequest
from raymlops.serving.protocol.protocols import CandidateClient, Columns, Outputs

__all__ = [
    "SHAPE_VARIABLE",
    "candidate_application",
    "gateway_application",
    "model_application",
    "serve_runs",
    "start_serving",
]

_log = logging.getLogger(__name__)
close_internal_port()  # when a replica imports its class, before its servers start
_GRACE_S = 10.0
"""How long requests under way have to end where their replica is stopped."""
_POLL_S = 0.02
_SHED_AT_ONCE = 488
"""So many more requests reach a replica than it works on, so that it is the endpoint that answers 429."""
_HEAD = "node:__internal_head__"
"""The resource that Ray's head node alone has."""

SHAPE_VARIABLE = "RAYMLOPS_SHAPE"
"""Says in Serve's own record of an application how it was asked for; see ``control.reconcile.Wanted.shape``."""

_REPORT_S = 1.0
_REPORT_UNSEEN_S = 5.0
"""Where there is no metrics page: the monitor looks for lost events all the same."""
_REPORT_TIMEOUT_S = 10.0
"""How often a replica's figures are sent to the metrics page."""


class _MonitorSink:
    """Hands events and labels to the monitor actor."""

    def __init__(self) -> None:
        self._monitor = AsyncActorProxy(MONITOR, part="monitor")

    async def send(self, model: str, table: pa.Table, batch_id: str) -> None:
        await self._monitor.record_events(model, table, batch_id)

    async def record(self, model: str, table: pa.Table, batch_id: str) -> int:
        return int(await self._monitor.record_labels(model, table, batch_id))


class _CandidateHandle:
    """Reaches a candidate by its deployment's handle, which is looked up at the first request."""

    def __init__(self, model: str, version: int) -> None:
        self._application = f"candidate-{model}-{version}"
        self._finding: asyncio.Task[DeploymentHandle] | None = None

    async def infer(self, columns: Columns, deadline_s: float) -> Outputs:
        del deadline_s  # whoever asks cancels when it is over, and so the call
        if self._finding is None:
            # one look-up, whoever waits for it: it asks Serve's controller, and may hang
            self._finding = asyncio.create_task(asyncio.to_thread(serve.get_app_handle, self._application))
        try:
            handle: Any = await asyncio.shield(self._finding)
        except RayServeException:
            self._finding = None
            raise
        return cast("Outputs", await handle.infer.remote(dict(columns)))


class _Candidates:
    def client(self, model: str, version: int) -> CandidateClient:
        return _CandidateHandle(model, version)


class ModelReplica:
    """One replica of a model's endpoint.

    It serves the plan the store holds when it starts, the plans it is told to swap to, and those its poll finds.
    """

    async def __init__(self, model: str, config: PlatformConfig) -> None:  # type: ignore[misc]  # Serve awaits it
        self._model = model
        self._metadata = metadata_stores()
        sink = _MonitorSink()
        clock = build_clock(config)
        # asked for here, as neither a candidate nor the gateway reads features or imports what that takes
        features = await asyncio.to_thread(runtime.open_reader, config, clock=clock)
        loader = Loader(self._metadata.models, features, _Candidates(), model_files(config))
        keys_required = config.serving.keys_required or config.serving.keys_required_on(await asyncio.to_thread(_host))
        self._endpoint = Endpoint(
            model,
            loader,
            clock=clock,
            config=config.serving,
            events=EventLog(model, sink, config.serving.events),
            labels=sink,
            access=Access(required=keys_required),
        )
        self._front = Front(self._endpoint, config.serving)
        self._keys_required = keys_required
        every_s = config.serving.plan_poll_every.total_seconds()
        self._follower = PlanFollower(self._endpoint.slot, self._metadata.plans, every_s, also=self._refresh_keys)
        await self._follower.refresh()
        await self._refresh_keys()
        self._endpoint.start()
        self._follower.start()
        # Serve scales by the requests that it counts itself, and logs those that it sees
        if config.serving.autoscaling is None and not config.serving.access_log:
            answer_directly(self._answer_directly)
        every_s = _REPORT_S if config.monitoring.metrics.port is not None else _REPORT_UNSEEN_S
        self._reporting = asyncio.get_running_loop().create_task(self._report(every_s))

    async def __call__(self, request: Request) -> Response:
        return await self._front.answer(request.scope, request.receive)

    async def _answer_directly(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._front.answer(scope, receive)
        await response(scope, receive, send)

    async def answer(self, request: HttpRequest) -> HttpReply:
        """Answer what came by gRPC."""
        return await self._endpoint.handle(request)

    async def prepare(self, plan_json: str) -> int:
        """Load and warm what a plan needs, off the request path; nothing changes for callers."""
        return await self._follower.prepare(ServingPlan.model_validate_json(plan_json))

    async def swap(self, number: int) -> int:
        """Serve a prepared plan; a replica that did not prepare it takes it from the store."""
        return await self._follower.swap(number)

    async def serves(self) -> int:
        """Number of the plan it serves; 0 where none is loaded."""
        return self._endpoint.number

    async def flush(self) -> int:
        """Send all prediction events; returns how many rows still wait."""
        return await self._endpoint.flush()

    async def drain(self) -> int:
        """Take no further request and send all prediction events; returns how many rows still wait."""
        self._keys_required = False  # no refresh of the keys lets anybody in again
        self._endpoint.admit(CLOSED)
        try:
            async with asyncio.timeout(_GRACE_S):
                while self._endpoint.stats.in_flight:
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            _log.warning("requests of %s are under way after %g s", self._model, _GRACE_S)
        return await self._endpoint.flush()

    async def stats(self) -> dict[str, Any]:
        """Figures of this replica since its start."""
        stats = self._endpoint.stats
        return {
            **stats._asdict(),
            "breakers": dict(stats.breakers),
            "events": None if stats.events is None else stats.events._asdict(),
        }

    async def _refresh_keys(self) -> None:
        if self._keys_required:
            self._endpoint.admit(Access(await asyncio.to_thread(self._metadata.keys.list_keys)))

    async def _report(self, every_s: float) -> None:
        """Send the figures to the monitor again and again; one report that is lost is made up by the next."""
        figures, replica = AsyncActorProxy(MONITOR, part="figures"), serve.get_replica_context().replica_id.unique_id
        while True:
            await asyncio.sleep(every_s)
            try:
                async with asyncio.timeout(_REPORT_TIMEOUT_S):
                    await figures.record(self._model, replica, self._endpoint.families())
            except Exception as error:  # whatever it is: a replica that no longer reports would lose events unseen
                unforeseen = not isinstance(error, RaymlopsError | TimeoutError)
                _log.log(
                    logging.WARNING if unforeseen else logging.DEBUG,
                    "figures of %s could not be sent: %r",
                    self._model,
                    error,
                    exc_info=unforeseen,
                )

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


class GatewayReplica:
    """What no endpoint answers."""

    async def __init__(self, config: PlatformConfig) -> None:  # type: ignore[misc]  # Serve awaits it
        serving = config.serving
        metadata: Any = metadata_stores(kind=AsyncActorProxy)
        operator: Any = AsyncActorProxy(RECONCILER, part="operator")
        reconciler: Any = AsyncActorProxy(RECONCILER, part="reconciler")
        self._key_store = metadata.keys
        required = serving.keys_required or serving.keys_required_on(await asyncio.to_thread(_host))
        self._console = LateConsole(config)
        self._gateway = Gateway(
            version("raymlops"),
            metadata.plans,
            EndpointView(reconciler),
            Operations(metadata, operator, reconciler_timeout_s(config), _trial_deadlines(config)),
            endpoints=Endpoints(metadata.plans, serving.deadline.total_seconds()),
            config=serving,
            pages=self._console,
            access=Access(required=required),
        )
        self._front = Front(self._gateway, serving)
        self._keys: asyncio.Task[None] | None = None
        if required:
            self._keys = asyncio.create_task(self._follow_keys(serving.plan_poll_every.total_seconds()))
        self._grpc = await start_grpc(serving, self._gateway, metadata.plans)

    async def __call__(self, request: Request) -> Response:
        return await self._front.answer(request.scope, request.receive)

    async def _follow_keys(self, every_s: float) -> None:
        while True:
            try:
                self._gateway.admit(Access(await self._key_store.list_keys()))
            except Exception as error:  # whatever it is: a gateway that stops asking would know no new key for ever
                _log.warning("keys could not be read, going on with those that are known: %r", error)
            await asyncio.sleep(every_s)

    async def __del__(self) -> None:  # Serve awaits it at a graceful stop
        if self._keys is not None:
            self._keys.cancel()
        if self._grpc is not None:
            await self._grpc.stop(_GRACE_S)
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


def _host() -> str:
    """The address that Serve is bound to: a Serve that somebody else started keeps its own, whatever is configured."""
    client: Any = _get_global_client()
    return str(client.http_config.host)


def serve_runs() -> bool:
    """Whether the cluster has a Serve that somebody started."""
    return _get_global_client(raise_if_no_controller_running=False) is not None


def start_serving(config: PlatformConfig) -> None:
    """Start Serve on the configured port, and the gateway; a repeat finds them running.

    Raises:
        ConfigError: Serve runs already, where strangers may call, and there is no key.
    """
    serve.start(http_options={"host": config.serving.host, "port": config.serving.port})
    require_keys(config, _host())
    if "gateway" not in serve.status().applications:
        serve.run(gateway_application(config), name="gateway", route_prefix="/")
