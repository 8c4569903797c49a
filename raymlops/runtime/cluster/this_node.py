"""The node this process runs on."""

from __future__ import annotations

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

__all__ = ["on_this_node", "this_node"]


def on_this_node() -> NodeAffinitySchedulingStrategy:
    """A place for an actor whose files are on this node."""
    return NodeAffinitySchedulingStrategy(this_node(), soft=False)


def this_node() -> str:
    """The id of this node."""
    return str(ray.get_runtime_context().get_node_id())
