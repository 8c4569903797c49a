"""Events coming in, and what is made of them: rows per second, profiles, and queries that do not slow down."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.clock import ManualClock
from raymlops.metadata import MetadataService
from raymlops.monitoring import MonitorService, Profile, Reference
from raymlops.monitoring.events.event_tables import DeltaEventTables

START = datetime(2026, 1, 5, tzinfo=UTC)
INPUTS = 20
BLOCK = 250_000
INSTANT = pa.timestamp("us", tz="UTC")


def measure() -> dict[str, Any]:
    """All figures; times in seconds unless the name says otherwise."""
    return {
        "ingest": {str(rows): measure_ingest(rows, max(20, 100_000 // rows)) for rows in (100, 1_000, 10_000)},
        "ingest_100_from_many_writers": {str(writers): measure_ingest(100, 1_000, writers) for writers in (4, 16)},
        "profile": measure_profile(),
        "profile_10m_rows": _in_blocks(),
        "queries": _queries(),
    }


def _inputs(rng: np.random.Generator, rows: int) -> dict[str, Any]:
    columns: dict[str, Any] = {f"x{i}": rng.normal(size=rows) for i in range(INPUTS - 2)}
    return {
        **columns,
        "kind": rng.integers(0, 12, rows).astype(str),
        "account": rng.integers(0, 10**9, rows).astype(str),
    }


def _events(rng: np.random.Generator, rows: int, first: datetime) -> pa.Table:
    at = int(first.timestamp() * 1e6)
    times = pa.array(at + np.sort(rng.integers(0, 1_000_000, rows)), pa.int64()).cast(INSTANT)
    return pa.table(
        {
            "request_id": [f"{at}-{i:x}" for i in range(rows)],
            "row": pa.array(np.zeros(rows, np.int32)),
            "event_time": times,
            "served_at": times,
            "version": pa.array(np.ones(rows, np.int32)),
            "role": pa.array(["champion"] * rows),
            "latency_us": pa.array(rng.integers(500, 5000, rows)),
            "fallback": pa.nulls(rows, pa.string()),
            "error": pa.nulls(rows, pa.string()),
            "missing": pa.array(np.zeros(rows, np.int32)),
            "score": rng.random(rows),
            "label_predicted": rng.integers(0, 2, rows).astype(str),
            "entity": pa.nulls(rows, pa.string()),
            **_inputs(rng, rows),
        }
    )


def measure_ingest(rows: int, batches: int, writers: int = 1) -> dict[str, float]:
    """Batches of so many rows, each acknowledged once it is on disk; a writer sends the next one then.

    Several writers stand for as many replicas. Making the batches is not counted.
    """
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as home:
        metadata = MetadataService(Path(home, "metadata.db"))
        monitor = MonitorService(DeltaEventTables(Path(home, "monitor")), metadata, ManualClock(START))
        tables = [_events(rng, rows, START + timedelta(seconds=n)) for n in range(batches)]
        monitor.record_events("m", _events(rng, rows, START), "first")

        def write(writer: int) -> None:
            for number in range(writer, batches, writers):
                monitor.record_events("m", tables[number], f"b{number}")

        wall, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(writers) as pool:
            list(pool.map(write, range(writers)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        assert monitor.events("m", START, START + timedelta(days=1)).num_rows == rows * (batches + 1)
        metadata.close()
    return {"rows_per_s": rows * batches / wall, "rows_per_cpu_s": rows * batches / cpu, "batches": batches}


def measure_profile() -> dict[str, float]:
    """Seconds to count a million rows of 20 columns, and what their profile takes."""
    rng = np.random.default_rng(1)
    reference = Reference.fit(pa.table(_inputs(rng, 50_000)))
    table = pa.table(_inputs(rng, 1_000_000))
    counted = _seconds(lambda: reference.profile(table), 3)
    sketched = _seconds(lambda: reference.profile(table, sketched=True), 3)
    profiles = [reference.profile(table.slice(part * 10_000, 10_000), sketched=True) for part in range(50)]
    whole = reference.profile(table, sketched=True)
    return {
        "counts_1m_x_20_s": counted,
        "with_sketches_1m_x_20_s": sketched,
        "merge_ms": 1000 * _seconds(lambda: whole + profiles[0], 20),
        "merge_counts_ms": 1000 * _seconds(lambda: _counts(whole) + _counts(profiles[0]), 20),
        "size_of_10k_rows_bytes": len(profiles[0].dumps()),
        "size_of_1m_rows_bytes": len(whole.dumps()),
        "size_of_counts_bytes": len(_counts(whole).dumps()),
        "dumps_ms": 1000 * _seconds(whole.dumps, 5),
        "loads_ms": 1000 * _seconds(lambda: Profile.loads(whole.dumps()), 5),
        "compare_ms_per_column": 1000 * _seconds(lambda: reference.compare(whole), 5) / INPUTS,
    }


def _counts(profile: Profile) -> Profile:
    return Profile(profile.reference, profile.rows, profile.counts, profile.ranges)


def _in_blocks() -> dict[str, float]:
    """Peak memory of 10 million rows read block by block, beside that of one block, each in a process of its own."""
    figures = {}
    for name, blocks in (("one_block", 1), ("10m_rows", 10_000_000 // BLOCK)):
        code = f"from benchmarks.ingest_events import profile_blocks; profile_blocks({blocks})"
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=1800)
        peak, seconds = done.stdout.split()
        figures[f"{name}_peak_mb"], figures[f"{name}_s"] = float(peak), float(seconds)
    return figures


def profile_blocks(blocks: int) -> None:
    """Profile so many blocks and print the process's peak memory in MB, and the seconds without making the rows."""
    rng = np.random.default_rng(2)
    reference = Reference.fit(pa.table(_inputs(rng, 50_000)))
    total, seconds = None, 0.0
    for _ in range(blocks):
        table = pa.table(_inputs(rng, BLOCK))
        began = time.perf_counter()
        profile = reference.profile(table, sketched=True)
        total = profile if total is None else total + profile
        seconds += time.perf_counter() - began
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, seconds)


def _queries() -> list[dict[str, float]]:
    """The last ten minutes of ever more batches, one a second, looked after every minute."""
    rng = np.random.default_rng(3)
    figures = []
    with tempfile.TemporaryDirectory() as home:
        tables, name = DeltaEventTables(Path(home), commits=1024), "predictions/m"
        table = _events(rng, 50, START)
        place, spent, worst = table.column_names.index("event_time"), 0.0, 0.0
        for number in range(1, 3051):
            at = START + timedelta(seconds=number)
            times = pa.array([at] * table.num_rows, INSTANT)
            batch = table.set_column(place, "event_time", times).set_column(place + 1, "served_at", times)
            began = time.perf_counter()
            tables.append(name, batch, ingest_id=f"b{number}")
            spent += time.perf_counter() - began
            if number % 60 == 0:
                worst = max(worst, _seconds(lambda: tables.maintain(name, None, timedelta(days=400)), 1))
            if number in {350, 750, 1550, 3050}:
                since = at - timedelta(minutes=10)
                figures.append(
                    {
                        "batches": number,
                        "last_ten_minutes_ms": 1000 * _seconds(lambda at=since: _read(tables, name, at), 5),
                        "in_a_new_process_ms": 1000
                        * _seconds(lambda at=since: _read(DeltaEventTables(Path(home)), name, at), 3),
                        "everything_ms": 1000 * _seconds(lambda: _read(tables, name, None), 1),
                        "append_ms": 1000 * spent / number,
                        "longest_upkeep_ms": 1000 * worst,
                    }
                )
    return figures


def _read(tables: DeltaEventTables, name: str, since: datetime | None) -> None:
    tables.read(name, since, None, "event_time")


def _seconds(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return median(times)
