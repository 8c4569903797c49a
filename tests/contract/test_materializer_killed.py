"""Materialisation is killed with SIGKILL between and within its batches; repeated, it leads to the same store."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from raymlops.clock import ManualClock
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field, WindowAggregate
from raymlops.features.catalog.layout import online_path
from raymlops.features.online import materializer as materializer_module
from raymlops.features.online.lmdb import LmdbOnlineStore
from raymlops.features.online.online_store import ViewUpdate
from raymlops.tables.columns import INSTANT

START = datetime(2024, 3, 1, tzinfo=UTC)
ROWS, KEYS, BATCH_ROWS = 4_000, 50, 100
DAY = timedelta(days=1)
VIEW = FeatureView(
    "v",
    Entity("e", ["k"]),
    [Field("x", "float64"), Field("s", "string")],
    aggregates=[
        WindowAggregate("n", "count", "x", DAY),
        WindowAggregate("total", "sum", "x", DAY),
        WindowAggregate("kinds", "distinct", "s", DAY),
    ],
)
SERVICE = FeatureService("s", [f"v:{name}" for name in VIEW.feature_names])


def table() -> pa.Table:
    chance = random.Random(3)
    times = [START + timedelta(seconds=chance.randrange(80_000)) for _ in range(ROWS)]
    return pa.table(
        {
            "k": [chance.randrange(KEYS) for _ in range(ROWS)],
            "event_time": pa.array(times, INSTANT),
            "x": [chance.random() for _ in range(ROWS)],
            "s": [str(chance.randrange(30)) for _ in range(ROWS)],
        }
    )


class StepByStep(LmdbOnlineStore):
    """Commits once for every line on standard input."""

    def commit(self, updates: Sequence[ViewUpdate]) -> None:
        sys.stdin.readline()
        super().commit(updates)
        print("committed", flush=True)  # noqa: T201 - tells the parent how far it is


def materialize_step_by_step(root: Path) -> None:
    """What the killed process runs: many small batches."""
    materializer_module._BATCH_BYTES = BATCH_ROWS * 5 * 8
    online = StepByStep(online_path(root), writable=True)
    FeatureStore(root, clock=ManualClock(START + DAY), online=online).materialize()


def materialize_and_kill(root: Path, commits: int, delay_s: float) -> None:
    """Let it commit some times, and kill it within what comes next."""
    run = f"runpy.run_path({__file__!r})['materialize_step_by_step'](pathlib.Path({str(root)!r}))"
    command = [sys.executable, "-c", f"import runpy, pathlib; {run}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n" * commits)
        process.stdin.flush()
        for _ in range(commits):
            assert process.stdout.readline() == b"committed\n"
        process.stdin.write(b"\n")
        process.stdin.flush()
        time.sleep(delay_s)
        process.kill()


def test_p31_sigkill_while_materialising(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, clock=ManualClock(START + DAY))
    store.apply(VIEW, SERVICE)
    store.ingest("v", table())
    store.close()
    chance, batches = random.Random(11), [0]
    for commits in (1, 5, 9):
        materialize_and_kill(tmp_path, commits, chance.uniform(0.0, 0.01))
        online = LmdbOnlineStore(online_path(tmp_path), writable=True)
        mark = online.watermark("v@1")
        online.close()
        assert mark is not None
        done, rest = divmod(mark.sequence + 1, BATCH_ROWS)
        assert rest == 0
        assert done - batches[-1] in {commits, commits + 1}
        batches.append(done)
    store, reader = FeatureStore(tmp_path, clock=ManualClock(START + DAY)), FeatureReader(tmp_path)
    at = START + DAY
    entities = pa.table({"k": list(range(KEYS)), "event_time": pa.array([at] * KEYS, INSTANT)})
    online_rows = reader.online("s", entities, at)
    assert online_rows.equals(reader.training_set("s", entities, name="check").table())
    assert sum(online_rows["v__n"].to_pylist()) == ROWS
    reader.close()
    store.close()
