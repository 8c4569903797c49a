"""A wait with a deadline for free CPUs, before work is submitted that would wait for them without end."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import ray
from ray._private.state import available_resources_per_node

from raymlops.errors import UnavailableError

__all__ = ["await_free_cpus", "describe_cpus", "free_by_node"]


def await_free_cpus(cpus: float, timeout_s: float, node: str | None = None) -> float:
    """Wait until the cluster has ``cpus`` free; Tune itself would wait for ever on cores that Serve holds.

    Args:
        cpus: Logical ones.
        timeout_s: How long to wait.
        node: The one whose CPUs count; left out, those of all nodes.

    Returns:
        How many are free.

    Raises:
        UnavailableError: They were not free within ``timeout_s``; the message names their holders.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        free = float(ray.available_resources().get("CPU", 0.0)) if node is None else free_by_node().get(node, 0.0)
        if free >= cpus:
            return free
        if time.monotonic() > deadline:
            raise UnavailableError(f"{cpus:g} CPUs were not free within {timeout_s:g} s: {describe_cpus()}")
        time.sleep(0.2)


def free_by_node() -> dict[str, float]:
    """Node -> free logical CPUs."""
    return {node: float(found.get("CPU", 0.0)) for node, found in available_resources_per_node().items()}


def describe_cpus() -> str:
    """Number of free CPUs, and the holders of the others where the dashboard knows them, in words."""
    from ray.util.state.exception import RayStateApiException

    free, total = ray.available_resources().get("CPU", 0.0), ray.cluster_resources().get("CPU", 0.0)
    try:
        held = _holders()
    except (RayStateApiException, OSError, RuntimeError):  # this text is part of another error
        return f"{free:g} of {total:g} are free; who holds the others is not known: the dashboard does not answer"
    rest = round(total - free - sum(held.values()), 4)  # Ray counts ten-thousandths of a CPU
    named = [f"{name}: {cpus:g}" for name, cpus in sorted(held.items())]
    if rest > 0:
        named.append(f"what is starting or ending: {rest:g}")
    return f"{free:g} of {total:g} are free; held by {', '.join(named) or 'nobody any more'}"


def _holders() -> Counter[str]:
    """Holder -> its CPUs: actors by class, tasks by function, placement groups by name."""
    from ray.util.state import list_actors, list_placement_groups, list_tasks

    asked: dict[str, Any] = {
        "address": ray.get_runtime_context().gcs_address,
        "detail": True,
        "raise_on_missing_output": False,
    }
    held: Counter[str] = Counter()
    actors = list_actors(filters=[("state", "=", "ALIVE")], **asked)
    for actor in actors:
        if not actor.placement_group_id:
            held[actor.class_name] += (actor.required_resources or {}).get("CPU", 0)
    inside = {actor.placement_group_id: actor.class_name for actor in actors}
    for group in list_placement_groups(filters=[("state", "=", "CREATED")], **asked):
        who = f"room kept for {group.name or inside.get(group.placement_group_id, 'a search')}"
        held[who] += sum(bundle.get("unit_resources", {}).get("CPU", 0) for bundle in group.bundles or ())
    for task in list_tasks(filters=[("state", "=", "RUNNING"), ("type", "=", "NORMAL_TASK")], **asked):
        if not task.placement_group_id:
            held[f"task {task.name}"] += (task.required_resources or {}).get("CPU", 0)
    return +held
