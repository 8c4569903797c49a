"""The store is killed with SIGKILL while it pushes, again and again; nothing acknowledged is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from raymlops.clock import ManualClock
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field, WindowAggregate
from raymlops.features.catalog.layout import tables_path
from raymlops.tables.columns import INSTANT
from raymlops.tables.delta import DeltaTables

START = datetime(2024, 3, 1, tzinfo=UTC)
VIEWS = [
    FeatureView(
        name,
        Entity(f"e_{name}", ["k"]),
        [Field("x", "float64")],
        source=source,
        aggregates=[
            WindowAggregate("n", "count", "x", timedelta(days=1)),
            WindowAggregate("sum_x", "sum", "x", timedelta(days=1)),
        ],
    )
    for name, source in [("own", None), ("other", "own")]
]
SERVICE = FeatureService("s", [f"{view.name}:{name}" for view in VIEWS for name in ("x", "n", "sum_x")])
KEYS = 5


def batch(number: int) -> pa.Table:
    times = [START + timedelta(seconds=number)] * KEYS
    values = [0.1 * number + key for key in range(KEYS)]
    return pa.table({"k": list(range(KEYS)), "event_time": pa.array(times, INSTANT), "x": values})


def open_store(root: Path) -> FeatureStore:
    return FeatureStore(root, clock=ManualClock(START), history=timedelta(days=1))


def push_for_ever(root: Path) -> None:
    """What the killed process runs: repeats the last push, which may have been cut off, then goes on."""
    store = open_store(root)
    store.apply(*VIEWS, SERVICE)
    acknowledged = root / "acknowledged"
    number = int(acknowledged.read_text()) if acknowledged.exists() else 0
    while True:
        store.push("own", batch(number), ingest_id=str(number))
        acknowledged.with_suffix(".new").write_text(str(number))
        acknowledged.with_suffix(".new").replace(acknowledged)
        print("pushed", flush=True)  # noqa: T201 - tells the parent that there is something to kill
        number += 1


def test_sigkill_loses_and_doubles_nothing(tmp_path: Path) -> None:
    program = f"import runpy, pathlib; runpy.run_path({__file__!r})['push_for_ever'](pathlib.Path({str(tmp_path)!r}))"
    chance = random.Random(7)
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"pushed\n"
            time.sleep(chance.uniform(0.0, 0.15))
            os.kill(process.pid, signal.SIGKILL)
    acknowledged = int((tmp_path / "acknowledged").read_text())
    store, reader = open_store(tmp_path), FeatureReader(tmp_path)
    stored = reader.table("own").num_rows // KEYS
    assert stored - 1 in {acknowledged, acknowledged + 1}
    at = START + timedelta(seconds=stored)
    entities = pa.table({"k": list(range(KEYS)), "event_time": pa.array([at] * KEYS, INSTANT)})
    online = reader.online("s", entities, at)
    assert online["own__n"].to_pylist() == [stored] * KEYS
    assert online["other__n"].to_pylist() == [stored] * KEYS
    assert online.equals(reader.training_set("s", entities, name="check").table())
    store.push("own", batch(acknowledged), ingest_id=str(acknowledged))
    assert reader.table("own").num_rows == stored * KEYS
    reader.close()
    store.close()


def mixed(who: int, number: int) -> pa.Table:
    """Two rows that are taken and one that is refused, told apart by their key and time."""
    times = [START + timedelta(seconds=number)] * 3
    return pa.table({"k": [who] * 3, "event_time": pa.array(times, INSTANT), "x": [1.0, float("inf"), 2.0]})


def shared_store(root: Path, who: int) -> FeatureStore:
    """A store whose tables others write to as well."""
    return FeatureStore(root / "shared", clock=ManualClock(START), local=root / str(who))


def ingest_for_ever(root: Path, who: int) -> None:
    """What each of several killed processes runs: repeats its last ingest, maybe cut off, then goes on."""
    store = shared_store(root, who)
    acknowledged = root / f"acknowledged-{who}"
    number = int(acknowledged.read_text()) if acknowledged.exists() else 0
    while True:
        receipt = store.ingest("own", mixed(who, number), ingest_id=f"{who}/{number}", on_invalid="quarantine")
        assert (receipt.rows, receipt.rejected) == (2, 1)
        acknowledged.with_suffix(".new").write_text(str(number))
        acknowledged.with_suffix(".new").replace(acknowledged)
        print("ingested", flush=True)  # noqa: T201 - tells the parent that there is something to kill
        number += 1


def test_sigkill_of_several_writers_loses_and_doubles_nothing(tmp_path: Path) -> None:
    writers, rounds = 3, 2
    store = shared_store(tmp_path, writers)
    store.apply(*VIEWS, SERVICE)
    chance = random.Random(11)
    for _ in range(rounds):
        processes = []
        for who in range(writers):
            call = f"runpy.run_path({__file__!r})['ingest_for_ever'](pathlib.Path({str(tmp_path)!r}), {who})"
            program = f"import runpy, pathlib; {call}"
            processes.append(subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE))
        try:
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ingested\n"
            for process in chance.sample(processes, writers):
                time.sleep(chance.uniform(0.0, 0.15))
                os.kill(process.pid, signal.SIGKILL)
        finally:
            for process in processes:
                process.kill()
                process.communicate()
    counts = []
    for who in range(writers):
        last = int((tmp_path / f"acknowledged-{who}").read_text()) + 1
        store.ingest("own", mixed(who, last), ingest_id=f"{who}/{last}", on_invalid="quarantine")
        counts.append(last + 1)
    reader = FeatureReader(tmp_path / "shared", local=tmp_path / str(writers))
    table = DeltaTables(tables_path(tmp_path / "shared")).read("own", columns=["k", "event_time", "_seq"])
    assert table["_seq"].to_pylist() == list(range(table.num_rows))
    refused = reader.quarantine("own")
    for who, count in enumerate(counts):
        times = [row["event_time"] for row in table.to_pylist() if row["k"] == who]
        assert times == [START + timedelta(seconds=number) for number in range(count) for _ in range(2)]
        ids = [row.ingest_id for row in refused if row.values["k"] == who]
        assert ids == [f"{who}/{number}" for number in range(count)]
    store.materialize()
    store.close()
