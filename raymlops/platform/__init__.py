"""The platform as a user holds it: each of its subjects is what does the work.

Example::

    import raymlops as rml

    with rml.connect() as platform:
        platform.apply(customer, spending, churn_features)
        platform.features.ingest("spending", table)
        version = platform.models.register("churn", estimator, example=X)
        platform.endpoints.deploy("churn", version.version, features="churn_features")
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from raymlops import runtime
from raymlops.config.platform import PlatformConfig
from raymlops.config.reading.loader import load_config
from raymlops.platform.features import Features
from raymlops.platform.models import Models
from raymlops.platform.operations import Control, Labels, Ledger, Monitor
from raymlops.records.features import ApplyReport

if TYPE_CHECKING:
    from raymlops.clock import Clock
    from raymlops.features import Definition, FeatureReader
    from raymlops.metadata import Metadata
    from raymlops.metadata.garbage import GarbageReport

__all__ = ["Platform", "connect"]

_log = logging.getLogger(__name__)


def connect(
    address: str | None = None,
    config: PlatformConfig | Path | str | None = None,
    *,
    start: bool = True,
    tell: Callable[[str], None] | None = None,
) -> Platform:
    """Attach to the platform, or start one on this machine.

    Args:
        address: ``host:port`` of a foreign Ray cluster; left out, ``cluster.address``, or the
            cluster noted in the home, or the one that ``RAY_ADDRESS`` names, or a new one on this machine.
        config: The configuration, or the file that holds it; left out, the defaults and ``RAYMLOPS_*``. A platform
            that runs keeps the one it was started with.
        start: Whether to start a platform where none runs.
        tell: Called with each stage of a start; left out, a start is logged.

    Returns:
        The platform, a context manager; ``close`` stops what this call started.

    Raises:
        ConfigError: A port is taken, the disk is full, versions differ: nothing is left running.
        UnavailableError: The cluster does not answer, or did not come up in time.
    """
    settings = config if isinstance(config, PlatformConfig) else load_config(config)
    session = runtime.open_session(settings, address, start=start, tell=tell or _log_start)
    try:
        metadata = runtime.metadata_stores(session.config.cluster.call_timeout.total_seconds())
        return Platform(session, metadata, runtime.build_clock(session.config))
    except BaseException:
        session.close()
        raise


def _log_start(stage: str) -> None:
    _log.warning("starting the platform: %s", stage)


class Platform:
    """Everything the platform does, by subject. Thread-safe.

    A subject is made when it is first asked for: a process that lists runs does not import what serves models.

    Attributes:
        environment: Whose features are applied, written and read; ``None``: the platform's own.
        metadata: The stores, as the platform itself uses them.
        config: What the platform was started with.
        clock: Its clock.
        url: Where the platform answers HTTP.
        lacking: Fast settings that a foreign cluster does not have.
        exposed: Ports of that cluster's HAProxy that listen on every interface, unguarded.
    """

    def __init__(
        self, session: runtime.Session, metadata: Metadata, clock: Clock, environment: str | None = None
    ) -> None:
        self.environment = environment
        self._session = session
        self.metadata = metadata
        self.config = session.config
        self.clock = clock
        self.url = session.url
        self.lacking = session.lacking
        self.exposed = session.exposed
        self._timeout_s = session.config.cluster.call_timeout.total_seconds()

    @cached_property
    def features(self) -> Features:
        """Ingest, materialise, read, training sets, audit."""
        return Features(self)

    @cached_property
    def models(self) -> Models:
        """The registry."""
        return Models(self)

    @cached_property
    def endpoints(self) -> runtime.EndpointOrders:
        """What is served."""
        return runtime.EndpointOrders(self.config, self.metadata)

    @cached_property
    def batch(self) -> runtime.BatchOperator:
        """Whole tables, scored."""
        return runtime.BatchOperator(self.config, self.metadata, self.clock)

    @cached_property
    def labels(self) -> Labels:
        """The truth, when it arrives."""
        return Labels(self.metadata.plans, self.metadata.models, self._timeout_s)

    @cached_property
    def monitor(self) -> Monitor:
        """Reports."""
        return Monitor(self.metadata.alerts, self._timeout_s)

    @cached_property
    def runs(self) -> runtime.RunOperator:
        """Pipelines."""
        jobs = runtime.JobRunner(self.config.home, self.metadata.runs, self.clock)
        return runtime.RunOperator(self.config, self.metadata, jobs, self.clock)

    @cached_property
    def control(self) -> Control:
        """Decisions."""
        return Control(self)

    @cached_property
    def delivery(self) -> runtime.DeliveryOperator:
        """Bundles and environments."""
        return runtime.DeliveryOperator(self.config, self.metadata, self.clock)

    @cached_property
    def ledger(self) -> Ledger:
        """What was done, and why."""
        return Ledger(self.metadata.ledger, self.config.home / "ledger-anchors.jsonl")

    @cached_property
    def reader(self) -> FeatureReader:
        """Reads features on this node."""
        tasks = runtime.join_tasks(self.config)
        reader = runtime.open_reader(self.config, self.environment, clock=self.clock, join_tasks=tasks)
        return self._session.opened.enter_context(closing(reader))

    @cached_property
    def by_hand(self) -> runtime.ByHand:
        """Changes of the whole platform that a person asks for, each recorded first."""
        return runtime.ByHand(self.config, self.metadata, self.features.writer, self.clock, self.environment)

    def in_environment(self, name: str) -> Platform:
        """The platform with the features of another environment: what is applied, pushed and read is that one's.

        It is the same connection, which the platform that it came from closes.

        Raises:
            ConfigError: An environment cannot be called so.
        """
        environment = self.config.feature_place(name).environment
        return Platform(self._session, self.metadata, self.clock, environment)

    def apply(self, *definitions: Definition, dry_run: bool = False) -> ApplyReport:
        """Add entities, views and services, all or none.

        Args:
            definitions: In any order.
            dry_run: Write nothing; the report tells what would be added, changed in place or refused, and why.

        Raises:
            AlreadyRegistered: A definition differs from the one applied under its name and version.
            RaymlopsError: As ``FeatureStore.apply`` does; ``context["faults"]`` has every fault of every definition.
        """
        return self.by_hand.apply(definitions, dry_run=dry_run)

    def collect_garbage(
        self, *, keep: timedelta = timedelta(days=30), grace: timedelta = timedelta(days=1), remove: bool = False
    ) -> GarbageReport:
        """Look for artifacts, packages, bundles and searches that no record leads to, and remove them if asked to.

        Args:
            keep: For how long after its end a run can be resumed.
            grace: What was written or used within this time stays, whatever refers to it.
            remove: Whether to remove what is found.
        """
        return self.by_hand.collect_garbage(keep, grace, remove=remove)

    def close(self) -> None:
        """Disconnect, and stop what ``connect`` started."""
        self._session.close()

    def detach(self) -> None:
        """Disconnect, and leave running what ``connect`` started."""
        self._session.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
