"""A monitor that is killed at any instant loses no event, counts none twice, and leaves tables that can be read."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.config.monitoring import MonitoringConfig
from raymlops.metadata import MetadataService
from raymlops.monitoring import REFERENCE_FILE, MonitorService, Reference
from raymlops.monitoring.events.event_tables import DeltaEventTables
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.records.models import ModelManifest, ModelVersion

START = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
BATCHES, ROWS, LATE = 60, 20, 4
INSTANT = pa.timestamp("us", tz="UTC")

DEADLINE_S = 240.0


def batch(number: int) -> pa.Table:
    """Events of six minutes; every fourth batch also holds rows of two hours before."""
    rng = np.random.default_rng(number)
    at = START + number * timedelta(minutes=6)
    late = [at - 2 * HOUR if number % LATE == 0 and number > 20 and row < 5 else at for row in range(ROWS)]
    return pa.table(
        {
            "request_id": [f"{number}-{row}" for row in range(ROWS)],
            "row": pa.array([0] * ROWS, pa.int32()),
            "event_time": pa.array(late, INSTANT),
            "served_at": pa.array([at] * ROWS, INSTANT),
            "version": pa.array([1] * ROWS, pa.int32()),
            "role": ["champion"] * ROWS,
            "fallback": pa.nulls(ROWS, pa.string()),
            "error": pa.nulls(ROWS, pa.string()),
            "score": rng.random(ROWS),
            "label_predicted": ["0"] * ROWS,
            "x": rng.normal(size=ROWS),
        }
    )


def open_monitor(home: Path, metadata: MetadataService) -> MonitorService:
    config = MonitoringConfig(window=HOUR, label_delay=timedelta(0), late_labels=timedelta(0))
    return MonitorService(DeltaEventTables(home / "monitor", commits=8), metadata, ManualClock(START), config)


def work(home: Path) -> None:
    """Record all batches, closing what is due and looking after the tables on the way.

    After a crash it goes on with the batch that was not acknowledged, as a replica does.
    """
    acknowledged = home / "acknowledged"
    first = int(acknowledged.read_text()) if acknowledged.exists() else 0
    metadata = MetadataService(home / "metadata.db")
    monitor = open_monitor(home, metadata)
    for number in range(first, BATCHES):
        monitor.record_events("m", batch(number), f"b{number}")
        acknowledged.with_suffix(".new").write_text(str(number + 1))
        acknowledged.with_suffix(".new").replace(acknowledged)
        monitor.close_windows("m", START + number * timedelta(minutes=6))
        if number % 10 == 9:
            monitor.maintain("m", START + number * timedelta(minutes=6))
    monitor.close_windows("m", START + BATCHES * timedelta(minutes=6))
    metadata.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    metadata = MetadataService(tmp_path / "metadata.db")
    package = tmp_path / "model"
    package.mkdir()
    rng = np.random.default_rng(0)
    Reference.fit(pa.table({"x": rng.normal(size=2000), "score": rng.random(2000)})).save(package / REFERENCE_FILE)
    signature = Signature(task="regressor", inputs=(ColumnSpec(name="x", dtype="FP64"),))
    manifest = ModelManifest(flavor="xgboost", signature=signature, files={}, libraries={})
    draft = ModelVersion(
        name="m",
        version=0,
        path=str(package),
        manifest=manifest,
        digest="0" * 64,
        metrics={},
        created_at=START,
    )
    metadata.models.register_version(draft, key="k")
    metadata.close()
    return tmp_path


@pytest.mark.parametrize("times", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_killed_again_and_again_it_ends_with_every_event_once(home: Path, times: int) -> None:
    code = f"from tests.contract.test_monitor_killed import work; from pathlib import Path; work(Path({str(home)!r}))"
    draw, kills, deadline = random.Random(7), 0, time.monotonic() + DEADLINE_S
    while True:
        assert time.monotonic() < deadline
        process = subprocess.Popen([sys.executable, "-c", code])
        try:
            code_of_exit = process.wait(timeout=draw.uniform(1.5, 4.0) if kills < times else DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        assert code_of_exit == 0
        break
    assert kills
    metadata = MetadataService(home / "metadata.db")
    monitor = open_monitor(home, metadata)
    found = monitor.events("m", START, START + BATCHES * HOUR)
    assert sorted(found["request_id"].to_pylist()) == sorted(
        f"{n}-{row}" for n in range(BATCHES) for row in range(ROWS)
    )
    reference = Reference.load(home / "model" / REFERENCE_FILE)
    whole = reference.profile(found.select(["x", "score"]))
    (period,) = monitor.rollup("m", START - 3 * HOUR, START + BATCHES * HOUR)
    assert period.answered().rows == BATCHES * ROWS
    assert period.answered() == whole
    assert period.late_rows > 0
    metadata.close()
