from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from raymlops.metadata import MetadataService
from raymlops.metadata.sql.migrations import revisions
from raymlops.metadata.sql.schema import REVISION, tables
from raymlops.metadata.sql.transactions.database import Database
from raymlops.testing.metadata_examples import example_run


def test_the_revisions_end_at_the_release_and_make_its_tables(tmp_path: Path) -> None:
    assert revisions()[0] == REVISION
    with closing(Database(tmp_path / "m.db")) as database, database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables) == []


def test_a_database_from_before_there_were_revisions_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with closing(MetadataService(path)) as service:
        service.runs.create_run(example_run())
        service.ledger.append_entry("churn", "note", "kept", key="k")
    with closing(sqlite3.connect(path)) as connection, connection:
        later_tables = ("api_keys", "alert_deliveries", "alerts", "alert_cursors", "window_profiles", "profile_marks")
        later_tables += ("context_runs", "context_artifacts", "contexts", "model_tables")
        for later in ("alembic_version", *later_tables):
            connection.execute(f"DROP TABLE {later}")
        for index in ("runs_by_pipeline_and_status", "ledger_by_subject_and_time"):
            connection.execute(f"DROP INDEX {index}")
        for changes in ("state_changes", "alias_changes"):
            connection.execute(f"ALTER TABLE {changes} DROP COLUMN evidence")
        connection.execute("CREATE TABLE schema_info (version INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO schema_info VALUES (1)")
    with closing(MetadataService(path)) as service:
        assert [run.id for run in service.runs.list_runs()] == ["run-1"]
        assert service.ledger.verify_ledger() == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISION,)]


def test_a_migration_cut_off_half_way_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    program = (
        "import os, pathlib, sys\n"
        "from alembic import op\n"
        "made, create = [], op.create_table\n"
        "def create_table(name, *columns):\n"
        "    if len(made) == 3: os._exit(9)\n"
        "    made.append(name)\n"
        "    return create(name, *columns)\n"
        "op.create_table = create_table\n"
        "from raymlops.metadata import MetadataService\n"
        "MetadataService(pathlib.Path(sys.argv[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == 9
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    MetadataService(path).close()


def test_a_current_database_opens_without_alembic(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    MetadataService(path).close()
    program = (
        "import pathlib, sys\n"
        "from raymlops.metadata import MetadataService\n"
        "MetadataService(pathlib.Path(sys.argv[1])).close()\n"
        "sys.exit('alembic' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == 0
