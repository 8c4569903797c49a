"""The join as tasks on a Ray cluster, from tables on disk: time per row and memory per process as the rows grow."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray

from benchmarks.join_data import spine_of, store_rows
from raymlops.clock import SystemClock
from raymlops.config.features import FeaturesConfig
from raymlops.config.platform import PlatformConfig
from raymlops.config.reading.loader import load_config
from raymlops.features import FeatureReader
from raymlops.features.offline.large_tables.bucketed import bucket_numbers
from raymlops.runtime.cluster import local_cluster as cluster
from raymlops.runtime.jobs.parts.join_tasks import RayTasks, join_tasks
from raymlops.runtime.supervision.head import processes_of
from raymlops.runtime.supervision.home_note import ClusterNote

SIZES = ((1_000_000, 5_000_000), (20_000_000, 100_000_000))
_ROWS_PER_KEY = 50
_MIB = 1 << 20


def measure() -> dict[str, Any]:
    """Both sizes, each joined by a process of its own on a cluster of its own; and how time per row grew."""
    figures = []
    for spine_rows, rows in SIZES:
        with tempfile.TemporaryDirectory() as root:
            keys = rows // _ROWS_PER_KEY
            _in_new_process("store", root, rows, keys)
            figures.append(_in_new_process("join", root, spine_rows, rows, keys))
    small, large = figures
    growth = large["us_per_row"] / small["us_per_row"]
    return {"small": small, "large": large, "growth_of_time_per_row": round(growth, 2)}


def _in_new_process(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.join_large", *map(str, arguments)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    figures: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return figures


def _join(root: Path, spine_rows: int, rows: int, keys: int) -> dict[str, Any]:
    spine = spine_of(spine_rows, keys)
    with local_cluster(root / "home") as (config, note):
        tasks = join_tasks(
            config.model_copy(update={"features": FeaturesConfig(root=str(root), join_tasks_from_rows=1)})
        )
        reader = FeatureReader(root, clock=SystemClock(), join_tasks=tasks)
        _start_workers()
        with peaks_of(note) as peaks:
            started = time.perf_counter()
            joined = reader.training_set("all", spine, name="large").table()
            elapsed_s = time.perf_counter() - started
    assert joined.num_rows == spine_rows
    return {
        "spine_rows": spine_rows,
        "table_rows": rows,
        "found_rows": spine_rows - joined["facts__f0"].null_count,
        "seconds": round(elapsed_s, 2),
        "us_per_row": round(elapsed_s * 1e6 / (spine_rows + rows), 3),
        **peaks,
    }


@contextmanager
def local_cluster(home: Path) -> Iterator[tuple[PlatformConfig, ClusterNote]]:
    """A cluster of this machine's cores, and its note; this process is attached to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = load_config(None, environ={}, overrides={"home": str(home), "serving": {"port": port}})
    started, _ = cluster.start_local(config)
    try:
        cluster.attach(started, home)
        yield config, started
    finally:
        ray.shutdown()
        cluster.stop_local(home)


def _start_workers() -> None:
    """Have the cluster's processes up, with what they import, so that time per row is not time to start."""
    with RayTasks(120.0) as tasks:
        calls = [(spine_of(10, 1),)] * 2 * (psutil.cpu_count() or 1)
        for _ in tasks.gather(_rows, calls):
            pass


def _rows(table: Any) -> int:
    time.sleep(0.5)  # so that every process gets one
    return len(bucket_numbers([table["k"]], 1, table.num_rows))


@contextmanager
def peaks_of(note: ClusterNote) -> Iterator[dict[str, Any]]:
    """Largest memory of this process and of any worker, in MiB, with and without what is shared between processes."""
    peaks: dict[str, Any] = {}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            for process, role in _processes(note):
                for kind, size in _memory(process).items():
                    name = f"{role}_{kind}_mib"
                    peaks[name] = max(peaks.get(name, 0), size // _MIB)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        stop.set()
        watcher.join()


def _processes(note: ClusterNote) -> Iterator[tuple[psutil.Process, str]]:
    yield psutil.Process(), "driver"
    for process in processes_of(note):
        try:
            if process.name().startswith("ray::"):
                yield process, "worker"
        except psutil.NoSuchProcess:
            continue


def _memory(process: psutil.Process) -> dict[str, int]:
    """``peak``: the kernel's own high-water mark of resident memory; ``private``: without shared pages, as sampled."""
    try:
        lines = (Path("/proc") / str(process.pid) / "status").read_text().splitlines()
    except OSError:
        return {}
    sizes = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines if line.startswith(("VmHWM", "RssAnon"))}
    return {"peak": sizes["VmHWM"], "private": sizes["RssAnon"]} if len(sizes) == 2 else {}


def main(action: str, root: str, *numbers: str) -> None:
    """One step of ``measure``, in this process."""
    counts = [int(number) for number in numbers]
    if action == "store":
        store_rows(Path(root), *counts)
        print("{}")
    else:
        print(json.dumps(_join(Path(root), *counts)))


if __name__ == "__main__":
    main(*sys.argv[1:])
