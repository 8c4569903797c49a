"""A table is trained on without being held in memory: Ray Data reads its blocks, in their order."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray

from raymlops.errors import SchemaMismatch
from raymlops.experiments import Boosting, LearningTask
from raymlops.features import Entity, FeatureView, Field
from raymlops.features.offline.large_tables.bucketed_tables import BlockedTable, TableBlock
from raymlops.platform import Platform
from raymlops.runtime.cluster.free_cpus import await_free_cpus, describe_cpus
from raymlops.runtime.jobs.streamed_training import DatasetRows
from raymlops.tables.columns import INSTANT

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),  # of its own defaults
]

T = datetime(2013, 1, 1, tzinfo=UTC)
VIEW = FeatureView(
    "outcomes",
    Entity("case", ["case"]),
    [Field("a", "float64"), Field("b", "float64"), Field("note", "string"), Field("label", "int64")],
    online=False,
)


def rows(first: int, count: int) -> Any:
    chance = np.random.default_rng(first)
    a, b = chance.normal(size=(2, count))
    label = [None if n % 50 == 0 else int(a[n] + b[n] > 0) for n in range(count)]
    note = ["über" if value > 0 else None for value in b]
    times = pa.array([T + timedelta(minutes=first + n) for n in range(count)], INSTANT)
    cases = np.arange(first, first + count)
    return pa.table({"case": cases, "event_time": times, "a": a, "b": b, "note": note, "label": label})


def test_a_table_version_becomes_a_registered_model(platform: Platform) -> None:
    platform.apply(VIEW)
    for part in range(3):
        platform.features.ingest("outcomes", rows(1000 * part, 1000))
    task = LearningTask(inputs=("a", "b"))
    with pytest.raises(SchemaMismatch, match="event_time"):
        platform.models.train_streamed("outcome", "outcomes", LearningTask(inputs=("a", "event_time")), Boosting())

    version = platform.models.train_streamed(
        "outcome", "outcomes", task, Boosting(rounds=20), version=1, test_from=T + timedelta(minutes=1500)
    )

    assert version.table_versions == {"outcomes": 1}
    assert (version.metrics["train_rows"], version.metrics["test_rows"]) == (1470, 490)
    assert version.metrics["test_auc"] > 0.97
    again = platform.models.train_streamed(
        "outcome", "outcomes", task, Boosting(rounds=20), version=1, test_from=T + timedelta(minutes=1500)
    )
    assert (again.version, again.digest) == (version.version, version.digest)

    texts = platform.models.train_streamed(
        "noted",
        "outcomes",
        LearningTask(inputs=("a", "note")),
        Boosting(rounds=20),
        test_from=T + timedelta(minutes=2000),
    )
    assert texts.metrics["test_auc"] > 0.85  # a alone comes to some 0.75

    _, newest, blocks = platform.reader.blocks("outcomes")
    assert newest == 2
    read = pa.concat_tables(DatasetRows(blocks).batches(["case"]))
    assert read["case"].to_pylist() == list(range(3000))


@pytest.mark.parametrize("fault", ["of the reader", "of a block"])
def test_a_reading_that_is_broken_off_gives_its_cpus_back(platform: Platform, fault: str) -> None:
    del platform
    table = pa.table({"a": np.zeros(400_000)})
    blocks: list[Any] = [TableBlock(table)] * 8
    if fault == "of a block":
        blocks[3] = TableBlock(table.rename_columns(["b"]))
    free = await_free_cpus(1.0, 120.0)  # those of the fit before come back after its end
    kept: list[BaseException] = []
    rows = DatasetRows(BlockedTable(table.schema, blocks, 8 * table.num_rows))
    try:
        for batch in rows.batches(["a"]):
            if batch.num_rows and fault == "of the reader":
                raise ValueError("a label is none of the classes")
    except Exception as error:
        kept.append(error)  # and with it all that its frames hold
    finally:
        rows.close()
    assert kept
    deadline = time.monotonic() + 120.0
    while ray.available_resources().get("CPU", 0.0) < free:
        assert time.monotonic() < deadline, describe_cpus()
        time.sleep(0.05)
