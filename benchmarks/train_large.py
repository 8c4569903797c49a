"""Training beyond memory: 50 M rows x 20 features from a Delta table through Ray Data; time, and memory per process.

``TRAIN_LARGE_ROWS`` asks for another size. The table is generated; what is learned is known to be learnable.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from benchmarks.join_large import local_cluster, peaks_of
from raymlops.clock import SystemClock
from raymlops.experiments import Boosting, LearningTask
from raymlops.features import Entity, FeatureReader, FeatureStore, FeatureView, Field
from raymlops.metadata import MetadataService
from raymlops.runtime.jobs.operators import ModelOperator
from raymlops.runtime.jobs.streamed_training import StreamedTraining
from raymlops.tables.columns import INSTANT

ROWS = 50_000_000
INPUTS = tuple(f"f{number}" for number in range(20))
_PIECE = 1_000_000
_START_US = 1_700_000_000_000_000
_STEP_US = 1_000


def measure() -> dict[str, Any]:
    """The table is made by a process of its own, so that the trainer's peak memory is the trainer's."""
    rows = int(os.environ.get("TRAIN_LARGE_ROWS", ROWS))
    with tempfile.TemporaryDirectory() as root:
        _in_new_process("store", root, rows)
        return _in_new_process("train", root, rows)


def _in_new_process(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.train_large", *map(str, arguments)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    figures: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return figures


def _store(root: Path, rows: int) -> None:
    fields = [Field(name, "float64") for name in (*INPUTS, "label")]
    store = FeatureStore(root / "features", clock=SystemClock())
    store.apply(FeatureView("outcomes", Entity("case", ["case"]), fields, online=False))
    for first in range(0, rows, _PIECE):
        store.ingest("outcomes", _piece(first, min(_PIECE, rows - first)), ingest_id=f"from {first}")
    store.close()


def _piece(first: int, count: int) -> pa.Table:
    chance = np.random.default_rng([7, first])
    inputs = {name: chance.normal(size=count).astype(np.float32).astype(np.float64) for name in INPUTS}
    signal = inputs["f0"] * inputs["f1"] + inputs["f2"] - 0.5 * inputs["f3"]
    label = (signal + chance.logistic(size=count) > 0).astype(np.float64)
    cases = np.arange(first, first + count)
    times = pa.array(_START_US + cases * _STEP_US).cast(INSTANT)
    return pa.table({"case": cases, "event_time": times, **inputs, "label": label})


def _train(root: Path, rows: int) -> dict[str, Any]:
    test_from = datetime.fromtimestamp((_START_US + int(rows * 0.9) * _STEP_US) / 1e6, UTC)
    clock = SystemClock()
    with local_cluster(root / "home") as (config, head):
        models = ModelOperator(config.home, MetadataService(config.metadata_url, clock=clock), clock)
        training = StreamedTraining(FeatureReader(root / "features", clock=clock), models, root / "work")
        threads = int(ray.cluster_resources()["CPU"])
        with peaks_of(head) as peaks:
            started = time.perf_counter()
            version = training.train(
                "large",
                "outcomes",
                LearningTask(inputs=INPUTS),
                Boosting(rounds=20, params={"max_depth": 6, "eta": 0.3}, threads=threads),
                test_from=test_from,
            )
            elapsed_s = time.perf_counter() - started
    return {
        "rows": rows,
        "inputs": len(INPUTS),
        "rounds": 20,
        "seconds": round(elapsed_s, 1),
        "train_auc": round(version.metrics["train_auc"], 4),
        "test_auc": round(version.metrics["test_auc"], 4),
        **peaks,
    }


def main(action: str, root: str, rows: str) -> None:
    """One step of ``measure``, in this process."""
    if action == "store":
        _store(Path(root), int(rows))
        print("{}")
    else:
        print(json.dumps(_train(Path(root), int(rows))))


if __name__ == "__main__":
    main(*sys.argv[1:])
