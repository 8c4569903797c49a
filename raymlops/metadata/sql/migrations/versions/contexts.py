"""Contexts, the tables that versions were trained on, and the evidence of changes."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables, and look up what the versions that are there were trained on."""
    for changes in ("state_changes", "alias_changes"):
        op.add_column(changes, sa.Column("evidence", sa.Text(), nullable=False, server_default="{}"))
    _create_contexts()
    op.create_table(
        "model_tables",
        sa.Column("table", sa.String(), primary_key=True),
        sa.Column("table_version", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
    )
    _fill_model_tables()


def _create_contexts() -> None:
    op.create_table(
        "contexts",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.UniqueConstraint("kind", "name"),
    )
    for table, column, target in (
        ("context_runs", "run_id", "runs.id"),
        ("context_artifacts", "digest", "artifacts.digest"),
    ):
        op.create_table(
            table,
            sa.Column(
                "context",
                sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
                sa.ForeignKey("contexts.sequence"),
                primary_key=True,
                autoincrement=False,
            ),
            sa.Column(column, sa.String(), sa.ForeignKey(target), primary_key=True),
        )
    op.create_index("context_runs_of_run", "context_runs", ["run_id"])
    op.create_index("context_artifacts_of_artifact", "context_artifacts", ["digest"])


def _fill_model_tables() -> None:
    versions = sa.table("model_versions", sa.column("name"), sa.column("version"), sa.column("body"))
    trained = sa.table(
        "model_tables", sa.column("table"), sa.column("table_version"), sa.column("name"), sa.column("version")
    )
    connection = op.get_bind()
    for name, version, body in connection.execute(sa.select(versions.c.name, versions.c.version, versions.c.body)):
        for table, table_version in json.loads(body)["table_versions"].items():
            values = {"table": table, "table_version": table_version, "name": name, "version": version}
            connection.execute(sa.insert(trained).values(**values))
