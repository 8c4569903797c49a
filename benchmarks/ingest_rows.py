"""Rows into the table of a view: text keys and categories beside numbers, interleaved in one run."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.clock import ManualClock
from raymlops.features import Entity, FeatureStore, FeatureView, Field

ROWS = 5_000_000
KEYS = 200_000
ROUNDS = 3
START = datetime(2026, 1, 5, tzinfo=UTC)
NUMBERS = FeatureView("numbers", Entity("number", ["key"]), [Field(name, "float64") for name in ("a", "b", "c", "d")])
TEXTS = FeatureView(
    "texts",
    Entity("text", ["key"]),
    [
        Field("a", "float64"),
        Field("b", "float64"),
        Field("country", "string"),
        Field("product", "string", allowed=[f"product {number}" for number in range(50)]),
    ],
)


def measure(rows: int = ROWS) -> dict[str, Any]:
    """Rows per second of each kind, and the rates as shares of that of numbers, also by processor time."""
    tables = {"numbers": _numbers(rows), "texts": _texts(rows), "categories": _texts(rows, coded=True)}
    seconds: dict[str, list[float]] = {kind: [] for kind in tables}
    busy: dict[str, list[float]] = {kind: [] for kind in tables}
    for _ in range(ROUNDS):
        for kind, table in tables.items():
            before = time.process_time()
            seconds[kind].append(_seconds("numbers" if kind == "numbers" else "texts", table))
            busy[kind].append(time.process_time() - before)
    rates = {kind: round(rows / median(taken)) for kind, taken in seconds.items()}
    return {"rows": rows, "rows_per_s": rates, "share": _shares(seconds), "share_of_processor_time": _shares(busy)}


def _shares(seconds: dict[str, list[float]]) -> dict[str, float]:
    return {kind: round(median(seconds["numbers"]) / median(taken), 3) for kind, taken in seconds.items()}


def _seconds(view: str, table: pa.Table) -> float:
    root = Path(tempfile.mkdtemp())
    store = FeatureStore(root, clock=ManualClock(START))
    store.apply(NUMBERS, TEXTS)
    started = time.perf_counter()
    store.ingest(view, table, ingest_id="one")
    taken = time.perf_counter() - started
    store.close()
    shutil.rmtree(root)
    return taken


def _times(rows: int) -> Any:
    first = int(START.timestamp() * 1e6)
    return pa.array(first + np.arange(rows) * 1_000, pa.int64()).cast(pa.timestamp("us", tz="UTC"))


def _numbers(rows: int) -> pa.Table:
    rng = np.random.default_rng(0)
    fields = {name: rng.normal(size=rows) for name in ("a", "b", "c", "d")}
    return pa.table({"key": rng.integers(0, KEYS, rows), "event_time": _times(rows), **fields})


def _texts(rows: int, *, coded: bool = False) -> pa.Table:
    rng = np.random.default_rng(0)
    fields = {name: rng.normal(size=rows) for name in ("a", "b")}
    keys = pa.array([f"account-{number:06}" for number in range(KEYS)])
    countries = pa.array([f"country {number}" for number in range(40)])
    products = pa.array(TEXTS.field("product").allowed)
    texts = {"key": keys, "country": countries, "product": products}
    columns = {
        name: pa.DictionaryArray.from_arrays(rng.integers(0, len(values), rows, np.int32), values)
        for name, values in texts.items()
    }
    plain = {name: column if coded else column.dictionary_decode() for name, column in columns.items()}
    return pa.table({"event_time": _times(rows), **fields, **plain})


if __name__ == "__main__":
    print(measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS))
