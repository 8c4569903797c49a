"""Model files from the node that has them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raymlops.config.platform import PlatformConfig
from raymlops.errors import ModelLoadFailed
from raymlops.runtime.cluster.names import HEAD
from raymlops.runtime.cluster.this_node import this_node
from raymlops.serving.plans.model_copies import ModelCopies

__all__ = ["fetch_from_nodes", "model_files"]

_TIMEOUT_S = 30.0
_log = logging.getLogger(__name__)


def model_files(config: PlatformConfig) -> ModelCopies:
    """The directory of a model's files on this node; files of other nodes are fetched."""
    return ModelCopies(config.home / "model-copies", fetch_from_nodes)


def fetch_from_nodes(directory: str, names: Sequence[str]) -> Mapping[str, bytes]:
    """Ask one node after the other for the files of a directory, the head first. Blocks.

    Raises:
        ModelLoadFailed: No other node has them.
    """
    here = this_node()
    task = ray.remote(num_cpus=0, max_retries=0)(_read)
    others = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    for node in [node["NodeID"] for node in sorted(others, key=lambda node: HEAD not in node["Resources"])]:
        where = NodeAffinitySchedulingStrategy(node, soft=False)
        try:
            contents: dict[str, bytes] | None = ray.get(
                task.options(scheduling_strategy=where).remote(directory, list(names)), timeout=_TIMEOUT_S
            )
        except (RayError, TimeoutError) as error:
            _log.warning("node %s cannot be asked for %s: %s", node, directory, error)
            continue
        if contents is not None:
            return contents
    raise ModelLoadFailed(f"{directory} is on no node of the cluster", path=directory)


def _read(directory: str, names: list[str]) -> dict[str, bytes] | None:
    """The files, or nothing where this node does not have them all."""
    try:
        return {name: (Path(directory) / Path(name).name).read_bytes() for name in names}
    except OSError:
        return None
