"""Drift against a frozen reference: its speed beside Evidently's, its memory, and what it finds."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from benchmarks.peer_processes import Peer
from raymlops.config import MonitoringConfig
from raymlops.monitoring import DriftRule, Reference
from raymlops.monitoring.windows.closing import drift_rule

ROWS, COLUMNS, ROUNDS = 1_000_000, 20, 5
BLOCK = 100_000
RULES = {"library": DriftRule(), "product": drift_rule(MonitoringConfig().drift)}


def measure() -> dict[str, Any]:
    """Seconds, megabytes and shares of what should be found."""
    return {
        "1M_rows_x_20": _beside_evidently(),
        "compare_ms_per_column": {str(rows): _compare(rows) for rows in (10_000, 1_000_000)},
        "peak_mib_of_profiling": {str(rows): _peak(rows) for rows in (BLOCK, 1_000_000, 10_000_000)},
        "power": {name: _power(rule) for name, rule in RULES.items()},
        "elec2": _elec2(),
    }


def _table(rng: np.random.Generator, rows: int) -> pa.Table:
    """Normal, lognormal, heavy-tailed and categorical columns in turn."""
    letters = pa.array(list("abcdefghij"))
    draws = (
        lambda: pa.array(rng.normal(size=rows)),
        lambda: pa.array(rng.lognormal(size=rows)),
        lambda: pa.array(rng.standard_t(2, size=rows)),
        lambda: letters.take(pa.array(rng.integers(0, 10, rows))),
    )
    return pa.table({f"c{index}": draws[index % 4]() for index in range(COLUMNS)})


def _beside_evidently() -> dict[str, Any]:
    """A window of a million rows, in memory, until what drifted is known; ours in turns with the peer."""
    rng = np.random.default_rng(0)
    past, window = _table(rng, ROWS), _table(rng, ROWS)
    started = time.perf_counter()
    reference = Reference.fit(past)
    fit_s = time.perf_counter() - started
    times = []
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        pq.write_table(past, folder / "reference.parquet")
        pq.write_table(window, folder / "window-0.parquet")
        with Peer("evidently_drift.py", folder, "evidently.txt") as peer:
            for _ in range(ROUNDS):
                started = time.perf_counter()
                report = reference.compare(reference.profile(window))
                times.append(time.perf_counter() - started)
            peer_s = peer.seconds()
        theirs = orjson.loads((folder / "evidently.json").read_bytes())[0]
    ours_s = statistics.median(times)
    return {
        "raymlops_s": round(ours_s, 3),
        "evidently_s": round(peer_s, 1),
        "times_as_fast": round(peer_s / ours_s, 1),
        "fit_of_the_reference_s": round(fit_s, 2),
        "drifted": {"raymlops": report.drifted_columns(), "evidently": theirs},
    }


def _compare(rows: int) -> float:
    """Milliseconds per column of comparing a stored profile."""
    rng = np.random.default_rng(1)
    reference = Reference.fit(_table(rng, 100_000))
    profile = reference.profile(_table(rng, rows))
    times = []
    for _ in range(50):
        started = time.perf_counter()
        reference.compare(profile)
        times.append(time.perf_counter() - started)
    return round(statistics.median(times) / COLUMNS * 1e3, 3)


def _peak(rows: int) -> float:
    """MiB that a process holds at most, imports and all, while it profiles so many rows by batches."""
    command = [sys.executable, "-c", f"from benchmarks import drift; drift.profile_batches({rows})"]
    told = subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[1])
    return float(told.stdout)


def profile_batches(rows: int) -> None:
    """Profile a table that is never whole in memory, and print the most MiB that the process has held."""
    rng = np.random.default_rng(2)
    reference = Reference.fit(_table(rng, BLOCK))
    total = reference.profile(_table(rng, 0))
    for _ in range(rows // BLOCK):
        total += reference.profile(_table(rng, BLOCK))
    assert total.rows == rows
    status = Path("/proc/self/status").read_text()
    print(round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1))


def _power(rule: DriftRule) -> dict[str, Any]:
    """How often a shift of 0.2 standard deviations, and 5% missing, in 1 of 20 columns are found in 2,000 rows."""
    rng = np.random.default_rng(3)
    trials, two, one, missing, others = 400, 0, 0, 0, 0
    for trial in range(trials):
        if trial % 20 == 0:
            reference = Reference.fit(pa.table({f"c{i}": rng.normal(size=10_000) for i in range(COLUMNS)}))
        named = []
        for _ in range(2):
            rows = {f"c{i}": rng.normal(0.2 if i == 7 else 0.0, 1, 2000) for i in range(COLUMNS)}
            named.append(reference.compare(reference.profile(pa.table(rows)), rule=rule).drifted_columns())
        one += "c7" in named[0]
        two += any("c7" in names for names in named)
        others += any(set(names) - {"c7"} for names in named)
        rows = {f"c{i}": rng.normal(size=2000) for i in range(COLUMNS)}
        rows["c7"][rng.random(2000) < 0.05] = np.nan
        missing += "c7" in reference.compare(reference.profile(pa.table(rows)), rule=rule).drifted_columns()
    return {
        "trials": trials,
        "shift_found_in_first_window": one / trials,
        "shift_found_within_two": two / trials,
        "missing_found_in_first_window": missing / trials,
        "pairs_of_windows_naming_another_column": others / trials,
    }


def _elec2() -> dict[str, Any]:
    """Weeks of the NSW electricity market; vicprice, vicdemand and transfer change at row 17,424.

    The path of ``electricity.csv`` stands in ``ELEC2_CSV``; the data is not part of the repository.
    """
    path = os.environ.get("ELEC2_CSV")
    if not path:
        return {"skipped": "ELEC2_CSV is not set"}
    table = pa.csv.read_csv(path)
    start, step, week, changed = datetime(1996, 5, 7, tzinfo=UTC), timedelta(minutes=30), 336, 17_424
    times = pa.array([start + step * row for row in range(table.num_rows)], pa.timestamp("us", tz="UTC"))
    table = table.append_column("at", times)
    found: dict[str, Any] = {}
    for weeks in (12, 24, 36, 40):
        reference = Reference.fit(table.slice(0, weeks * week), event_time="at", window=timedelta(days=7))
        before: dict[str, int] = {}
        first: list[list[str]] = []
        for row in range(weeks * week, table.num_rows - week + 1, week):
            report = reference.compare(reference.profile(table.slice(row, week)), rule=RULES["product"])
            if row + week <= changed:
                for name in report.drifted_columns():
                    before[name] = before.get(name, 0) + 1
            elif len(first) < 2:
                first.append(sorted(report.drifted_columns()))
        found[f"reference_of_{weeks}_weeks"] = {
            "windows_before": (changed - weeks * week) // week,
            "named_before": before,
            "named_in_the_first_two_after": first,
        }
    return found
