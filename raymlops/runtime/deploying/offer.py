"""What this platform offers a bundle, and what a bundle needs of it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator

import psutil
import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raymlops.config.platform import PlatformConfig
from raymlops.delivery.admission.target import Needs, Node, Target
from raymlops.delivery.lock import installed_lock
from raymlops.errors import RaymlopsError, UnavailableError
from raymlops.features.offline.feature_files import FeatureFiles
from raymlops.features.online.servers import open_server
from raymlops.metadata import Metadata
from raymlops.records.bundles import BundleManifest
from raymlops.runtime.cluster.this_node import this_node
from raymlops.runtime.supervision import head

__all__ = ["needs_of", "other_nodes", "target_of"]

_MEMORY_BYTES = 1 << 30
"""What a run and a process that serves take beside each other, at least."""
_LOOK_S = 60.0
"""Deadline of what other nodes tell: each starts a process for it."""


def needs_of(config: PlatformConfig, manifest: BundleManifest, lock: bytes) -> Needs:
    """What a bundle needs: its packages, and room for one trial beside one replica."""
    resources, trial, replica = manifest.project.resources, config.cluster.trial_cpus, config.serving.replica_cpus
    stated = None if resources is None else resources.memory_bytes
    return Needs(manifest.python, lock, trial + replica, stated or _MEMORY_BYTES, max(trial, replica))


def target_of(config: PlatformConfig, metadata: Metadata) -> Target:
    """What the cluster that this process is connected to offers."""
    return Target(
        python=_python(),
        ray=ray.__version__,
        packages=installed_lock(),
        cpus=float(ray.cluster_resources().get("CPU", 0.0)),
        memory_bytes=psutil.virtual_memory().available,
        stores=dict(_stores(config, metadata)),
        nodes=other_nodes(),
    )


def other_nodes() -> list[Node]:
    """What each node of the cluster but this one offers.

    Raises:
        UnavailableError: One did not tell in time.
    """
    here = this_node()
    others = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    look = ray.remote(num_cpus=0, max_retries=0)(_look)
    asked = [
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in others
    ]
    names = [f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})" for node in others]
    try:
        told = ray.get(asked, timeout=_LOOK_S)
    except (RayError, TimeoutError) as error:
        raise UnavailableError(f"nodes {', '.join(names)}: one did not tell what it offers: {error}") from error
    cpus = [float(node["Resources"].get("CPU", 0.0)) for node in others]
    return [Node(name, each[0], each[1], cpu, each[2]) for name, each, cpu in zip(names, told, cpus, strict=True)]


def _look() -> tuple[str, bytes, int]:
    return _python(), installed_lock(), psutil.virtual_memory().available


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def _stores(config: PlatformConfig, metadata: Metadata) -> Iterator[tuple[str, str]]:
    """Every store, and why it cannot be reached; empty where it can."""
    place = config.feature_place()

    def online() -> None:
        if (opened := open_server(place.settings, writable=False)) is not None:
            opened.close()

    looks: dict[str, Callable[[], object]] = {
        "metadata": metadata.deployments.list_live_deployments,
        "feature": FeatureFiles.at(place).state,
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
