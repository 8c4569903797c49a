"""Whether a platform can run a bundle: Python, Ray, packages, CPUs, memory, stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from packaging.utils import canonicalize_version

from raymlops.delivery.lock import read_lock, versions_of
from raymlops.errors import DeploymentError
from raymlops.records.bundles import BundleManifest

__all__ = ["Needs", "Target", "check_target", "locked_packages"]

_SHOWN = 3


class Target(NamedTuple):
    """What a platform offers.

    Attributes:
        python: Version, as ``3.11``, of the process that would build and run; and of the cluster's, if they differ.
        ray: Version of the cluster's Ray.
        packages: Installed distributions, one ``name==version`` per line.
        cpus: Logical CPUs of the cluster.
        memory_bytes: Memory that is free on this node.
        stores: Store -> why it cannot be reached; empty where it can.
    """

    python: str
    ray: str
    packages: bytes
    cpus: float
    memory_bytes: int
    stores: Mapping[str, str]


class Needs(NamedTuple):
    """What a bundle needs there.

    Attributes:
        python: Version that it was built with; empty where that is not known.
        packages: Its lock.
        cpus: Logical CPUs of one run and the endpoint beside it.
        memory_bytes: Memory of a process that serves.
    """

    python: str
    packages: bytes
    cpus: float
    memory_bytes: int


def locked_packages(lock: bytes) -> dict[str, str]:
    """Name -> version of every package that a lock has for this environment."""
    return versions_of(read_lock(lock))


def check_target(manifest: BundleManifest, needs: Needs, target: Target) -> None:
    """Refuse a platform that cannot run a bundle.

    Raises:
        DeploymentError: The first thing that is missing.
    """
    fault = _fault(needs, target)
    if fault is not None:
        raise DeploymentError(f"bundle {manifest.digest}: {fault}", digest=manifest.digest)


def _fault(needs: Needs, target: Target) -> str | None:
    wanted, there = locked_packages(needs.packages), locked_packages(target.packages)
    if needs.python and needs.python != target.python:
        return f"needs Python {needs.python}, here is {target.python}"
    if "ray" in wanted and not _equal(wanted["ray"], target.ray):
        return f"needs Ray {wanted['ray']}, the cluster has {target.ray}"
    others = [name for name in sorted(wanted) if not _equal(wanted[name], there.get(name, ""))]
    if others:
        told = ", ".join(f"{name} {wanted[name]} (here: {there.get(name, 'none')})" for name in others[:_SHOWN])
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        return f"needs other packages than are installed here: {told}{more}; build it again"
    if needs.cpus > target.cpus:
        return f"needs {needs.cpus:g} logical CPUs, the cluster has {target.cpus:g}"
    if needs.memory_bytes > target.memory_bytes:
        return f"needs {needs.memory_bytes >> 20} MiB of free memory, here are {target.memory_bytes >> 20}"
    away = next(((name, why) for name, why in target.stores.items() if why), None)
    return None if away is None else f"the {away[0]} store cannot be reached: {away[1]}"


def _equal(wanted: str, found: str) -> bool:
    return canonicalize_version(wanted) == canonicalize_version(found)
