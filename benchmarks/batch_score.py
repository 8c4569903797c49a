"""Batch scoring beside a plain loop of the same model over the same file, in one run; and what a worker holds."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from pyarrow import parquet
from xgboost import XGBClassifier

from benchmarks.join_large import local_cluster, peaks_of
from raymlops.clock import SystemClock
from raymlops.metadata import MetadataService
from raymlops.monitoring import REFERENCE_FILE, Reference
from raymlops.records.models import ModelVersion
from raymlops.records.record import sha256_of
from raymlops.serving.models.model import columns_of
from raymlops.serving.models.model_files import load_model, save_model

ROWS, COLUMNS, TREES = 4_000_000, 20, 100
ROW_GROUP, BATCH = 250_000, 1 << 16
NAMES = [f"c{number}" for number in range(COLUMNS)]


def measure(rows: int = ROWS) -> dict[str, Any]:
    """Rows per second of a job, from its call to its commit, and of the loop; and their ratio.

    The job validates, profiles all rows, runs on as many workers as there are cores, whose start counts, and commits.
    The loop loads the model once, reads, predicts and writes Parquet in one process, and does nothing else.
    """
    from raymlops.runtime.jobs.batch import BatchOperator

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source = _store(root / "rows.parquet", rows)
        version = _package(root / "model")
        looped_s = _loop(version, source, root / "looped.parquet")
        with local_cluster(root / "home") as (config, head):
            metadata = MetadataService(config.metadata_url)
            metadata.models.register_version(version, key="one")
            operator = BatchOperator(config, metadata, SystemClock())
            with peaks_of(head) as peaks:
                started = time.perf_counter()
                receipt = operator.score("m", source, root / "scored", version=1, columns=["id"])
                scored_s = time.perf_counter() - started
            metadata.close()
        _compare(root / "scored", root / "looped.parquet", rows)
    return {
        "rows": rows,
        "parts": receipt.parts,
        "loop_rows_per_s": round(rows / looped_s),
        "job_rows_per_s": round(rows / scored_s),
        "job_s": round(scored_s, 2),
        "ratio": round(looped_s / scored_s, 2),
        **peaks,
    }


def _store(path: Path, rows: int) -> Path:
    chance = np.random.default_rng(0)
    writer = None
    for first in range(0, rows, ROW_GROUP):
        count = min(ROW_GROUP, rows - first)
        columns = {name: chance.normal(size=count) for name in NAMES}
        table = pa.table({"id": np.arange(first, first + count), **columns})
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=ROW_GROUP)
    assert writer is not None
    writer.close()
    return path


def _package(directory: Path) -> ModelVersion:
    rows = np.random.default_rng(1).normal(size=(20_000, COLUMNS))
    estimator = XGBClassifier(n_estimators=TREES, n_jobs=1).fit(rows, rows[:, 0] + rows[:, 1] > 0)
    table = pa.table(dict(zip(NAMES, rows.T, strict=True)))
    manifest = save_model(directory, estimator, example=table)
    (directory / REFERENCE_FILE).write_bytes(Reference.fit(table).dumps())
    now = SystemClock().now()
    return ModelVersion(
        name="m", version=0, path=str(directory), manifest=manifest, digest=sha256_of(manifest), created_at=now
    )


def _loop(version: ModelVersion, source: Path, target: Path) -> float:
    """Seconds of what anybody would write first."""
    started = time.perf_counter()
    model = load_model(Path(version.path), version.manifest, version.digest)
    writer = None
    with parquet.ParquetFile(source) as file:
        for batch in file.iter_batches(BATCH):
            block = pa.Table.from_batches([batch])
            outputs = model.predict(columns_of(block, model.signature))
            offsets = np.arange(0, 2 * block.num_rows + 1, 2, dtype=np.int32)
            scored = pa.table(
                {
                    "id": block["id"],
                    "prediction": outputs["label"],
                    "probability": pa.ListArray.from_arrays(offsets, outputs["probability"].ravel()),
                }
            )
            writer = writer or parquet.ParquetWriter(target, scored.schema, compression="zstd")
            writer.write_table(scored)
    assert writer is not None
    writer.close()
    return time.perf_counter() - started


def _compare(scored: Path, looped: Path, rows: int) -> None:
    """Both have the same rows, or the figures say nothing."""
    ours = DeltaTable(str(scored)).to_pyarrow_table(columns=["id", "probability"]).sort_by("id")
    theirs = parquet.read_table(looped, columns=["id", "probability"])
    assert ours.num_rows == rows
    assert ours["id"].equals(theirs["id"])
    assert ours["probability"].combine_chunks().flatten().equals(theirs["probability"].combine_chunks().flatten())


if __name__ == "__main__":
    print(measure())
