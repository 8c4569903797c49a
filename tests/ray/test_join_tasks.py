"""The join as Ray tasks: the kernel's rows, the task's own error, and no harm from a worker that is killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.errors import DataError, StorageError, UnavailableError
from raymlops.features import (
    Entity,
    FeatureReader,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    WindowAggregate,
    point_in_time_join,
)
from raymlops.tables.columns import INSTANT
from tests.support.point_in_time import PARTITIONS, bucketed_join

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = pytest.mark.ray

T = datetime(2024, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SALES = FeatureView(
    "sales",
    Entity("shop", ["shop", "till"]),
    [Field("amount", "float64"), Field("who", "string"), Field("n", "int64"), Field("ok", "bool")],
    created_at="created_at",
    ttl=30 * HOUR,
    online=False,
    aggregates=[
        WindowAggregate("total", "sum", "amount", 9 * HOUR),
        WindowAggregate("newest", "last", "who", 9 * HOUR),
        WindowAggregate("sold", "count", "n", 9 * HOUR),
    ],
)


def spine_of(rows: int, seed: int = 1) -> pa.Table:
    chance = np.random.default_rng(seed)
    at = pa.array([T + int(hour) * HOUR for hour in chance.integers(0, 200, rows)], INSTANT)
    shops = [None if n == 7 else f"shop {n}" for n in chance.integers(0, 30, rows)]
    return pa.table({"label": np.arange(rows), "till": chance.integers(0, 2, rows), "event_time": at, "shop": shops})


def rows_of(rows: int, seed: int = 0) -> pa.Table:
    chance = np.random.default_rng(seed)
    happened = [T + int(hour) * HOUR for hour in chance.integers(0, 200, rows)]
    created = [at + int(delay) * HOUR for at, delay in zip(happened, chance.integers(0, 5, rows), strict=True)]
    return pa.table(
        {
            "shop": [f"shop {n}" for n in chance.integers(0, 25, rows)],
            "till": chance.integers(0, 2, rows),
            "event_time": pa.array(happened, INSTANT),
            "created_at": pa.array(created, INSTANT),
            "amount": pa.array(chance.normal(size=rows), mask=chance.random(rows) < 0.1),
            "who": pa.array([f"clerk {n}" for n in chance.integers(0, 9, rows)], mask=chance.random(rows) < 0.1),
            "n": pa.array(chance.integers(0, 2**60, rows), mask=chance.random(rows) < 0.1),
            "ok": chance.random(rows) < 0.5,
        }
    )


def pool(timeout_s: float = 120.0) -> Any:
    from raymlops.runtime.jobs.join_tasks import RayTasks

    return RayTasks(timeout_s)


@pytest.mark.parametrize("parts", PARTITIONS)
@pytest.mark.parametrize("cutoff", [False, True])
def test_tasks_give_what_the_kernel_gives(platform: Platform, parts: int, cutoff: bool) -> None:
    spine, table = spine_of(500), rows_of(3000)
    table = table.append_column("_seq", pa.array(np.arange(table.num_rows)))
    expected = point_in_time_join(spine, [SALES], {"sales": table}, knowledge_cutoff=cutoff)
    joined = bucketed_join(spine, [SALES], {"sales": table}, parts, pool=pool, knowledge_cutoff=cutoff)
    assert joined.equals(expected)
    assert expected["sales__amount"].null_count < spine.num_rows


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    store = FeatureStore(tmp_path, clock=ManualClock(T))
    store.apply(SALES, FeatureService("all", [f"sales:{name}" for name in SALES.feature_names]))
    for number in range(4):
        store.ingest("sales", rows_of(800, seed=number), ingest_id=f"{number}")
    store.close()
    return tmp_path


def test_a_large_training_set_is_the_one_of_a_single_process(platform: Platform, stored: Path) -> None:
    """From the tables on disk: the same rows, the same manifest."""
    from raymlops.features.offline.service_join import JoinTasks

    plain = FeatureReader(stored, clock=ManualClock(T)).training_set("all", spine_of(700), name="x")
    tasks = JoinTasks(pool=pool, from_rows=1)
    cut = FeatureReader(stored, clock=ManualClock(T), join_tasks=tasks).training_set("all", spine_of(700), name="x")
    assert cut.table().equals(plain.table())
    assert cut.manifest == plain.manifest
    assert plain.manifest.late_rows["sales"] > 0


def test_a_file_that_is_gone_is_named(platform: Platform, stored: Path) -> None:
    from raymlops.features.offline.service_join import JoinTasks

    lost = next((stored / "tables" / "sales").glob("*.parquet"))
    lost.unlink()
    reader = FeatureReader(stored, clock=ManualClock(T), join_tasks=JoinTasks(pool=pool, from_rows=1))
    with pytest.raises(StorageError, match=f"table 'sales': cannot read .*{lost.name}"):
        reader.training_set("all", spine_of(10), name="x")


def test_an_error_inside_a_task_comes_out_as_it_was_raised(platform: Platform) -> None:
    def refuse(table: pa.Table) -> list[pa.Table]:
        raise DataError(f"{table.num_rows} rows are wrong", rows=table.num_rows)

    for run in (lambda p: p.scatter(refuse, [(spine_of(3),)], 1), lambda p: list(p.gather(refuse, [(spine_of(3),)]))):
        with pool() as tasks, pytest.raises(DataError, match="3 rows are wrong") as caught:
            run(tasks)
        assert caught.value.context == {"rows": 3}


def test_a_task_whose_worker_is_killed_is_run_again(platform: Platform, tmp_path: Path) -> None:
    def die_once(table: pa.Table, name: str) -> list[pa.Table]:
        mark = tmp_path / name
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [table, table.slice(1)]

    def count_after_death(name: str, *tables: pa.Table) -> int:
        mark = tmp_path / name
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return sum(table.num_rows for table in tables)

    with pool() as tasks:
        held = tasks.scatter(die_once, [(spine_of(n + 1), f"split {n}") for n in range(3)], 2)
        calls = [(f"join {n}", *parts) for n, parts in enumerate(zip(*held, strict=True))]
        assert sorted(tasks.gather(count_after_death, calls)) == [(0, 1 + 2 + 3), (1, 0 + 1 + 2)]
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.slow
def test_a_worker_that_dies_each_time_is_an_error(platform: Platform) -> None:
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pool() as tasks, pytest.raises(UnavailableError, match="a task could not be completed"):
        list(tasks.gather(die, [()]))


def test_the_deadline_holds(platform: Platform) -> None:
    def wait() -> None:
        threading.Event().wait(600.0)

    with pool(1.0) as tasks, pytest.raises(UnavailableError, match="had not ended after 1 s"):
        list(tasks.gather(wait, [()] * 3))


@pytest.mark.slow
def test_nodes_that_share_nothing_and_one_that_is_lost(tmp_path: Path) -> None:
    """In a process of its own, on a cluster of its own."""
    marker, token = f"JOIN_NODES_{uuid.uuid4().hex}", tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYMLOPS_"))}
    log = tmp_path / "log"
    with log.open("wb") as output:
        program = Path(__file__).with_name("join_nodes.py")
        story = subprocess.Popen(
            [sys.executable, str(program), str(token)],
            env={**inherited, marker: "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parents[2],
        )
        try:
            code = story.wait(240.0)
        finally:
            story.kill()
            for process in _with_variable(marker):
                with contextlib.suppress(psutil.Error):
                    process.kill()
    assert code == 0, log.read_text(errors="replace")[-6000:]
    assert log.read_text(errors="replace").rstrip().endswith("joined")


def _with_variable(name: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if name in process.environ():
                found.append(process)
    return found
