"""The facade a user holds: it delegates, and implements nothing.

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
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from raymlops.config.loader import load_config
from raymlops.config.platform import PlatformConfig
from raymlops.platform.batch import Batch
from raymlops.platform.features import Features
from raymlops.platform.models import Endpoints, Labels, Models, Monitor
from raymlops.platform.operations import Control, Delivery, Ledger, Runs
from raymlops.records.features import ApplyReport

if TYPE_CHECKING:
    from raymlops.features import Definition
    from raymlops.metadata.garbage import GarbageReport
    from raymlops.runtime.services import Services

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
        address: ``host:port`` of a Ray cluster that somebody else started; left out, ``cluster.address``, or the
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
    from raymlops.runtime.session import open_session

    session = open_session(settings, address, start=start, tell=tell or _log_start)
    from raymlops.runtime.services import Services

    return Platform(Services.of(session))


def _log_start(stage: str) -> None:
    _log.warning("starting the platform: %s", stage)


class Platform:
    """Everything the platform does, by subject. Thread-safe.

    Attributes:
        features: Ingest, materialise, read, training sets, audit.
        models: The registry.
        endpoints: What is served.
        batch: Whole tables, scored.
        labels: The truth, when it arrives.
        monitor: Reports.
        runs: Pipelines.
        control: Decisions.
        delivery: Bundles and environments.
        ledger: What was done, and why.
        url: Where the platform answers HTTP.
        lacking: Fast settings that the cluster, which somebody else started, does not have.
        exposed: Ports of that cluster's HAProxy that listen on every interface, unguarded.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self.config = services.config
        self.clock = services.clock
        self.url = services.session.url
        self.lacking = services.session.lacking
        self.exposed = services.session.exposed
        self.features = Features(services)
        self.models = Models(services)
        self.endpoints = Endpoints(services)
        self.batch = Batch(services)
        self.labels = Labels(services)
        self.monitor = Monitor(services)
        self.runs = Runs(services)
        self.control = Control(services)
        self.delivery = Delivery(services)
        self.ledger = Ledger(services)

    def apply(self, *definitions: Definition, dry_run: bool = False) -> ApplyReport:
        """Add entities, views and services, all or none.

        Args:
            definitions: In any order.
            dry_run: Write nothing; the report tells what would be added, changed in place or refused, and why.

        Raises:
            AlreadyRegistered: A definition differs from the one applied under its name and version.
            RaymlopsError: As ``FeatureStore.apply`` does; ``context["faults"]`` has every fault of every definition.
        """
        return self._services.by_hand.apply(definitions, dry_run=dry_run)

    def collect_garbage(
        self, *, keep: timedelta = timedelta(days=30), grace: timedelta = timedelta(days=1), remove: bool = False
    ) -> GarbageReport:
        """Look for artifacts, packages, bundles and searches that no record leads to, and remove them if asked to.

        Args:
            keep: For how long after its end a run can be resumed.
            grace: What was written or used within this time stays, whatever refers to it.
            remove: Whether to remove what is found.
        """
        return self._services.by_hand.collect_garbage(keep, grace, remove=remove)

    def close(self) -> None:
        """Disconnect, and stop what ``connect`` started."""
        self._services.session.close()

    def detach(self) -> None:
        """Disconnect, and leave running what ``connect`` started."""
        self._services.session.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
