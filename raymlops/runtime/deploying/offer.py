"""What this platform offers a bundle, and what a bundle needs of it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator

import psutil
import ray

from raymlops.config.platform import PlatformConfig
from raymlops.delivery.lock import installed_lock
from raymlops.delivery.target import Needs, Target
from raymlops.errors import RaymlopsError
from raymlops.features.catalog.catalog_file import Catalog
from raymlops.features.catalog.layout import catalog_path
from raymlops.features.online.servers import open_server
from raymlops.metadata import Metadata
from raymlops.records.bundles import BundleManifest
from raymlops.runtime.supervision import head
from raymlops.tables.files import parse_root

__all__ = ["needs_of", "target_of"]

_MEMORY_BYTES = 1 << 30
"""What a run and a process that serves take beside each other, at least."""


def needs_of(config: PlatformConfig, manifest: BundleManifest, lock: bytes) -> Needs:
    """What a bundle needs: its packages, and room for one trial beside one replica."""
    return Needs(manifest.python, lock, config.cluster.trial_cpus + config.serving.replica_cpus, _MEMORY_BYTES)


def target_of(config: PlatformConfig, metadata: Metadata) -> Target:
    """What the cluster that this process is connected to offers."""
    return Target(
        python=".".join(platform.python_version_tuple()[:2]),
        ray=ray.__version__,
        packages=installed_lock(),
        cpus=float(ray.cluster_resources().get("CPU", 0.0)),
        memory_bytes=psutil.virtual_memory().available,
        stores=dict(_stores(config, metadata)),
    )


def _stores(config: PlatformConfig, metadata: Metadata) -> Iterator[tuple[str, str]]:
    """Every store, and why it cannot be reached; empty where it can."""
    features = config.features
    catalog = catalog_path(parse_root(features.root_in(config.home)))

    def online() -> None:
        if (opened := open_server(features, writable=False)) is not None:
            opened.close()

    looks: dict[str, Callable[[], object]] = {
        "metadata": metadata.deployments.list_live_deployments,
        "feature": lambda: Catalog(catalog, features.storage_options).state(),
        "online": online,
        "file": lambda: head.require_disk(config.home),
    }
    for name, look in looks.items():
        try:
            look()
        except RaymlopsError as error:
            yield name, str(error)
        else:
            yield name, ""
