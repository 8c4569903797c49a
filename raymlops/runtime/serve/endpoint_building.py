"""Endpoints as replicas have them: with this cluster's stores, features, events, candidates and figures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Self, cast

import pyarrow as pa
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from raymlops import runtime
from raymlops.clock import Clock
from raymlops.config.platform import PlatformConfig
from raymlops.errors import RaymlopsError
from raymlops.flavors.protocol import Columns, Outputs
from raymlops.runtime.cluster.clients import AsyncActorProxy, metadata_stores
from raymlops.runtime.cluster.names import MONITOR
from raymlops.runtime.cluster.platform_clock import build_clock
from raymlops.runtime.nodes.model_fetching import model_files
from raymlops.serving.answering.event_log import EventLog
from raymlops.serving.answering.metrics import Family
from raymlops.serving.endpoint import Endpoint, OnDemand
from raymlops.serving.models.model import Model
from raymlops.serving.plans.loader import Loader
from raymlops.serving.protocol.access import Access
from raymlops.serving.protocol.protocols import CandidateClient, FeaturePlans
from raymlops.serving.traced import TracedEndpoint
from raymlops.tracing import open_tracer

__all__ = ["EndpointMaker", "host_of_serve", "keys_required", "report_figures"]

_log = logging.getLogger(__name__)

_REPORT_S = 1.0
_REPORT_UNSEEN_S = 5.0
"""Seconds between reports where there is no metrics page: the monitor looks for lost events all the same."""
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
        del deadline_s  # the caller cancels it at the end, and the call with it
        if self._finding is None:
            # one look-up for all callers: it asks Serve's controller, and may hang
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


class EndpointMaker:
    """Makes the endpoints of one process; they share what costs memory or a connection.

    Args:
        config: The platform's configuration.
        features: Of this node.
        clock: The platform's.
    """

    def __init__(self, config: PlatformConfig, features: FeaturePlans, clock: Clock) -> None:
        self._config = config
        self._features = features
        self._clock = clock
        self._models = metadata_stores().models
        self._sink = _MonitorSink()
        self._candidates = _Candidates()
        self._files = model_files(config)
        self._kind: Callable[..., Endpoint] = Endpoint
        if config.tracing.enabled:
            sample = config.tracing.sample
            self._kind = partial(TracedEndpoint, tracer=open_tracer(config.tracing), sample=sample)

    @classmethod
    async def create(cls, config: PlatformConfig) -> Self:
        """The maker of this process; opens the features of this node."""
        clock = await asyncio.to_thread(build_clock, config)  # on another node than the head it is asked for
        # asked for here, as neither a candidate nor the gateway reads features or imports what that takes
        readers = await asyncio.to_thread(runtime.FeatureReaders, config, clock=clock)
        return cls(config, readers, clock)

    def make(
        self,
        model: str,
        *,
        access: Access,
        on_demand: OnDemand | None = None,
        watch: Callable[[Model], Model] | None = None,
    ) -> Endpoint:
        """An endpoint that serves nothing yet.

        Args:
            model: The model's name.
            access: Decides about callers.
            on_demand: Asked where nothing is loaded.
            watch: Put around each loaded model.
        """
        serving = self._config.serving
        return self._kind(
            model,
            Loader(self._models, self._features, self._candidates, self._files, watch),
            clock=self._clock,
            config=serving,
            events=EventLog(model, self._sink, serving.events),
            labels=self._sink,
            access=access,
            on_demand=on_demand,
        )


def host_of_serve() -> str:
    """The address that Serve is bound to: a Serve that was there before keeps its own, whatever is configured."""
    client: Any = _get_global_client()
    return str(client.http_config.host)


async def keys_required(config: PlatformConfig) -> bool:
    """Whether callers need an API key, by the configuration or by the address that Serve is bound to."""
    serving = config.serving
    return serving.keys_required or serving.keys_required_on(await asyncio.to_thread(host_of_serve))


def report_figures(
    config: PlatformConfig, figures: Callable[[], Iterable[tuple[str, list[Family]]]]
) -> asyncio.Task[None]:
    """Send figures of models to the monitor again and again, on the running loop, until the task is cancelled.

    Args:
        config: Says how often.
        figures: Model and its figures, as pairs; called on the event loop.
    """
    every_s = _REPORT_S if config.monitoring.metrics.port is not None else _REPORT_UNSEEN_S
    replica = serve.get_replica_context().replica_id.unique_id
    return asyncio.get_running_loop().create_task(_report(every_s, replica, figures))


async def _report(every_s: float, replica: str, figures: Callable[[], Iterable[tuple[str, list[Family]]]]) -> None:
    monitor = AsyncActorProxy(MONITOR, part="figures")
    while True:
        await asyncio.sleep(every_s)
        try:
            async with asyncio.timeout(_REPORT_TIMEOUT_S):
                for model, families in figures():
                    await monitor.record(model, replica, families)
        except Exception as error:  # whatever it is: a replica that no longer reports would lose events unseen
            unforeseen = not isinstance(error, RaymlopsError | TimeoutError)
            level = logging.WARNING if unforeseen else logging.DEBUG
            # one report that is lost is made up by the next
            _log.log(level, "figures could not be sent: %r", error, exc_info=unforeseen)
