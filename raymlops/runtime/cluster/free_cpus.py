"""Whether there is a free CPU: what asks first never waits for ever."""

from __future__ import annotations

import time
from collections import Counter

import ray
from ray._private.state import available_resources_per_node

from raymlops.errors import UnavailableError

__all__ = ["await_free_cpus", "describe_cpus", "free_by_node"]


def await_free_cpus(cpus: float, timeout_s: float) -> float:
    """Wait until the cluster has ``cpus`` free; Tune itself would wait for ever on cores that Serve holds.

    Returns:
        How many are free.

    Raises:
        UnavailableError: They were not within ``timeout_s``; the message says what holds them.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        free = float(ray.available_resources().get("CPU", 0.0))
        if free >= cpus:
            return free
        if time.monotonic() > deadline:
            raise UnavailableError(f"{cpus:g} CPUs were not free within {timeout_s:g} s: {describe_cpus()}")
        time.sleep(0.2)


def free_by_node() -> dict[str, float]:
    """Node -> logical CPUs that nobody holds."""
    return {node: float(found.get("CPU", 0.0)) for node, found in available_resources_per_node().items()}


def describe_cpus() -> str:
    """How many CPUs are free, and who holds the others."""
    free, total = ray.available_resources().get("CPU", 0.0), ray.cluster_resources().get("CPU", 0.0)
    return f"{free:g} of {total:g} are free; held by {', '.join(_holders()) or 'tasks that already ended'}"


def _holders() -> list[str]:
    """Actors that hold CPUs, as ``class: cpus``."""
    from ray.util.state import list_actors

    address = ray.get_runtime_context().gcs_address
    alive = [("state", "=", "ALIVE")]
    actors = list_actors(address, filters=alive, detail=True, raise_on_missing_output=False)
    held: Counter[str] = Counter()
    for actor in actors:
        held[actor.class_name] += (actor.required_resources or {}).get("CPU", 0)
    return [f"{name}: {cpus:g}" for name, cpus in sorted(held.items()) if cpus]
