"""A join on three nodes, one of which is lost in the middle, in a process of its own: see ``test_join_tasks.py``.

Args: the file that holds the cluster's token.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": sys.argv[1], "RAY_USAGE_STATS_ENABLED": "0"}

import numpy as np
import pyarrow as pa
import ray
from ray.cluster_utils import Cluster

from raymlops.features import Entity, FeatureView, Field, point_in_time_join
from raymlops.runtime.jobs.parts.join_tasks import RayTasks
from raymlops.tables.columns import INSTANT
from tests.support.point_in_time import bucketed_join

ROWS = 200_000
T = datetime(2024, 3, 1, tzinfo=UTC)
VIEW = FeatureView("v", Entity("e", ["k"]), [Field("x", "float64"), Field("s", "string")])
_NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 << 20}


def table_of(rows: int, seed: int) -> pa.Table:
    """Keys and instants, with what a table has besides."""
    chance = np.random.default_rng(seed)
    microseconds = int(T.timestamp()) * 10**6 + chance.integers(0, timedelta(days=9) // timedelta(microseconds=1), rows)
    return pa.table(
        {
            "k": chance.integers(0, 5000, rows),
            "event_time": pa.array(microseconds).cast(INSTANT),
            "x": chance.normal(size=rows),
            "s": pa.array([f"text {n % 1000}" for n in range(rows)]),
            "_seq": np.arange(rows),
        }
    )


class LosesNode(RayTasks):
    """Once the table is in buckets, a node that holds some of them goes away, and another comes."""

    def __init__(self, cluster: Cluster, node: Any) -> None:
        super().__init__(120.0)
        self._cluster, self._node = cluster, node

    def scatter(self, function: Any, calls: Any, parts: int) -> list[list[Any]]:
        held = super().scatter(function, calls, parts)
        places = locations_of([handle for handles in held for handle in handles])
        assert self._node.node_id in places, places
        self._cluster.remove_node(self._node, allow_graceful=False)
        self._cluster.add_node(**_NODE)
        return held


def locations_of(handles: Sequence[Any]) -> set[str]:
    """Nodes that hold tables."""
    found = ray.experimental.get_object_locations(list(handles))
    return {node for where in found.values() for node in where["node_ids"]}


def main() -> None:
    """Join on two workers, then once more with one lost."""
    head = {"num_cpus": 0, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        _, second = cluster.add_node(**_NODE), cluster.add_node(**_NODE)
        ray.init(address=cluster.address, log_to_driver=False)
        table, spine = table_of(ROWS, 0), table_of(ROWS // 4, 1).select(["k", "event_time"])
        expected = point_in_time_join(spine, [VIEW], {"v": table})
        for pool in (lambda: RayTasks(120.0), lambda: LosesNode(cluster, second)):
            assert bucketed_join(spine, [VIEW], {"v": table}, 7, pool=pool).equals(expected)
    finally:
        ray.shutdown()
        cluster.shutdown()
    sys.stdout.write("joined\n")


if __name__ == "__main__":
    main()
