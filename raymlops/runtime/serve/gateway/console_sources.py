"""The console's sources on this cluster: actors, looked up at each call, so that pages survive their restarts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import cached_property, partial
from importlib.metadata import version
from typing import Any, cast

import ray

from raymlops.config.platform import PlatformConfig
from raymlops.console.sources import ActorView, NodeView, Sources
from raymlops.errors import ConfigError, NotFoundError, UnavailableError
from raymlops.features.replication.environments import environments_in
from raymlops.laboratory.report.kept import read_report, report_path
from raymlops.metadata import Metadata
from raymlops.monitoring.events.event_tables import DeltaEventTables
from raymlops.pipelines import StepLogs
from raymlops.pipelines.step_log import read_end
from raymlops.records.names import check_name
from raymlops.records.people.discovery import FeatureDescription, FeatureMatch
from raymlops.runtime.cluster.clients import NAMESPACE, ActorProxy
from raymlops.runtime.cluster.deadlines import within
from raymlops.runtime.cluster.free_cpus import free_by_node
from raymlops.runtime.cluster.names import CONTROLLER, FEATURES, HEAD, METADATA, MONITOR, RECONCILER
from raymlops.runtime.cluster.platform_clock import build_clock
from raymlops.runtime.explain.feature_catalog import FeatureCatalog
from raymlops.runtime.explain.lineage import Lineages
from raymlops.runtime.explain.model_cards import model_card
from raymlops.runtime.nodes.feature_readers import FeatureReaders
from raymlops.runtime.supervision.home_note import noted_sources

__all__ = ["cluster_sources"]

_CALL_S = 10.0
"""Deadline of one call; that of a page is shorter, and does not end the call."""
_LEDGER_S = 30.0
"""Deadline of a call to the ledger: a check of its hashes reads all of it."""
_LOOK_S = 3.0
_LOG_BYTES = 400_000
"""Bytes that are read from the end of each log: a page shows 100,000 characters, and logs may be larger than memory."""
_CONTROL_ACTORS = (METADATA, RECONCILER, FEATURES, MONITOR, CONTROLLER)


def cluster_sources(config: PlatformConfig) -> Sources:
    """The sources of the platform that this process belongs to."""
    slow = {"ledger": _LEDGER_S}
    stores = (store.name for store in fields(Metadata))
    metadata = Metadata(**{name: _Lately(METADATA, name, slow.get(name, _CALL_S)) for name in stores})
    files = _Files(config, metadata)
    return Sources(
        metadata=metadata,
        control=cast("Any", _Lately(CONTROLLER)),
        endpoints=cast("Any", _Lately(RECONCILER, "reconciler")),
        monitor=cast("Any", _Lately(MONITOR, "monitor")),
        features=_Features(config, metadata),
        runs=files,
        cards=files,
        laboratory=files,
        lineage=Lineages(metadata, DeltaEventTables(config.home / "monitor")),
        cluster=_Cluster(),
        config=config,
        setting_sources=partial(noted_sources, config.home),
        clock=build_clock(config),
        version=version("raymlops"),
    )


class _Lately:
    """An actor that is looked up when it is called: it may start later than the gateway, and be another one by then."""

    def __init__(self, name: str, part: str | None = None, timeout_s: float = _CALL_S) -> None:
        self._of = name, timeout_s, part

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise AttributeError(method)

        def call(*args: object, **kwargs: object) -> Any:
            # looked up within the call: it asks Ray, and may hang
            return getattr(ActorProxy(*self._of), method)(*args, **kwargs)

        return call


class _Features:
    """The catalog of features, opened at its first use: the gateway needs no reader otherwise."""

    def __init__(self, config: PlatformConfig, metadata: Metadata) -> None:
        self._config = config
        self._metadata = metadata

    def environments(self) -> list[str]:
        """The other environments that have features."""
        return environments_in(self._config.feature_place())

    def listing(self, environment: str | None = None) -> list[dict[str, Any]]:
        """What is applied."""
        return self._catalog(environment).listing()

    def search(self, text: str = "", environment: str | None = None) -> list[FeatureMatch]:
        """Definitions that have all the words of a text in them."""
        return self._catalog(environment).search(text, None, None)

    def describe(self, name: str, environment: str | None = None) -> FeatureDescription:
        """One definition."""
        return self._catalog(environment).describe(name)

    def _catalog(self, environment: str | None) -> FeatureCatalog:
        if environment is not None and environment not in self.environments():
            raise NotFoundError(f"environment {environment!r:.100} has no features of its own")
        events = self._config.home / "monitor"
        return FeatureCatalog(self._readers.of(environment), self._metadata, events, environment)

    @cached_property
    def _readers(self) -> FeatureReaders:
        return FeatureReaders(self._config, clock=build_clock(self._config))


class _Files:
    """Logs, cards and reports of the laboratory, which lie in the home."""

    def __init__(self, config: PlatformConfig, metadata: Metadata) -> None:
        self._config = config
        self._metadata = metadata

    def logs(self, run_id: str, step: str | None = None) -> str:
        """The ends of the logs of a run, as they are in the home."""
        self._metadata.runs.get_run(run_id)  # refuses a text that is no id, and so no directory
        directory = self._config.home / "runs" / run_id
        kept = StepLogs(directory / "logs")
        if step is not None:
            return kept.read(step, last_bytes=_LOG_BYTES)
        driver = directory / "driver.log"
        job = read_end(driver, _LOG_BYTES) if driver.exists() else ""
        return f"{job}{kept.read(last_bytes=_LOG_BYTES)}"

    def card(self, name: str, version: int) -> tuple[dict[str, Any], str]:
        """The card of a version."""
        return model_card(self._config.home, self._metadata, name, version)

    def laboratory(self, model: str) -> dict[str, Any]:
        """The figures of the laboratory's newest report about a model."""
        try:
            check_name("model", model)
        except ConfigError as error:  # a text that is no name could be the path of another file
            raise NotFoundError(f"there is no model {model!r:.200}") from error
        return read_report(report_path(self._config.home, model))


class _Cluster:
    """Nodes and actors, as Ray reports them."""

    def __init__(self) -> None:
        self._asking = ThreadPoolExecutor(len(_CONTROL_ACTORS), "console-actors")

    def nodes(self) -> Sequence[NodeView]:
        """All nodes."""
        found: Any = within(_CALL_S, "asking Ray for its nodes", ray.nodes)
        return [
            NodeView(
                name=str(node["NodeManagerAddress"]),
                alive=bool(node["Alive"]),
                head=HEAD in node["Resources"],
                resources={name: float(amount) for name, amount in node["Resources"].items() if ":" not in name},
            )
            for node in found
        ]

    def actors(self) -> Sequence[ActorView]:
        """The control actors, asked side by side."""
        return list(self._asking.map(_look, _CONTROL_ACTORS))

    def free_cpus(self) -> Mapping[str, float]:
        """Node -> free logical CPUs."""
        return within(_CALL_S, "asking for free CPUs", free_by_node)


def _look(name: str) -> ActorView:
    try:
        within(_LOOK_S, f"asking the {name} actor", partial(_ready, name))
    except (UnavailableError, TimeoutError) as error:
        return ActorView(name, answers=False, problem=str(error))
    return ActorView(name, answers=True)


def _ready(name: str) -> None:
    try:
        ray.get(ray.get_actor(name, namespace=NAMESPACE).__ray_ready__.remote(), timeout=_LOOK_S)
    except ValueError as error:
        raise UnavailableError(f"the {name} actor is not running") from error
    except ray.exceptions.RayError as error:
        raise UnavailableError(f"the {name} actor does not answer: {type(error).__name__}") from error
