"""A platform with as many models, runs and versions as the console must bear."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import insert

from raymlops.clock import to_us
from raymlops.metadata import MetadataService
from raymlops.metadata.sql.ledger import ledger_entries
from raymlops.metadata.sql.monitoring.windows import windows
from raymlops.metadata.sql.plans import plans
from raymlops.metadata.sql.schema import model_versions, runs
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run, RunStatus
from tests.support.console_world import NOW

__all__ = ["MODELS", "RUNS", "VERSIONS", "enlarge"]

MODELS, RUNS, VERSIONS, ENTRIES = 100, 100_000, 10_000, 20_000


def enlarge(metadata: MetadataService) -> None:
    """Rows as the stores write them, in one transaction: a commit each would take an hour."""
    names = [f"model-{number:03}" for number in range(MODELS)]
    version = metadata.models.get_version("churn", 4)
    window = metadata.windows.list_windows("churn")[-1]
    run = Run(id="r", pipeline="churn-train", status=RunStatus.SUCCEEDED, created_at=NOW, ended_at=NOW)
    plan = ServingPlan(model="m", number=1, champion=1, created_at=NOW)
    entry = metadata.ledger.entries("churn")[0]
    body = run.model_dump_json(exclude={"steps"})
    with metadata._database.write() as connection:
        connection.execute(
            insert(runs),
            [
                {
                    "id": f"run-{number}",
                    "pipeline": f"pipeline-{number % MODELS}" if number % 5 else "churn-train",
                    "status": "succeeded",
                    "created_us": to_us(NOW) - number * 1_000_000,
                    "body": body.replace('"r"', f'"run-{number}"', 1),
                }
                for number in range(RUNS)
            ],
        )
        told = version.model_dump_json()
        connection.execute(
            insert(model_versions),
            [
                {
                    "name": "churn",
                    "version": number,
                    "key": f"k{number}",
                    "body": told.replace('"version":4', f'"version":{number}'),
                }
                for number in range(5, VERSIONS)
            ],
        )
        connection.execute(
            insert(plans),
            [
                {"model": name, "number": 1, "body": plan.model_copy(update={"model": name}).model_dump_json()}
                for name in names
            ],
        )
        connection.execute(
            insert(windows),
            [
                {
                    "model": name,
                    "start_us": to_us(NOW - timedelta(days=day)),
                    "body": window.model_copy(
                        update={"model": name, "start": NOW - timedelta(days=day)}
                    ).model_dump_json(),
                    "profile": b"",
                }
                for name in names
                for day in range(20)
            ],
        )
        connection.execute(
            insert(ledger_entries),
            [
                {
                    "sequence": 1000 + number,
                    "at_us": to_us(NOW),
                    "subject": "churn" if number % 2 else names[number % MODELS],
                    "action": "retrain",
                    "reason": entry.reason,
                    "evidence": "{}",
                    "key": f"many-{number}",
                    "previous_hash": "0" * 64,
                    "hash": "0" * 64,
                }
                for number in range(ENTRIES)
            ],
        )
