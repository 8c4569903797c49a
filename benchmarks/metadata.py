"""The metadata store: acknowledged writes a second, and queries over 100,000 runs beside MLflow's search."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Table, insert

from raymlops.clock import to_us
from raymlops.metadata import MetadataService
from raymlops.metadata.sql.lineage.artifacts import artifact_events
from raymlops.metadata.sql.schema import artifacts, runs
from raymlops.records.learning.artifacts import Artifact
from raymlops.records.runs import Run, RunStatus
from raymlops.testing.metadata_examples import example_draft

CLIENTS, WRITES, ROUNDS = 8, 1000, 5
RUNS, PIPELINES, STEPS, REPEATS = 100_000, 20, 6, 30
BATCH, VERSIONS = 10_000, 2000
START = datetime(2024, 1, 1, tzinfo=UTC)


def measure_writes() -> dict[str, Any]:
    """Acknowledged ledger entries and artifact events a second from 8 clients; none may be lost."""
    found: dict[str, list[float]] = {"ledger_entries_per_s": [], "artifact_events_per_s": []}
    with tempfile.TemporaryDirectory() as folder, closing(MetadataService(Path(folder) / "m.db")) as service:
        service.runs.create_run(Run(id="run", pipeline="p", created_at=START))
        service.artifacts.record_artifact("a" * 64, "table", "file:///a")
        for turn in range(ROUNDS):

            def append(client: int, number: int, turn: int = turn) -> None:
                service.ledger.append_entry("churn", "note", "a reason", {"n": number}, key=f"{turn}-{client}-{number}")

            def record(client: int, number: int, turn: int = turn) -> None:
                service.artifacts.record_event("run", f"{turn}-{client}-{number}", "a" * 64, "input")

            found["ledger_entries_per_s"].append(rate_of(append))
            found["artifact_events_per_s"].append(rate_of(record))
        assert service.ledger.verify_ledger() == ROUNDS * CLIENTS * WRITES
        assert len(service.artifacts.lineage_of("a" * 64).artifacts) == 1
    return {name: round(statistics.median(rates)) for name, rates in found.items()}


def rate_of(write: Callable[[int, int], None]) -> float:
    """Calls a second of 8 threads, which get their number and that of the call."""
    start = threading.Barrier(CLIENTS + 1)

    def work(client: int) -> None:
        start.wait()
        for number in range(WRITES):
            write(client, number)

    threads = [threading.Thread(target=work, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    start.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    return CLIENTS * WRITES / (time.perf_counter() - started)


def measure_queries() -> dict[str, Any]:
    """Milliseconds, median and 95th percentile, of questions to 100,000 runs with six steps of lineage each."""
    with tempfile.TemporaryDirectory() as folder, closing(MetadataService(Path(folder) / "m.db")) as service:
        _fill(service)
        newest = f"{RUNS - 1}-{STEPS}"
        questions: dict[str, Callable[[], object]] = {
            "newest_50": lambda: service.runs.list_runs(limit=50),
            "of_a_pipeline_50": lambda: service.runs.list_runs("pipeline-7", limit=50),
            "failed_of_a_pipeline_50": lambda: service.runs.list_runs("pipeline-7", "failed", limit=50),
            "one_run": lambda: service.runs.get_run(f"run-{RUNS // 2}"),
            "lineage_up": lambda: service.artifacts.lineage_of(newest),
            "lineage_down": lambda: service.artifacts.runs_using("source-7"),
            "trained_on_a_table_version": lambda: service.models.trained_on("planes", 7),
            "events_of_a_run": lambda: service.artifacts.run_events(f"run-{RUNS - 1}"),
        }
        figures = {name: _milliseconds(ask) for name, ask in questions.items()}
    with tempfile.TemporaryDirectory() as folder:
        figures |= {f"mlflow_{name}": _milliseconds(ask) for name, ask in _mlflow(Path(folder))}
    return figures


def _milliseconds(ask: Callable[[], object]) -> dict[str, float]:
    ask()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        ask()
        times.append((time.perf_counter() - started) * 1e3)
    return {"p50": round(statistics.median(times), 2), "p95": round(sorted(times)[int(0.95 * REPEATS)], 2)}


def _fill(service: MetadataService) -> None:
    """Runs of 20 pipelines; a source feeds 10 runs, a run's steps hand one artifact on to the next.

    Written into the tables in bulk, as those of MLflow are; the rows are what the calls would have written, and some
    are read back through them.
    """
    for first in range(0, RUNS, BATCH):
        rows: dict[Table, list[dict[str, Any]]] = {table: [] for table in (runs, artifacts, artifact_events)}
        for number in range(first, first + BATCH):
            rows[runs].append(_run_row(number))
            if number % 100 < 10 or number >= RUNS - 10:
                _add_lineage(rows, number)
        with service._database.write() as connection:
            for table, values in rows.items():
                connection.execute(insert(table), values)
    draft = example_draft()
    for number in range(VERSIONS):
        trained = {"name": f"model-{number % PIPELINES}", "table_versions": {"planes": number // 10, "weather": number}}
        service.models.register_version(draft.model_copy(update=trained), key=str(number))
    assert service.runs.get_run(f"run-{RUNS // 2}").parameters == {"depth": RUNS // 2 % 7, "rate": 0.1}
    assert len(service.artifacts.lineage_of(f"{RUNS - 1}-{STEPS}").events) == 2 * STEPS
    assert len(service.models.trained_on("planes", 7)) == 10


def _run_row(number: int) -> dict[str, Any]:
    status = RunStatus.FAILED if number % 10 == 0 else RunStatus.SUCCEEDED
    at, parameters = START + timedelta(minutes=number), {"depth": number % 7, "rate": 0.1}
    known = {"status": status, "parameters": parameters, "result": {"log_loss": 0.4}, "ended_at": at}
    run = Run(id=f"run-{number}", pipeline=f"pipeline-{number % PIPELINES}", created_at=at, **known)
    body = run.model_dump_json(exclude={"steps"})
    return {"id": run.id, "pipeline": run.pipeline, "status": str(status), "created_us": to_us(at), "body": body}


def _add_lineage(rows: dict[Table, list[dict[str, Any]]], number: int) -> None:
    source, run_id = f"source-{number // 100}", f"run-{number}"
    if number % 100 == 0:
        rows[artifacts].append(_artifact_row(source, "table"))
    rows[artifact_events].append(_event_row(run_id, "0", source, "input"))
    for step in range(1, STEPS + 1):
        made = f"{number}-{step}"
        rows[artifacts].append(_artifact_row(made, "step"))
        rows[artifact_events].append(_event_row(run_id, str(step - 1), made, "output"))
        rows[artifact_events].append(_event_row(run_id, str(step), made, "input"))


def _artifact_row(digest: str, kind: str) -> dict[str, Any]:
    artifact = Artifact(digest=digest, kind=kind, uri="file:///x", created_at=START)
    return {"digest": digest, "kind": kind, "body": artifact.model_dump_json()}


def _event_row(run_id: str, step: str, digest: str, direction: str) -> dict[str, Any]:
    return {"run_id": run_id, "step": step, "digest": digest, "direction": direction, "at_us": to_us(START)}


def _mlflow(folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """MLflow's store with as many runs, written into its tables in bulk: by its client that would take an hour."""
    from mlflow import MlflowClient
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlParam, SqlRun
    from sqlalchemy import create_engine

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiments = [client.create_experiment(f"pipeline-{n}", str(folder)) for n in range(PIPELINES)]
    engine = create_engine(uri)
    with engine.begin() as connection:
        for first in range(0, RUNS, 10_000):
            numbers = range(first, first + 10_000)
            common = {
                "source_type": "JOB",
                "user_id": "bench",
                "lifecycle_stage": "active",
                "artifact_uri": str(folder),
            }
            rows = [
                {
                    **common,
                    "run_uuid": f"{n:032x}",
                    "name": f"run-{n}",
                    "status": "FINISHED" if n % 10 else "FAILED",
                    "start_time": n * 60_000,
                    "end_time": n * 60_000 + 1,
                    "experiment_id": int(experiments[n % PIPELINES]),
                }
                for n in numbers
            ]
            connection.execute(insert(SqlRun), rows)
            connection.execute(
                insert(SqlParam),
                [{"run_uuid": f"{n:032x}", "key": key, "value": "1"} for n in numbers for key in ("depth", "rate")],
            )
            connection.execute(
                insert(SqlLatestMetric),
                [
                    {
                        "run_uuid": f"{n:032x}",
                        "key": "log_loss",
                        "value": 0.4,
                        "timestamp": 0,
                        "step": 0,
                        "is_nan": False,
                    }
                    for n in numbers
                ],
            )
    engine.dispose()
    order = ["attributes.start_time DESC"]
    assert len(client.search_runs(experiments, max_results=50, order_by=order)) == 50
    yield "newest_50", lambda: client.search_runs(experiments, max_results=50, order_by=order)
    yield "of_a_pipeline_50", lambda: client.search_runs([experiments[7]], max_results=50, order_by=order)
    failed = "attributes.status = 'FAILED'"
    yield (
        "failed_of_a_pipeline_50",
        lambda: client.search_runs([experiments[10]], filter_string=failed, max_results=50, order_by=order),
    )
