"""The metrics page of a whole platform: which actor is asked for which part."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from raymlops.clock import Clock
from raymlops.config.platform import PlatformConfig
from raymlops.features import FeatureView
from raymlops.features.replication.environments import environments_in
from raymlops.metadata import Metadata
from raymlops.runtime.actors.control_metrics import control_families, endpoint_families
from raymlops.runtime.actors.metrics_parts import Part, PartedPage
from raymlops.runtime.actors.metrics_server import page_of_families
from raymlops.runtime.actors.platform_metrics import LedgerPage, disk_page, features_page, runs_page
from raymlops.runtime.cluster.clients import ActorProxy
from raymlops.runtime.cluster.names import CONTROLLER, RECONCILER
from raymlops.runtime.nodes.feature_readers import open_reader

__all__ = ["platform_page"]

_FEATURES_EVERY_S = 30.0
"""Reading how far a view reaches opens the log of its table."""
_DISK_EVERY_S = 300.0
"""The home is walked through file by file."""


def platform_page(
    config: PlatformConfig,
    metadata: Metadata,
    clock: Clock,
    *,
    windows: Callable[[], str],
    replicas: Callable[[], str],
) -> PartedPage:
    """The page that Prometheus scrapes.

    Args:
        config: The deadline of a scrape, and the home.
        metadata: The metadata actor's stores.
        clock: Gives ages.
        windows: Makes the part about closed windows.
        replicas: Makes the part about replicas, from what they have sent.
    """
    timeout_s = config.monitoring.metrics.timeout.total_seconds()

    def control() -> str:
        statuses = ActorProxy(CONTROLLER, timeout_s).status()
        return page_of_families(
            "raymlops_control", [({"model": of.model}, family) for of in statuses for family in control_families(of)]
        )

    def endpoints() -> str:
        statuses = ActorProxy(RECONCILER, timeout_s, part="reconciler").statuses()
        return page_of_families(
            "raymlops_model", [({"model": of.model}, family) for of in statuses for family in endpoint_families(of)]
        )

    def features() -> str:
        found = []
        for environment in [None, *environments_in(config.feature_place())]:
            before = "" if environment is None else f"{environment}."
            # which asks the features actor where it is
            with closing(open_reader(config, environment, clock=clock)) as reader:
                views = [view.ref for view in reader.definitions() if isinstance(view, FeatureView)]
                fresh = [reader.discovery.freshness(view) for view in views]
            found += [each.model_copy(update={"view": f"{before}{each.view}"}) for each in fresh]
        return features_page(found, clock.now())

    parts = [
        Part("serving", replicas),
        Part("endpoints", endpoints),
        Part("features", features, _FEATURES_EVERY_S),
        Part("monitoring", windows),
        Part("control", control),
        Part("runs", lambda: runs_page(metadata.runs.count_runs(), clock.now())),
        Part("ledger", LedgerPage(metadata.ledger).render),
        Part("disk", lambda: disk_page(config.home), _DISK_EVERY_S),
    ]
    return PartedPage(parts, timeout_s)
