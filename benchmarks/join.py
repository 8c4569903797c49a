"""The point-in-time join beside Feast's DuckDB store and beside DuckDB's own ASOF join, answers compared."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.join_data import FEATURES, SERVICE, VIEW, spine_of, table_of
from benchmarks.peer_processes import Peer
from raymlops.clock import SystemClock
from raymlops.features import FeatureReader, FeatureStore, point_in_time_join

ROUNDS = 7


def measure() -> dict[str, Any]:
    """Median seconds of both sides, taken in turns, and how many times as long the peer takes."""
    with tempfile.TemporaryDirectory() as folder:
        feast = _beside_feast(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        duckdb = _beside_duckdb(Path(folder))
    return {"feast_duckdb_store": feast, "duckdb_asof": duckdb}


def _beside_feast(folder: Path) -> dict[str, Any]:
    """A training set of 200 k rows from a stored table of 1 M: from files to Arrow, by what a user calls."""
    table, spine = table_of(1_000_000, 20_000, seed=0), _numbered(spine_of(200_000, 20_000))
    pq.write_table(table, folder / "table.parquet")
    pq.write_table(spine, folder / "spine.parquet")
    store = FeatureStore(folder / "store", clock=SystemClock())
    store.apply(VIEW, SERVICE)
    store.ingest("facts", table)
    store.close()

    def ours() -> Any:
        reader = FeatureReader(folder / "store", clock=SystemClock())
        return reader.training_set("all", spine, name="benchmark").table()

    with Peer("join_feast.py", folder) as peer:
        figures, answer = _in_turns(ours, peer)
    feast = pa.Table.from_pandas(_sorted(folder / "feast.parquet"), preserve_index=False)
    return {**figures, "different_values": _different(answer, feast)}


def _beside_duckdb(folder: Path) -> dict[str, Any]:
    """1 M rows against 5 M of 100 k keys, in memory, by the kernel."""
    table, spine = table_of(5_000_000, 100_000, seed=0), _numbered(spine_of(1_000_000, 100_000))
    for name, rows in (("table", table), ("spine", spine)):
        with pa.ipc.new_file(str(folder / f"{name}.arrow"), rows.schema) as writer:
            writer.write_table(rows)
    with Peer("join_duckdb.py", folder) as peer:
        figures, answer = _in_turns(lambda: point_in_time_join(spine, [VIEW], {"facts": table}), peer)
    with pa.memory_map(str(folder / "duckdb.arrow")) as file:
        theirs = pa.ipc.open_file(file).read_all().sort_by("row")
        return {**figures, "different_values": _different(answer, theirs)}


def _numbered(spine: pa.Table) -> pa.Table:
    return spine.append_column("row", pa.array(np.arange(spine.num_rows)))


def _sorted(path: Path) -> Any:
    return pq.read_table(path).sort_by("row").to_pandas()


def _in_turns(ours: Callable[[], Any], peer: Peer) -> tuple[dict[str, Any], Any]:
    """Time both, first the one and then the other, after a round that does not count."""
    answer = ours()
    peer.seconds()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        started = time.perf_counter()
        answer = ours()
        seconds[0].append(time.perf_counter() - started)
        seconds[1].append(peer.seconds())
    own, other = (statistics.median(found) for found in seconds)
    ratios = [theirs / mine for mine, theirs in zip(*seconds, strict=True)]
    figures = {"seconds": round(own, 3), "peer_seconds": round(other, 3), "peer_over_ours": round(other / own, 2)}
    return {**figures, "worst_round": round(min(ratios), 2), "best_round": round(max(ratios), 2)}, answer


def _different(ours: pa.Table, theirs: pa.Table) -> int:
    """Values that are not the same, missing ones included."""
    count = abs(ours.num_rows - theirs.num_rows) * len(FEATURES)
    for name in FEATURES:
        mine, other = (
            table[column].to_pandas().to_numpy(float) for table, column in ((ours, f"facts__{name}"), (theirs, name))
        )
        count += int((~((mine == other) | (np.isnan(mine) & np.isnan(other)))).sum())
    return count
