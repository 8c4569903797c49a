"""A reference and a profile of a table that does not fit in memory, on the cluster: rows a second, and peak memory."""

from __future__ import annotations

import os
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from pyarrow import parquet

from benchmarks.autoscaling import PATIENCE
from raymlops.config.reading.loader import load_config
from raymlops.monitoring.profiles.reference import Reference
from raymlops.platform import connect

__all__ = ["measure"]

ROWS = int(os.environ.get("PROFILE_ROWS", "100000000"))
"""``PROFILE_ROWS=10000000`` takes a tenth."""
FILE_ROWS, GROUP_ROWS = 1_000_000, 250_000
COLUMNS = 8
_TASKS = ("ray::_sample", "ray::_count", "ray::_profile")


def measure(port: int = 8271) -> dict[str, Any]:
    """Fit a reference on 100 M rows and count them on it; a tenth of the rows shows what grows with them."""
    figures: dict[str, Any] = {"cpus": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in (("tenth", ROWS // 10), ("all", ROWS)):
            path = Path(folder) / name
            _write(path, rows)
            figures[name] = _measured(path, rows, port)
    return figures


def _measured(path: Path, rows: int, port: int) -> dict[str, Any]:
    overrides = {"serving": {"port": port}, "cluster": PATIENCE}
    with tempfile.TemporaryDirectory() as home:
        config = load_config(environ={}, overrides={"home": home, **overrides})
        with connect(config=config) as platform, _watched() as peak:
            begun = time.perf_counter()
            reference = platform.batch.fit_reference(path, event_time="at", window=timedelta(days=1))
            fitted_s, begun = time.perf_counter() - begun, time.perf_counter()
            profile = platform.batch.profile(path, reference)
            counted_s = time.perf_counter() - begun
    assert (reference.rows, profile.rows) == (rows, rows)
    _check(reference, rows)
    return {
        "rows": rows,
        "on_disk_bytes": sum(file.stat().st_size for file in path.iterdir()),
        "fit_rows_per_s": round(rows / fitted_s),
        "profile_rows_per_s": round(rows / counted_s),
        "driver_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "largest_worker_bytes": max(peak),
    }


def _check(reference: Reference, rows: int) -> None:
    """Every row was counted, and the bins hold what they were made to hold."""
    assert all(int(reference.counts(name).sum()) == rows for name in reference.columns)
    inner = reference.counts("x0")[1:-3] / rows
    assert np.allclose(inner, inner.mean(), atol=0.01), inner


def _write(path: Path, rows: int) -> None:
    path.mkdir()
    chance = np.random.default_rng(0)
    begins, step = 1_700_000_000_000_000, 30 * 86_400_000_000 // rows
    for first in range(0, rows, FILE_ROWS):
        more = min(FILE_ROWS, rows - first)
        columns: dict[str, Any] = {f"x{number}": chance.normal(size=more) for number in range(COLUMNS)}
        columns["kind"] = pa.array(chance.integers(0, 12, more).astype("U2")).dictionary_encode().cast(pa.string())
        columns["at"] = pa.array(begins + step * np.arange(first, first + more), pa.timestamp("us", tz="UTC"))
        parquet.write_table(pa.table(columns), path / f"{first:012d}.parquet", row_group_size=GROUP_ROWS)


@contextmanager
def _watched() -> Iterator[list[int]]:
    """The memory that the largest worker of a task was seen to hold, looked at several times a second."""
    peak, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            for process in psutil.process_iter():
                try:
                    if process.cmdline()[:1] and process.cmdline()[0].startswith(_TASKS):
                        peak.append(max(peak.pop(), process.memory_info().rss))
                except psutil.Error:  # it ended meanwhile
                    continue

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peak
    finally:
        over.set()
        watching.join()
