"""A store that an older release wrote is taken over, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from alembic import command
from sqlalchemy import Connection, text

from raymlops.errors import StaleWrite
from raymlops.metadata import MetadataService
from raymlops.metadata.sql.migrations import _config, revisions
from raymlops.metadata.sql.transactions import database
from raymlops.metadata.sql.transactions.database import Database
from raymlops.records.ledger import GENESIS, LedgerEntry
from raymlops.records.record import canonical_json
from raymlops.testing.metadata_examples import EPOCH, example_draft, example_plan, example_run

OLDER = revisions()[:0:-1]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/metadata.db"
    host = request.getfixturevalue("postgres")
    psycopg = pytest.importorskip("psycopg")
    name = f"old_{time.monotonic_ns()}"
    with psycopg.connect(f"host={host} user=raymlops dbname=postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql://raymlops@/{name}?host={host}"


def _insert(connection: Connection, into: str, /, **values: Any) -> None:
    names = ", ".join(f'"{name}"' for name in values)
    connection.execute(text(f"INSERT INTO {into} ({names}) VALUES ({', '.join(f':{n}' for n in values)})"), values)


def _write_as_then(connection: Connection, revision: str) -> None:
    """A run, a version that is champion, a plan and a ledger entry, as every release wrote them."""
    at = {"at_us": int(EPOCH.timestamp()) * 1_000_000}
    run, plan = example_run(), example_plan()
    version = example_draft().model_copy(update={"version": 1, "table_versions": {"planes": 12}})
    body = run.model_dump_json(exclude={"steps"})
    _insert(connection, "runs", id=run.id, pipeline="flights", status="pending", created_us=at["at_us"], body=body)
    _insert(connection, "model_versions", name="churn", version=1, key="k", body=version.model_dump_json())
    if revision >= "0005":
        _insert(connection, "model_tables", table="planes", table_version=12, name="churn", version=1)
    state = {"name": "churn", "version": 1, "state": "production", "previous": "candidate", "reason": "old"}
    _insert(connection, "state_changes", **state, **at)
    alias = {"name": "churn", "alias": "champion", "version": 1, "previous": None, "reason": "old"}
    _insert(connection, "alias_changes", **alias, **at)
    _insert(connection, "plans", model="churn", number=1, body=plan.model_dump_json())
    entry = LedgerEntry(
        sequence=1, at=EPOCH, subject="churn", action="note", reason="old", key="k", previous_hash=GENESIS, hash=""
    )  # fmt: skip
    entry = entry.model_copy(update={"hash": entry.expected_hash()})
    columns = {**entry.model_dump(exclude={"at", "evidence"}), "evidence": canonical_json(entry.evidence).decode()}
    _insert(connection, "ledger_entries", **columns, **at)
    connection.execute(text("UPDATE ledger_head SET count = 1, hash = :hash"), {"hash": entry.hash})


@pytest.mark.parametrize("revision", OLDER)
def test_a_store_of_an_older_release_is_taken_over(url: str, revision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(database, "REVISION", None)  # an empty database is left as it is
        with closing(Database(url)) as old, old.write() as connection:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            _write_as_then(connection, revision)
    for _ in range(2):
        with closing(MetadataService(url)) as service:
            assert [run.id for run in service.runs.list_runs()] == ["run-1"]
            assert [version.version for version in service.models.trained_on("planes", 12)] == [1]
            assert [change.evidence for change in service.models.alias_history("churn")] == [{}]
            assert [change.evidence for change in service.models.state_history("churn", 1)] == [{}]
            assert service.plans.get_plan("churn") == example_plan()
            assert service.ledger.verify_ledger() == 1
    with closing(MetadataService(url)) as service:
        service.models.register_version(example_draft(), key="next")
        with pytest.raises(StaleWrite):
            service.models.set_alias("churn", "champion", 2, expected=None, reason="new")
        service.models.set_alias("churn", "champion", 2, expected=1, reason="new", evidence={"plan": 2})
        service.contexts.put_context("environment", "prod")
        service.contexts.add_to_context("environment", "prod", run_ids=["run-1"])
        service.ledger.append_entry("churn", "note", "new", key="new")
        assert orjson.loads(orjson.dumps(service.models.alias_history("churn")[-1].evidence)) == {"plan": 2}
        assert service.ledger.verify_ledger() == 2
