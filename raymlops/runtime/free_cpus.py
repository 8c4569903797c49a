"""Whether there is a free CPU: what asks first never waits for ever."""

from __future__ import annotations

import time

import ray

from raymlops.errors import UnavailableError

__all__ = ["await_free_cpus"]


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
            total = ray.cluster_resources().get("CPU", 0.0)
            message = f"{cpus:g} CPUs were not free within {timeout_s:g} s: {free:g} of {total:g} are; held by "
            raise UnavailableError(message + (", ".join(_holders()) or "tasks that already ended"))
        time.sleep(0.2)


def _holders() -> list[str]:
    """Actors that hold CPUs, as ``class: cpus``."""
    from ray.util.state import list_actors

    address = ray.get_runtime_context().gcs_address
    alive = [("state", "=", "ALIVE")]
    actors = list_actors(address, filters=alive, detail=True, raise_on_missing_output=False)
    held = {actor.class_name: (actor.required_resources or {}).get("CPU", 0) for actor in actors}
    return [f"{name}: {cpus:g}" for name, cpus in sorted(held.items()) if cpus]
