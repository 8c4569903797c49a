"""Keys on the command line, on the database of a home on which nothing runs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from raymlops.cli.operating.keys import app
from raymlops.metadata import MetadataService

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    environment = {"RAYMLOPS_HOME": str(tmp_path), "COLUMNS": "200"}
    return lambda *arguments: CliRunner().invoke(app, arguments, env=environment)


def test_a_key_is_made_with_grants_and_an_end(run: Run, tmp_path: Path) -> None:
    grants = ["--grant", "operate:churn", "--grant", "infer:*", "--grant", "operate:env/staging"]
    made = run("create", "ann", *grants, "--expires", "30d", "--reason", "on call")
    assert made.exit_code == 0, made.output
    text = made.stdout.strip()
    assert "for operate:churn, infer:*, operate:env/staging, until 20" in made.stderr
    (row,) = json.loads(run("list", "--json").stdout)
    assert row["grants"] == "operate:churn, infer:*, operate:env/staging"
    assert row["scopes"] == ["operate", "infer"]
    end = datetime.fromisoformat(row["expires_at"])
    assert abs(end - datetime.now(UTC) - timedelta(days=30)) < timedelta(hours=1)
    with closing(MetadataService(tmp_path / "metadata.db")) as metadata:
        (entry,) = metadata.ledger.entries()
    assert (entry.action, entry.reason) == ("create_key", "on call")
    assert entry.evidence["grants"] == ["operate:churn", "infer:*", "operate:env/staging"]
    assert text.split("_", 2)[2] not in entry.model_dump_json()


def test_a_scope_is_a_grant_over_all_models(run: Run) -> None:
    assert run("create", "old", "--scope", "infer", "--scope", "label").exit_code == 0
    assert run("create", "plain").exit_code == 0
    assert [row["grants"] for row in json.loads(run("list", "--json").stdout)] == ["infer:*, label:*", "infer:*"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scope", "root"), "scope must be one of"),
        (("--grant", "root:*"), "scope must be one of"),
        (("--grant", "infer"), "grant must be SCOPE:TARGET"),
        (("--grant", "infer:a/b"), "model name"),
        (("--grant", "infer:*", "--expires", "soon"), "--expires: must be whole numbers with a unit"),
        (("--grant", "infer:*", "--expires", "0s"), "--expires must be above zero"),
        (("--grant", "infer:*", "--expires", "99999999999999999999d"), "--expires"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run: Run, options: tuple[str, ...], said: str) -> None:
    done = run("create", "ann", *options)
    assert (done.exit_code, done.stdout) == (1, "")
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert json.loads(run("list", "--json").stdout) == []


def test_a_key_from_before_there_were_grants_is_read_and_revoked(run: Run, tmp_path: Path) -> None:
    assert run("create", "new").exit_code == 0  # makes the database
    old = {"id": "0123456789ab", "name": "old", "scopes": ["operate", "label"], "digest": "0" * 64}
    body = json.dumps({**old, "created_at": "2025-01-01T00:00:00Z", "revoked_at": None})
    with closing(sqlite3.connect(tmp_path / "metadata.db")) as database, database:
        database.execute("INSERT INTO api_keys (id, body) VALUES (?, ?)", ("0123456789ab", body))
    assert json.loads(run("list", "--json").stdout)[1]["grants"] == "operate:*, label:*"
    assert run("revoke", "0123456789ab", "--reason", "it is old").exit_code == 0
    row = json.loads(run("list", "--json").stdout)[1]
    assert (row["grants"], row["revoked_at"] is None, row["expires_at"]) == ("operate:*, label:*", False, None)
