"""Online reads and materialisation beside Feast's SDK on its SQLite store, in one run, answers compared.

Ten features of mixed types. Reads are what a serving replica does: ``OnlinePlan.read`` from the LMDB file, in process;
of Feast they are ``get_online_features``, without the conversion of its answer to plain values.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.peer_processes import Peer
from raymlops.clock import ManualClock, to_us
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field, WindowAggregate
from raymlops.tables.columns import INSTANT

KEYS, ROWS, ROUNDS = 100_000, 1_000_000, 5
NOW = datetime(2024, 3, 3, tzinfo=UTC)
DAY_US = 24 * 60 * 60 * 10**6
FIELDS = [
    *(Field(f"f{number}", "float64") for number in range(4)),
    *(Field(f"i{number}", "int64") for number in range(3)),
    Field("b", "bool"),
    Field("s", "string"),
    Field("t", "timestamp"),
]
VIEW = FeatureView("facts", Entity("thing", ["k"]), FIELDS, ttl=timedelta(days=365))
WINDOWS = FeatureView(
    "windows",
    Entity("thing", ["k"]),
    FIELDS,
    aggregates=[
        WindowAggregate("n", "count", "f0", timedelta(days=1)),
        WindowAggregate("mean", "mean", "f0", timedelta(hours=1)),
        WindowAggregate("std", "std", "f1", timedelta(days=1)),
        WindowAggregate("high", "max", "i0", timedelta(days=1)),
        WindowAggregate("kinds", "distinct", "s", timedelta(days=1)),
    ],
)
SERVICE = FeatureService("all", [f"facts:{field.name}" for field in FIELDS])


def measure() -> dict[str, Any]:
    """Microseconds of reads, keys per second of materialisation, and both sides' ratios."""
    with tempfile.TemporaryDirectory() as folder:
        reads, materialized = _beside_feast(Path(folder))
    materialize = {
        "first_keys_per_s": _materialize(VIEW, [table_of(ROWS, ROWS, seed=1)]),
        "update_keys_per_s": _materialize(VIEW, [table_of(ROWS, ROWS, seed=1), table_of(ROWS, ROWS, seed=2)]),
        "windows_first_rows_per_s": _materialize(WINDOWS, [table_of(ROWS, KEYS, seed=1)]),
        "windows_update_rows_per_s": _materialize(
            WINDOWS, [table_of(ROWS, KEYS, seed=1), table_of(KEYS, KEYS, seed=2)]
        ),
        **materialized,
    }
    ratio = materialize["first_keys_per_s"] / materialize["feast_keys_per_s"]
    return {"reads": reads, "materialize": {**materialize, "ratio": round(ratio, 1)}}


def table_of(rows: int, keys: int, *, seed: int) -> pa.Table:
    """Rows of the last day before now, in random order; as many as keys: one per key."""
    chance = np.random.default_rng(seed)
    event = to_us(NOW) - chance.integers(1, DAY_US, rows)
    columns: dict[str, Any] = {
        "k": chance.permutation(rows) % keys,
        "event_time": pa.array(event).cast(INSTANT),
        **{f"f{number}": pa.array(chance.normal(size=rows), mask=chance.random(rows) < 0.02) for number in range(4)},
        **{f"i{number}": chance.integers(0, 2**40, rows) for number in range(3)},
        "b": chance.random(rows) < 0.5,
        "s": pa.array(chance.integers(0, 5_000, rows)).cast(pa.string()),
        "t": pa.array(event - DAY_US).cast(INSTANT),
    }
    return pa.table(columns)


def _beside_feast(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    table = table_of(KEYS, KEYS, seed=0)
    clock = ManualClock(NOW)
    store = FeatureStore(folder / "store", clock=clock)
    store.apply(VIEW, SERVICE)
    store.ingest("facts", table)
    ours = KEYS / _seconds(store.materialize)
    reader = FeatureReader(folder / "store", clock=clock)
    with _peer(folder / "materialize", table, folder / "feast", []) as peer:
        theirs = KEYS / peer.seconds()
    chance = np.random.default_rng(3)
    reads = {
        f"keys_{size}": _read(folder, table, reader, chance.integers(0, KEYS, (calls, size)).tolist())
        for size, calls in ((1, 500), (100, 100))
    }
    reader.close()
    store.close()
    return reads, {"first_keys_per_s_of_100_k": round(ours), "feast_keys_per_s": round(theirs)}


def _peer(folder: Path, table: pa.Table, store: Path, requests: list[list[int]]) -> Peer:
    folder.mkdir()
    pq.write_table(table, folder / "table.parquet")
    (folder / "work.json").write_text(json.dumps({"store": str(store), "requests": requests}))
    return Peer("online_feast.py", folder)


def _read(folder: Path, table: pa.Table, reader: FeatureReader, requests: list[list[int]]) -> dict[str, Any]:
    """Both sides' reads of the same keys, in turns, after a round that does not count."""
    plan, at_us = reader.plan("all"), to_us(NOW)
    rows = [[{"k": key} for key in keys] for keys in requests]
    tables = [pa.table({"k": keys}) for keys in requests]
    ours: list[float] = []
    through_reader: list[float] = []
    theirs: list[float] = []
    own = folder / f"read{len(requests[0])}"
    with _peer(own, table, folder / "feast", requests) as peer:
        for number in range(ROUNDS + 1):
            reads = [_seconds(partial(plan.read, some, [at_us] * len(some))) for some in rows]
            online = [_seconds(partial(reader.online, "all", table)) for table in tables]
            feast = peer.seconds()
            if number:
                ours += reads
                through_reader += online
                theirs.append(feast)
    last = plan.read(rows[-1], [at_us] * len(rows[-1])).columns
    answer = json.loads((own / "answer.json").read_text())
    median, feast = statistics.median(ours), statistics.median(theirs)
    return {
        "p50_us": _us(median),
        "p99_us": _us(statistics.quantiles(ours, n=100)[98]),
        "reader_online_p50_us": _us(statistics.median(through_reader)),
        "feast_p50_us": _us(feast),
        "ratio": round(feast / median, 1),
        "different_values": sum(
            have != want
            for name in answer
            if name != "k"
            for have, want in zip(last[f"facts__{name}"], answer[name], strict=True)
        ),
    }


def _materialize(view: FeatureView, tables: list[pa.Table]) -> int:
    """Rows per second of materialising the last table from Delta, the others being there already."""
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder), clock=ManualClock(NOW))
        store.apply(view)
        seconds = 0.0
        for table in tables:
            store.ingest(view.name, table)
            seconds = _seconds(store.materialize)
        store.close()
    return round(tables[-1].num_rows / seconds)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 1)
