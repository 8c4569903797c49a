"""Whether a platform can run a bundle: Python, Ray, packages, CPUs, memory, stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from packaging.utils import canonicalize_version

from raymlops.delivery.lock import read_lock, versions_of
from raymlops.errors import DeploymentError
from raymlops.records.bundles import BundleManifest

__all__ = ["Needs", "Node", "Target", "check_target", "locked_packages"]

_SHOWN = 3


class Node(NamedTuple):
    """Capacity of a node of a cluster.

    Attributes:
        name: As messages call it: its address, and the beginning of its id.
        python: Version, as ``3.11``.
        packages: Installed distributions, one ``name==version`` per line.
        cpus: Logical CPUs.
        memory_bytes: Memory that is free.
    """

    name: str
    python: str
    packages: bytes
    cpus: float
    memory_bytes: int


class Target(NamedTuple):
    """Capacity of a platform.

    Attributes:
        python: Version, as ``3.11``, of the process that would build and run.
        ray: Version of the cluster's Ray.
        packages: Installed distributions, one ``name==version`` per line.
        cpus: Logical CPUs of the cluster.
        memory_bytes: Memory that is free on this node.
        stores: Store -> why it cannot be reached; empty where it can.
        nodes: The other nodes: a bundle's runs and replicas may be placed on any of them.
    """

    python: str
    ray: str
    packages: bytes
    cpus: float
    memory_bytes: int
    stores: Mapping[str, str]
    nodes: Sequence[Node] = ()


class Needs(NamedTuple):
    """Needs of a bundle.

    Attributes:
        python: Version that it was built with; empty where that is not known.
        packages: Its lock.
        cpus: Logical CPUs of one run and the endpoint beside it.
        memory_bytes: Memory, on one node, of a run and a process that serves.
        process_cpus: Logical CPUs of the larger of the two: they are on one node.
    """

    python: str
    packages: bytes
    cpus: float
    memory_bytes: int
    process_cpus: float = 0.0


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
    wanted = locked_packages(needs.packages)
    if needs.python and needs.python != target.python:
        return f"needs Python {needs.python}, here is {target.python}"
    if "ray" in wanted and not _equal(wanted["ray"], target.ray):
        return f"needs Ray {wanted['ray']}, the cluster has {target.ray}"
    others = _other_packages(wanted, target.packages)
    if others:
        return f"needs other packages than are installed here: {others}; build it again"
    for node in target.nodes:
        if needs.python and needs.python != node.python:
            return f"needs Python {needs.python}, node {node.name} has {node.python}"
        if others := _other_packages(wanted, node.packages):
            return f"needs other packages than are installed on node {node.name}: {others}; install its lock there"
    return _lack(needs, target)


def _lack(needs: Needs, target: Target) -> str | None:
    """Missing capacity, in words."""
    if needs.cpus > target.cpus:
        return f"needs {needs.cpus:g} logical CPUs, the cluster has {target.cpus:g}"
    largest = max(target.nodes, key=lambda node: node.cpus, default=None)
    here_cpus = target.cpus - sum(node.cpus for node in target.nodes)
    if largest is not None and needs.process_cpus > max(here_cpus, largest.cpus):
        return f"needs {needs.process_cpus:g} logical CPUs on one node, the most are {max(here_cpus, largest.cpus):g}"
    free = max((target.memory_bytes, *(node.memory_bytes for node in target.nodes)))
    if needs.memory_bytes > free:
        where = ", here are" if not target.nodes else " on one node, the most are"
        return f"needs {needs.memory_bytes >> 20} MiB of free memory{where} {free >> 20}"
    away = next(((name, why) for name, why in target.stores.items() if why), None)
    return None if away is None else f"the {away[0]} store cannot be reached: {away[1]}"


def _other_packages(wanted: Mapping[str, str], packages: bytes) -> str:
    """The locked packages that a node lacks, or has another version of; empty where there are none."""
    there = locked_packages(packages)
    others = [name for name in sorted(wanted) if not _equal(wanted[name], there.get(name, ""))]
    told = ", ".join(f"{name} {wanted[name]} (there: {there.get(name, 'none')})" for name in others[:_SHOWN])
    return f"{told} and {len(others) - _SHOWN} more" if len(others) > _SHOWN else told


def _equal(wanted: str, found: str) -> bool:
    return canonicalize_version(wanted) == canonicalize_version(found)
