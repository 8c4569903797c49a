"""The story of three nodes that share no disk, in a process of its own: see ``test_separate_nodes.py``.

Args: a directory of a short name.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from pyarrow import parquet
from sklearn.linear_model import LogisticRegression

from benchmarks.demo_cluster.nodes import Node, Nodes, head_address
from benchmarks.demo_cluster.stores import started_stores
from raymlops import runtime
from raymlops.clock import ReplayClock
from raymlops.config.reading.loader import load_config
from raymlops.features import Entity, FeatureService, FeatureView, Field
from raymlops.platform import Platform, connect
from raymlops.replay.settings import free_port

DEADLINE_S = 180.0
T = datetime(2024, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MODEL, REPLICAS, SHOPS = "sales", 3, 40
_REPLICA = f"ray::ServeReplica:model-{MODEL}"
_log = logging.getLogger("story")


class Caller:
    """Asks the endpoint."""

    def __init__(self, url: str, key: str) -> None:
        self._url = f"{url}/v2/models/{MODEL}/predict"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def ask(self, at: datetime) -> list[float]:
        """The probabilities of all shops."""
        instances = [{"shop": str(shop)} for shop in range(SHOPS)]
        body = json.dumps({"instances": instances, "parameters": {"at": at.isoformat()}}).encode()
        request = urllib.request.Request(self._url, body, self._headers)
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            outputs = {output["name"]: output["data"] for output in json.loads(answer.read())["outputs"]}
        return [float(value) for value in np.ravel(outputs["probability"])]

    def answers(self, at: datetime) -> bool:
        """Whether it answers."""
        with contextlib.suppress(OSError):
            self.ask(at)
            return True
        return False


def until(what: str, true: Callable[[], bool]) -> float:
    """Wait until something holds; returns the seconds."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < DEADLINE_S, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - began


def with_replicas(nodes: Nodes) -> list[Node]:
    """Nodes on which a replica runs."""
    return [node for node in nodes.there if any(title.startswith(_REPLICA) for title in node.titles())]


def answering(platform: Platform) -> int:
    """Replicas that answer, as last seen."""
    return sum(status.answering for status in platform.endpoints.status() if status.model == MODEL)


def deploy(platform: Platform) -> None:
    """A model that reads one feature, in three replicas."""
    view = FeatureView("visits", Entity("shop", ["shop"]), [Field("x", "float64")])
    platform.apply(view, FeatureService("shops", ["visits:x"]))
    x = np.linspace(-2, 2, SHOPS)
    keys = {"shop": [str(shop) for shop in range(SHOPS)], "event_time": [T - DAY] * SHOPS}
    platform.features.push("visits", pa.table({**keys, "x": x}), ingest_id="all")
    example = pa.table({"visits__x": x})
    fitted = LogisticRegression().fit(x[:, None], x > 0)
    platform.models.register(MODEL, fitted, example=example)
    platform.endpoints.deploy(MODEL, 1, features="shops", replicas=REPLICAS)


def score(platform: Platform, directory: Path) -> None:
    """A file of this node's disk is scored to a directory of it, whatever nodes there are."""
    rows = pa.table({"shop": [str(n % SHOPS) for n in range(4000)], "event_time": [T] * 4000})
    parquet.write_table(rows, directory / "rows.parquet", row_group_size=500)
    platform.batch.score(MODEL, directory / "rows.parquet", directory / "scored", version=1)
    scored = DeltaTable(str(directory / "scored")).to_pyarrow_table()
    assert scored.num_rows == rows.num_rows


def tell(platform: Platform, nodes: Nodes, caller: Caller, directory: Path) -> None:
    """All of it, in order."""
    _log.info("replicas on nodes that have no file of the head answer as it does")
    deploy(platform)
    before = caller.ask(T)
    assert len(set(np.round(before, 6))) > SHOPS / 2, "the feature is read"
    hosts = with_replicas(nodes)
    assert hosts, "no replica is on another node"
    assert all(caller.ask(T) == before for _ in range(10 * REPLICAS))
    for node in hosts:
        home = nodes.home(node)
        assert list((home / "model-copies").iterdir()), "its model was fetched"
        assert not [name for name in ("metadata.db", "models", "clock", "features") if (home / name).exists()]
    _log.info("the clock moves on every node")
    runtime.ClusterClock(platform.config).advance_to(T + DAY)
    assert all(caller.ask(T + DAY) == before for _ in range(10 * REPLICAS))
    _log.info("a table of the head's disk is scored")
    score(platform, directory)
    _log.info("a node dies, and others answer on")
    victim = hosts[0]
    nodes.kill(victim)
    outage_s = until("the endpoint answers", lambda: caller.answers(T + DAY))
    _log.info("answered again after %.1f s", outage_s)
    joined = nodes.join()
    _log.info("node %s joined", joined.name)
    waited_s = until("all replicas are back", lambda: answering(platform) == REPLICAS)
    _log.info("all replicas are back after %.1f s", waited_s)
    assert all(caller.ask(T + DAY) == before for _ in range(10 * REPLICAS))


def main(directory: Path) -> None:
    """Tell the story, and leave nothing behind."""
    logging.basicConfig(stream=sys.stdout, format="%(asctime)s %(message)s")
    _log.setLevel(logging.INFO)
    home, patience = directory / "h", {"start_timeout": "5m", "boot_timeout": "5m"}
    serving = {"host": "0.0.0.0", "proxies": "head", "port": free_port(), "deploy_timeout": "5m"}
    with started_stores() as stores, contextlib.ExitStack() as left:
        overrides: dict[str, Any] = {
            **stores,
            "home": str(home),
            "cluster": {**patience, "num_cpus": 2, "host": head_address()},
            "clock": {"kind": "replay"},
            "serving": {**serving, "replica_cpus": 0.9},  # a batch worker, too, fits on the head
        }
        config = load_config(environ={}, overrides=overrides)
        ReplayClock(home / "clock", T)
        _, key = runtime.create_key(config, "story", ["infer"])
        with connect(config=config) as platform:
            nodes = Nodes(platform, directory, cpus=2)
            left.callback(nodes.close)
            assert nodes.apart, "this kernel gives nobody mounts of their own"
            for _ in range(2):
                nodes.join()
            _log.info("three nodes are up")
            tell(platform, nodes, Caller(platform.url, key), directory)
    _log.info("told")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
