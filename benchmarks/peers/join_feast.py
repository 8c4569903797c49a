"""Feast's DuckDB offline store, timed whenever a line comes in; run in the peers' environment.

Arguments: directory with ``spine.parquet`` and ``table.parquet``, to which the last answer is written.
"""

import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float64
from feast.value_type import ValueType

warnings.simplefilter("ignore")

FEATURES = ("f0", "f1", "f2", "f3")


def open_store(folder: Path) -> FeatureStore:
    """A store with one view on the table."""
    config = RepoConfig(
        project="join",
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": "duckdb"},
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    thing = Entity(name="thing", join_keys=["k"], value_type=ValueType.INT64)
    facts = FeatureView(
        name="facts",
        entities=[thing],
        ttl=timedelta(0),
        schema=[Field(name=name, dtype=Float64) for name in FEATURES],
        source=FileSource(path=str(folder / "table.parquet"), timestamp_field="event_time"),
    )
    store.apply([thing, facts])
    return store


def main(folder: Path) -> None:
    """Answer every line on standard input with the seconds of one training set, from files to Arrow."""
    store = open_store(folder)
    spine = pd.read_parquet(folder / "spine.parquet").rename(columns={"event_time": "event_timestamp"})
    answer = None
    for _ in sys.stdin:
        started = time.perf_counter()
        job = store.get_historical_features(entity_df=spine, features=[f"facts:{name}" for name in FEATURES])
        answer = job.to_arrow()
        print(time.perf_counter() - started, flush=True)
    answer.to_pandas().to_parquet(folder / "feast.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
