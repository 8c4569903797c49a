"""The sources of the pages, each a Protocol as narrow as the pages need. Every call may raise ``RaymlopsError``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from raymlops.clock import Clock
from raymlops.config.platform import PlatformConfig
from raymlops.control.loop.explaining.status import ControlStatus
from raymlops.metadata.stores import Metadata
from raymlops.monitoring.report.monitor_report import MonitorReport
from raymlops.records.people.discovery import FeatureDescription, FeatureMatch
from raymlops.records.serving.endpoints import EndpointStatus

if TYPE_CHECKING:
    from raymlops.control.loop.explaining.why import Why

__all__ = [
    "ActorView",
    "ClusterView",
    "ControlView",
    "EndpointStatuses",
    "FeaturesView",
    "LaboratoryView",
    "LineageView",
    "ModelCards",
    "NodeView",
    "ReportView",
    "RunLogs",
    "Sources",
]


class ControlView(Protocol):
    """The controller, as pages read it."""

    def status(self) -> Sequence[ControlStatus]:
        """Status of each model, as of its last turn."""
        ...

    def why(self, model: str, at: datetime | None = None) -> Why:
        """Verdict and reasons at an instant (default: now); raises ``NotFoundError`` where there was no plan."""
        ...


class EndpointStatuses(Protocol):
    """Statuses of endpoints; the reconciler implements it."""

    def statuses(self) -> Sequence[EndpointStatus]:
        """How each planned endpoint was at the last look."""
        ...


class ReportView(Protocol):
    """Reports of models; the monitor implements it."""

    def report(self, model: str, start: datetime | None = None, end: datetime | None = None) -> MonitorReport:
        """Windows of a model, their drift and performance."""
        ...


class FeaturesView(Protocol):
    """What is applied in an environment, and what is known about it; ``None``: the platform's own.

    Each raises ``NotFoundError`` for an environment that has no features.
    """

    def environments(self) -> list[str]:
        """The other environments that have features, by name."""
        ...

    def listing(self, environment: str | None = None) -> list[dict[str, Any]]:
        """What is applied, entities first."""
        ...

    def search(self, text: str = "", environment: str | None = None) -> list[FeatureMatch]:
        """Definitions that have all the words of a text in them."""
        ...

    def describe(self, name: str, environment: str | None = None) -> FeatureDescription:
        """One definition with statistics, freshness and lineage; raises ``NotFoundError``."""
        ...


class RunLogs(Protocol):
    """Logs of runs."""

    def logs(self, run_id: str, step: str | None = None) -> str:
        """Log of one step, or of the job and every step; raises ``NotFoundError`` where there is none."""
        ...


class ModelCards(Protocol):
    """Cards of versions that came out of runs."""

    def card(self, name: str, version: int) -> tuple[dict[str, Any], str]:
        """A card, as JSON values and as a page; raises ``NotFoundError`` where there is none."""
        ...


class LaboratoryView(Protocol):
    """Reports of the laboratory about policies."""

    def laboratory(self, model: str) -> Mapping[str, Any]:
        """The figures of the newest report about a model, with ``made_at``; raises ``NotFoundError`` where none is."""
        ...


class LineageView(Protocol):
    """Lineage of versions and of answers."""

    def of_version(self, name: str, version: int) -> dict[str, Any]:
        """Lineage of a version; raises ``NotFoundError``."""
        ...

    def of_request(self, request_id: str, model: str | None = None) -> dict[str, Any]:
        """Everything behind the answer to a request; raises ``NotFoundError``."""
        ...


@dataclass(frozen=True)
class NodeView:
    """One node of the cluster.

    Attributes:
        name: Its address.
        alive: Whether the cluster counts it in.
        head: Whether the control actors live there.
        resources: Name -> how much of it the node has: ``CPU``, ``memory`` in bytes ...
    """

    name: str
    alive: bool
    head: bool
    resources: Mapping[str, float]


@dataclass(frozen=True)
class ActorView:
    """One control actor.

    Attributes:
        name: Its name.
        answers: Whether it answered just now.
        problem: Why not.
    """

    name: str
    answers: bool
    problem: str = ""


class ClusterView(Protocol):
    """The cluster that the platform runs on."""

    def nodes(self) -> Sequence[NodeView]:
        """All nodes."""
        ...

    def actors(self) -> Sequence[ActorView]:
        """The control actors, and whether each answers."""
        ...

    def free_cpus(self) -> Mapping[str, float]:
        """Node -> free logical CPUs."""
        ...


@dataclass(frozen=True)
class Sources:
    """Everything that the pages read.

    Attributes:
        metadata: The stores.
        control: The controller.
        endpoints: The reconciler.
        monitor: The monitor.
        features: The catalog of features.
        runs: Logs of runs.
        cards: Cards of models.
        laboratory: Reports about policies.
        lineage: Lineage of versions and of requests.
        cluster: Nodes and actors.
        config: The settings in force.
        setting_sources: Gives the source of each setting.
        clock: The platform's clock.
        version: Of RayMLOps.
    """

    metadata: Metadata
    control: ControlView
    endpoints: EndpointStatuses
    monitor: ReportView
    features: FeaturesView
    runs: RunLogs
    cards: ModelCards
    laboratory: LaboratoryView
    lineage: LineageView
    cluster: ClusterView
    config: PlatformConfig
    setting_sources: Callable[[], Mapping[str, str]]
    clock: Clock
    version: str
