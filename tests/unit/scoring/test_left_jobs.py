"""The run of a job lives as long as its process, which the job's lock tells."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from raymlops.clock import ManualClock
from raymlops.metadata import MetadataService
from raymlops.records.runs import Run, RunStatus
from raymlops.records.scoring import PIPELINE, ScoringPlan, Source
from raymlops.scoring.left_jobs import end_if_left
from raymlops.scoring.state import job_directory

NOW = datetime(2024, 3, 1, tzinfo=UTC)
PLAN = ScoringPlan(
    model="m",
    version=1,
    digest="0" * 64,
    source=Source(kind="files", uri="/rows.parquet", digest="1" * 64, name="rows"),
    columns=(),
    output="/scored",
    part_rows=1,
    block_rows=1,
)
HOLD = """
import sys, pathlib
from raymlops.scoring.state import JobDirectory
with JobDirectory(pathlib.Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[MetadataService]:
    made = MetadataService(tmp_path / "metadata.db", clock=ManualClock(NOW))
    yield made
    made.close()


def test_a_run_ends_with_its_process(metadata: MetadataService, tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    parameters = PLAN.model_dump(mode="json")
    metadata.runs.create_run(Run(id="r", pipeline=PIPELINE, parameters=parameters, reason="on-demand", created_at=NOW))
    run = metadata.runs.update_run("r", status=RunStatus.RUNNING)
    assert end_if_left(run, tmp_path, metadata.runs, clock) == run  # of another machine's directory nothing can be said
    place = job_directory(tmp_path, PLAN).path
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert end_if_left(run, tmp_path, metadata.runs, clock).status is RunStatus.RUNNING
        process.kill()
    ended = end_if_left(run, tmp_path, metadata.runs, clock)
    assert (ended.status, ended.ended_at) == (RunStatus.FAILED, NOW)
    assert (
        ended.error
        == "its process ended without a word: the same request, made again, continues where this run stopped"
    )
    assert end_if_left(run, tmp_path, metadata.runs, clock) == ended
