"""Feast's SQLite online store, timed whenever a line comes in; run in the peers' environment.

Arguments: directory with ``table.parquet`` and ``work.json``: ``{"store": path, "requests": [[key, ...], ...]}``.
With no requests a line is one materialisation of the whole table; else it is all requests, of which the median counts,
and the answers to the last one are written to ``answer.json``.
"""

import json
import statistics
import sys
import time
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Bool, Float64, Int64, String, UnixTimestamp
from feast.value_type import ValueType

warnings.simplefilter("ignore")

TYPES = {
    **{f"f{number}": Float64 for number in range(4)},
    **{f"i{number}": Int64 for number in range(3)},
    "b": Bool,
    "s": String,
    "t": UnixTimestamp,
}
FEATURES = [f"facts:{name}" for name in TYPES]


def open_store(folder: Path, table: Path) -> FeatureStore:
    """A store with one view on the table."""
    config = RepoConfig(
        project="online",
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": "file"},
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    thing = Entity(name="thing", join_keys=["k"], value_type=ValueType.INT64)
    facts = FeatureView(
        name="facts",
        entities=[thing],
        ttl=timedelta(days=36_500),
        schema=[Field(name=name, dtype=dtype) for name, dtype in TYPES.items()],
        source=FileSource(path=str(table), timestamp_field="event_time"),
    )
    store.apply([thing, facts])
    return store


def read_all(store: FeatureStore, requests: list[list[int]]) -> tuple[float, Any]:
    """Median seconds of one request, the answer as Feast holds it; and the answer to the last."""
    seconds = []
    answer = None
    for keys in requests:
        rows = [{"k": key} for key in keys]
        started = time.perf_counter()
        answer = store.get_online_features(features=FEATURES, entity_rows=rows)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), answer


def main(folder: Path) -> None:
    """Answer every line on standard input with seconds."""
    work = json.loads((folder / "work.json").read_text())
    root = Path(work["store"])
    root.mkdir(parents=True, exist_ok=True)
    store = open_store(root, folder / "table.parquet")
    answer = None
    for _ in sys.stdin:
        if work["requests"]:
            seconds, answer = read_all(store, work["requests"])
        else:
            started = time.perf_counter()
            store.materialize(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
            seconds = time.perf_counter() - started
        print(seconds, flush=True)
    if answer is not None:
        columns = {name: values for name, values in answer.to_dict().items() if name != "t"}
        (folder / "answer.json").write_text(json.dumps(columns))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
