"""Work on files goes to the nodes that have them, on a cluster of two nodes in a process of its own."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray

# /proc/self is another directory for each process: as for files of another machine, its nodes do not share it.
_STORY = """
import sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from raymlops.runtime.cluster.this_node import this_node
from raymlops.runtime.jobs.parts.join_tasks import RayTasks
from raymlops.runtime.nodes.file_places import ANYWHERE, Place, place_for

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
try:
    ray.init(cluster.address, log_to_driver=False)
    own = Path("/proc/self/status")
    assert place_for([own]) == ANYWHERE, "one node has everything"
    cluster.add_node(num_cpus=2)
    here, shared = Place(this_node()), Path(sys.argv[1])
    assert place_for([]) == place_for(["s3://bucket/table"]) == ANYWHERE
    assert place_for([shared, str(shared / "not" / "there"), shared.as_uri()]) == ANYWHERE
    assert place_for([shared, own]) == here
    assert (here.cpus, ANYWHERE.cpus) == (1, 3)
    labelled = ray.remote(num_cpus=0, label_selector=here.labels)(this_node)
    assert set(ray.get([labelled.remote() for _ in range(4)], timeout=60)) == {here.node}
    with RayTasks(120.0, roots=[own]) as tasks:
        assert {node for _, node in tasks.gather(this_node, [()] * 4)} == {here.node}
finally:
    ray.shutdown()
    cluster.shutdown()
print("told")
"""


def test_work_stays_on_the_node_whose_files_the_others_lack(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYMLOPS_"))}
    # Ray's unix sockets are in it, and the path of one has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="rml-", ignore_cleanup_errors=True) as directory:
        variables = {"RAY_TMPDIR": directory, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        done = subprocess.run(
            [sys.executable, "-c", _STORY, str(tmp_path)],
            env={**kept, **variables, "RAY_USAGE_STATS_ENABLED": "0"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.endswith("told\n")
