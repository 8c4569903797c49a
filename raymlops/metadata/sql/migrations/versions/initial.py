"""The tables of the first release."""

import sqlalchemy as sa
from alembic import op

from raymlops.records.ledger import GENESIS

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables, and the head of the empty ledger."""
    _create_runs()
    _create_artifacts()
    _create_models()
    _create_ledger()
    _create_windows_and_bundles()


def _sequence() -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("sequence", kind, primary_key=True)


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _strings(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(), nullable=False) for name in names]


def _number(name: str, *, key: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), primary_key=key, autoincrement=False, nullable=False)


def _instant(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _create_runs() -> None:
    op.create_table(
        "runs",
        _sequence(),
        *_strings("id", "pipeline", "status"),
        _instant("created_us"),
        *_text("body"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("runs_newest", "runs", ["created_us", "sequence"])
    op.create_index("runs_by_pipeline", "runs", ["pipeline", "created_us", "sequence"])
    op.create_index("runs_by_status", "runs", ["status", "created_us", "sequence"])
    op.create_table(
        "run_steps",
        _sequence(),
        *_strings("run_id", "step"),
        _number("attempt"),
        *_text("body"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"]),
        sa.UniqueConstraint("run_id", "step", "attempt"),
    )


def _create_artifacts() -> None:
    op.create_table(
        "artifacts", _sequence(), *_strings("digest", "kind"), *_text("body"), sa.UniqueConstraint("digest")
    )
    op.create_table(
        "artifact_events",
        _sequence(),
        *_strings("run_id", "step", "digest", "direction"),
        _instant("at_us"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"]),
        sa.ForeignKeyConstraint(["digest"], ["artifacts.digest"]),
        sa.UniqueConstraint("run_id", "step", "direction", "digest"),
    )
    op.create_index("artifact_events_by_digest", "artifact_events", ["digest", "direction"])


def _create_models() -> None:
    op.create_table(
        "model_versions",
        sa.Column("name", sa.String(), primary_key=True),
        _number("version", key=True),
        *_strings("key"),
        *_text("body"),
        sa.UniqueConstraint("name", "key"),
    )
    op.create_table(
        "state_changes",
        _sequence(),
        *_strings("name"),
        _number("version"),
        *_strings("state", "previous"),
        *_text("reason"),
        _instant("at_us"),
    )
    op.create_index("state_changes_of_version", "state_changes", ["name", "version", "sequence"])
    op.create_table(
        "alias_changes",
        _sequence(),
        *_strings("name", "alias"),
        sa.Column("version", sa.Integer()),
        sa.Column("previous", sa.Integer()),
        *_text("reason"),
        _instant("at_us"),
    )
    op.create_index("alias_changes_of_alias", "alias_changes", ["name", "alias", "sequence"])
    op.create_table(
        "plans", sa.Column("model", sa.String(), primary_key=True), _number("number", key=True), *_text("body")
    )


def _create_ledger() -> None:
    op.create_table(
        "ledger_entries",
        sa.Column("sequence", sa.BigInteger(), primary_key=True, autoincrement=False),
        _instant("at_us"),
        *_strings("subject", "action"),
        *_text("reason", "evidence"),
        *_strings("key", "previous_hash", "hash"),
        sa.UniqueConstraint("key"),
    )
    op.create_index("ledger_by_subject", "ledger_entries", ["subject", "sequence"])
    head = op.create_table("ledger_head", _number("id", key=True), _instant("count"), *_strings("hash"))
    op.bulk_insert(head, [{"id": 1, "count": 0, "hash": GENESIS}])


def _create_windows_and_bundles() -> None:
    op.create_table(
        "windows",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("start_us", sa.BigInteger(), primary_key=True, autoincrement=False),
        *_text("body"),
        sa.Column("profile", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "bundles", _sequence(), *_strings("digest", "pipeline"), *_text("body"), sa.UniqueConstraint("digest")
    )
    op.create_table(
        "deployments",
        _sequence(),
        *_strings("environment", "pipeline", "bundle"),
        *_text("body"),
        sa.ForeignKeyConstraint(["bundle"], ["bundles.digest"]),
    )
    op.create_index("deployments_of_environment", "deployments", ["environment", "pipeline", "sequence"])
