"""The guides that need a platform, typed from start to end on one of their own, as a new user would."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raymlops.replay.settings import free_port
from raymlops.runtime.supervision.home_note import noted_cluster
from tests.support.guides import ROOT, environment_in, run_guide, run_lines

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]

GUIDES = ROOT / "docs" / "guides"
RUN = """
import json, os, sys
from pathlib import Path
from tests.support.guides import run_guide
guide, directory, words = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
print(run_guide(guide, directory, dict(os.environ), cluster=True, words=words))
"""
ENDPOINT = """
import raymlops, pyarrow as pa
from sklearn.linear_model import LogisticRegression
rows = pa.table({"a": [float(n) for n in range(100)], "b": [1.0] * 100})
with raymlops.connect(start=False) as platform:
    model = LogisticRegression().fit(rows.to_pandas().to_numpy(), [n > 49 for n in range(100)])
    platform.endpoints.deploy("flight-delay", platform.models.register("flight-delay", model, example=rows).version)
    platform.detach()
"""
ROWS = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import pyarrow.parquet as pq
sys.path.insert(0, "shipments")
from raymlops.delivery.project import read_project
from raymlops.projects.rows import project_rows
from shipments.definitions import DEFINITIONS
project = Path("shipments")
rows = project_rows(project, read_project(project), DEFINITIONS)
asked = rows.asked(datetime(2025, 8, 1, tzinfo=UTC), datetime(2025, 8, 20, tzinfo=UTC))
pq.write_table(asked.append_column("event_time", asked["asked_at"]), sys.argv[1])
"""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The shell of somebody who begins; what they leave running is stopped at the end."""
    environment = environment_in(
        tmp_path,
        RAYMLOPS_SERVING__PORT=str(free_port()),
        RAYMLOPS_CLUSTER__START_TIMEOUT="5m",
        RAYMLOPS_CLUSTER__BOOT_TIMEOUT="5m",
    )
    yield environment
    run_lines("raymlops down", tmp_path, environment)
    assert noted_cluster(tmp_path / ".raymlops") is None


def test_a_table_goes_live_and_is_reached_by_jobs_and_by_serve(tmp_path: Path, reader: dict[str, str]) -> None:
    def python(*program: str) -> str:
        return run_lines(shlex.join([sys.executable, "-W", "ignore", "-c", *program]), tmp_path, reader)

    port = reader["RAYMLOPS_SERVING__PORT"]
    assert run_guide(GUIDES / "quick-start.md", tmp_path, reader, cluster=False) == 3
    live = {"localhost:8000": f"localhost:{port}"}
    assert run_guide(GUIDES / "own-table.md", tmp_path, reader, cluster=True, words=live) == 5
    python(ENDPOINT)
    (tmp_path / "data").mkdir()
    python(ROWS, str(tmp_path / "data" / "rows.parquet"))
    places = {"/data/": f"{tmp_path}/data/"}
    assert run_guide(GUIDES / "ray-jobs.md", ROOT, reader, cluster=True, words=places) == 4
    assert (tmp_path / "data" / "scored" / "_delta_log").is_dir()
    status = json.loads(run_lines("raymlops status --json", tmp_path, reader))
    assert {each["model"] for each in status["endpoints"]} == {"shipments", "flight-delay"}
    told = python(RUN, str(GUIDES / "own-model.md"), str(tmp_path), "{}")
    assert told.split()[-1] == "7"
