"""The story of three nodes, in a process and a cluster of its own: see ``test_feature_nodes.py``.

Args, in this order: the home; the file that holds the cluster's token.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": sys.argv[2], "RAY_USAGE_STATS_ENABLED": "0"}

import pyarrow as pa
import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raymlops.config.platform import PlatformConfig
from raymlops.delivery.lock import installed_lock
from raymlops.errors import ModelLoadFailed
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureView, Field, WindowAggregate
from raymlops.runtime.actors.control_plane import start_actor
from raymlops.runtime.cluster.clients import NAMESPACE, ActorProxy
from raymlops.runtime.cluster.names import FEATURES
from raymlops.runtime.deploying.offer import other_nodes
from raymlops.runtime.nodes.feature_nodes import FeaturesActor, copies
from raymlops.runtime.nodes.feature_readers import open_reader
from raymlops.runtime.nodes.model_fetching import fetch_from_nodes
from raymlops.runtime.nodes.node_copies import copy_of
from tests.support.point_in_time import table_of

DEADLINE_S = 60.0
_log = logging.getLogger("story")
_NODE: dict[str, Any] = {"num_cpus": 2}
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
T = datetime.now(UTC).replace(microsecond=0) - HOUR
SALES = FeatureView(
    "sales",
    Entity("shop", ["shop"]),
    [Field("amount", "float64"), Field("city", "string")],
    ttl=30 * MINUTE,
    aggregates=[WindowAggregate("total", "sum", "amount", 20 * MINUTE)],
)
BY_CITY = FeatureView("by_city", Entity("city", ["city"]), [Field("amount", "float64")], source="sales")
TICKS = FeatureView("ticks", Entity("shop", ["shop"]), [Field("number", "int64")])
SERVICE = FeatureService("s", ["sales:amount", "sales:city", "sales:total", "by_city:amount"])
ENTITIES = pa.table({"shop": ["a", "b", "c", None, "x"], "city": ["rome", "oslo", "bari", "rome", None]})
INSTANTS = [T - minutes * MINUTE for minutes in range(0, 100, 11)]


class Reader:
    """A process that reads features on its node, as a serving replica does."""

    def __init__(self, config: PlatformConfig) -> None:
        self._reader = open_reader(config)

    def kind(self) -> str:
        """Of the writer's node, or of another."""
        return type(self._reader).__name__

    def read(self, service: str) -> list[pa.Table]:
        """The features of all entities, one table per instant."""
        return [self._reader.online(service, ENTITIES, at) for at in INSTANTS]

    def fetch(self, directory: str, names: list[str]) -> dict[str, bytes]:
        """Model files, as a replica gets those that its node lacks."""
        return dict(fetch_from_nodes(directory, names))

    def watch(self, seconds: float) -> list[int]:
        """The newest tick, again and again."""
        until, seen = time.monotonic() + seconds, [-1]
        plan = self._reader.plan("clockwork")
        while time.monotonic() < until:
            value = plan.read([{"shop": "a"}], [int(T.timestamp() * 1e6)]).columns["ticks__number"][0]
            if value != seen[-1]:
                seen.append(value)
        return seen[1:]


class Story:
    """The cluster, the writer and what reads on each node."""

    def __init__(self, home: Path) -> None:
        self.cluster = Cluster(initialize_head=True, head_node_args=_NODE | {"include_dashboard": False})
        self.nodes = [self.cluster.add_node(**_NODE) for _ in range(2)]
        ray.init(self.cluster.address, namespace=NAMESPACE, log_to_driver=False)
        self.config = PlatformConfig(home=home, features={"history": "3h"}, metadata={"mlflow": False})
        start_actor(FEATURES, FeaturesActor, self.config, DEADLINE_S)
        self.store: Any = ActorProxy(FEATURES, DEADLINE_S)
        self.offline = FeatureReader(home / "features")
        self.chance = random.Random(5)
        self.pushed = 0
        self.readers: dict[str, Any] = {}

    def reader_on(self, node: str) -> Any:
        """The reading process of a node."""
        if node not in self.readers:
            place = NodeAffinitySchedulingStrategy(node, soft=False)
            actor = ray.remote(Reader).options(num_cpus=0, scheduling_strategy=place)
            self.readers[node] = actor.remote(self.config)
        return self.readers[node]

    def push(self, batches: int) -> None:
        """Rows of any order, some of them very late."""
        for _ in range(batches):
            rows = [
                {
                    "shop": self.chance.choice("abc"),
                    "event_time": T - self.chance.randrange(90) * MINUTE,
                    "amount": self.chance.choice([None, 1.5, -2.0]),
                    "city": self.chance.choice([None, "rome", "oslo"]),
                }
                for _ in range(self.chance.randrange(1, 9))
            ]
            self.store.push("sales", table_of(SALES, rows), ingest_id=f"sales {self.pushed}")
            self.pushed += 1

    def expect_equality(self, nodes: list[str], service: str = "s") -> None:
        """What every node serves is what the offline join gives."""
        marks = self.store.progress().watermarks
        for node in nodes:
            if node != self.store.node_id():
                copy_of(self.config, node).reach(marks, DEADLINE_S / 2)
        expected = []
        for at in INSTANTS:
            times = pa.array([at] * ENTITIES.num_rows, pa.timestamp("us", tz="UTC"))
            expected.append(self.offline.features_at(service, ENTITIES.append_column("event_time", times)))
        answers = ray.get([self.reader_on(node).read.remote(service) for node in nodes], timeout=DEADLINE_S)
        for node, served in zip(nodes, answers, strict=True):
            for at, table, wanted in zip(INSTANTS, served, expected, strict=True):
                assert table.select(wanted.column_names).equals(wanted), f"node {node} at {at}: {table} is not {wanted}"
        assert sum(table.num_rows - table[name].null_count for table in expected for name in table.column_names) > 20

    def watch_ticks(self, nodes: list[str]) -> None:
        """No copy goes back while it follows."""
        self.store.push("ticks", self._tick(0), ingest_id="tick 0")
        watching = [self.reader_on(node).watch.remote(3.0) for node in nodes]
        for number in range(1, 40):
            self.store.push("ticks", self._tick(number), ingest_id=f"tick {number}")
        for seen in ray.get(watching, timeout=DEADLINE_S):
            assert seen == sorted(seen), seen
            assert len(seen) > 2, seen

    @staticmethod
    def _tick(number: int) -> pa.Table:
        rows = [{"shop": "a", "event_time": T - HOUR + number * timedelta(seconds=1), "number": number}]
        return table_of(TICKS, rows)

    def await_copies(self, nodes: set[str]) -> None:
        """Wait until these nodes, and no others, have copies, all of them level with the writer."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            rows = [row for row in copies(self.config) if row["role"] == "copy"]
            named = {
                found["name"].removeprefix("features-copy-")
                for found in ray.util.list_named_actors(all_namespaces=True)
                if found["name"].startswith("features-copy-")
            }
            if {row["node"] for row in rows} == named == nodes and not any(row["behind_rows"] for row in rows):
                return
            assert time.monotonic() < deadline, f"want copies on {nodes}, got {named}: {rows}"
            time.sleep(0.1)


def tell(story: Story) -> None:
    """All of it, in order."""
    head, one, two = story.cluster.head_node.node_id, *[node.node_id for node in story.nodes]
    features = story.config.home / "features"
    _log.info("the writer is where the driver is, with its home")
    assert story.store.node_id() == head
    story.store.apply(SALES, BY_CITY, TICKS, SERVICE, FeatureService("clockwork", ["ticks:number"]))
    story.push(10)
    _log.info("pushes reach all three copies, out of order and late")
    story.expect_equality([head, one, two])
    kinds = ray.get([story.reader_on(node).kind.remote() for node in (head, one, two)], timeout=DEADLINE_S)
    assert kinds == ["FeatureReader", "ReaderElsewhere", "ReaderElsewhere"]
    found = sorted(path.name for path in features.glob("online*.lmdb"))
    assert found == sorted(["online.lmdb", f"online-{one}.lmdb", f"online-{two}.lmdb"]), found
    story.push(10)
    story.expect_equality([head, one, two])
    _log.info("model files are fetched from whichever node has them")
    files = {"model.ubj": bytes(range(256)) * 4096, "expected.json": b"[]"}
    for name, content in files.items():
        (story.config.home / name).write_bytes(content)
    fetched = story.reader_on(two).fetch.remote(str(story.config.home), sorted(files))
    assert ray.get(fetched, timeout=DEADLINE_S) == files
    with pytest.raises(ModelLoadFailed, match="is on no node of the cluster"):
        ray.get(story.reader_on(two).fetch.remote(str(story.config.home), ["model.skops"]), timeout=DEADLINE_S)
    _log.info("each other node tells what it offers a bundle")
    offered = other_nodes()
    assert {node.name.partition("(")[2][:8] for node in offered} == {one[:8], two[:8]}
    assert {(node.cpus, node.packages == installed_lock(), node.memory_bytes > 0) for node in offered} == {
        (2, True, True)
    }
    _log.info("no copy goes back")
    story.watch_ticks([head, one, two])
    _log.info("a copy that is killed goes on")
    copy = copy_of(story.config, two)
    pid = copy.pid()
    os.kill(pid, signal.SIGKILL)
    story.push(10)
    story.expect_equality([head, one, two])
    assert copy.pid() != pid
    _log.info("definitions that come later are served everywhere")
    story.store.apply(FeatureService("s", ["by_city:amount", "sales:total"], version=2))
    story.expect_equality([head, one, two], "s@2")
    _log.info("a node leaves, another one joins")
    story.cluster.remove_node(story.nodes[0], allow_graceful=False)
    story.push(5)
    story.await_copies({two})
    three = story.cluster.add_node(**_NODE).node_id
    story.await_copies({two, three})
    story.push(5)
    story.expect_equality([head, two, three])
    assert not (features / f"online-{one}.lmdb").exists()
    rows = copies(story.config)
    assert [(row["node"], row["role"]) for row in rows[:3]] == [(head, "writer")] * 3
    assert {row["node"] for row in rows} == {head, two, three}
    assert all(row["error"] is None for row in rows)


def main() -> None:
    """Tell the story, and leave nothing behind."""
    logging.basicConfig(stream=sys.stdout, format="%(asctime)s %(message)s")
    _log.setLevel(logging.INFO)
    story = Story(Path(sys.argv[1]))
    try:
        tell(story)
    finally:
        ray.shutdown()
        story.cluster.shutdown()
    _log.info("told")


if __name__ == "__main__":
    main()
