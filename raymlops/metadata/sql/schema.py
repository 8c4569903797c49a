"""The tables. A record is stored as its JSON, beside the columns that queries need. A change needs a revision."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = [
    "REVISION",
    "alert_cursors",
    "alert_deliveries",
    "alerts",
    "alias_changes",
    "api_keys",
    "artifact_events",
    "artifacts",
    "bundles",
    "context_artifacts",
    "context_runs",
    "contexts",
    "deployments",
    "ledger_entries",
    "ledger_head",
    "model_tables",
    "model_versions",
    "plans",
    "profile_marks",
    "run_steps",
    "runs",
    "state_changes",
    "tables",
    "window_profiles",
    "windows",
]

REVISION = "0006"
"""The newest of ``migrations/versions``: what a database must be at."""

tables = MetaData()

_Sequence = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up only a column of exactly this type."""

runs = Table(
    "runs",
    tables,
    Column("sequence", _Sequence, primary_key=True),
    Column("id", String, unique=True, nullable=False),
    Column("pipeline", String, nullable=False),
    Column("status", String, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index("runs_newest", "created_us", "sequence"),
    Index("runs_by_pipeline", "pipeline", "created_us", "sequence"),
    Index("runs_by_status", "status", "created_us", "sequence"),
    Index("runs_by_pipeline_and_status", "pipeline", "status", "created_us", "sequence"),
)

run_steps = Table(
    "run_steps",
    tables,
    Column("sequence", _Sequence, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("step", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("run_id", "step", "attempt"),
)

artifacts = Table(
    "artifacts",
    tables,
    Column("sequence", _Sequence, primary_key=True),
    Column("digest", String, unique=True, nullable=False),
    Column("kind", String, nullable=False),
    Column("body", Text, nullable=False),
)

artifact_events = Table(
    "artifact_events",
    tables,
    Column("sequence", _Sequence, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("step", String, nullable=False),
    Column("digest", ForeignKey("artifacts.digest"), nullable=False),
    Column("direction", String, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    UniqueConstraint("run_id", "step", "direction", "digest"),
    Index("artifact_events_by_digest", "digest", "direction"),
)

contexts = Table(
    "contexts",
    tables,
    Column("sequence", _Sequence, primary_key=True),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("kind", "name"),
)

context_runs = Table(
    "context_runs",
    tables,
    Column("context", ForeignKey("contexts.sequence"), primary_key=True),
    Column("run_id", ForeignKey("runs.id"), primary_key=True),
    Index("context_runs_of_run", "run_id"),
)

context_artifacts = Table(
    "context_artifacts",
    tables,
    Column("context", ForeignKey("contexts.sequence"), primary_key=True),
    Column("digest", ForeignKey("artifacts.digest"), primary_key=True),
    Index("context_artifacts_of_artifact", "digest"),
)

model_versions = Table(
    "model_versions",
    tables,
    Column("name", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("key", String, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("name", "key"),
)

model_tables = Table(
    "model_tables",
    tables,
    Column("table", String, primary_key=True),
    Column("table_version", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
)

state_changes = Table(
    "state_changes",
    tables,
    Column("sequence", _Sequence, primary_key=True),
    Column("name", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("previous", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False, server_default="{}"),
    Column("at_us", BigInteger, nullable=False),
    Index("state_changes_of_version", "name", "version", "sequence"),
)

alias_changes = Table(
    "alias_changes",
    tables,
    Column("sequence", _Sequence, primary_key=True),
    Column("name", String, nullable=False),
    Column("alias", String, nullable=False),
    Column("version", Integer),
    Column("previous", Integer),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False, server_default="{}"),
    Column("at_us", BigInteger, nullable=False),
    Index("alias_changes_of_alias", "name", "alias", "sequence"),
)

plans = Table(
    "plans",
    tables,
    Column("model", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
)

ledger_entries = Table(
    "ledger_entries",
    tables,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    Column("subject", String, nullable=False),
    Column("action", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("key", String, unique=True, nullable=False),
    Column("previous_hash", String, nullable=False),
    Column("hash", String, nullable=False),
    Index("ledger_by_subject", "subject", "sequence"),
)

ledger_head = Table(
    "ledger_head",
    tables,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("hash", String, nullable=False),
)

windows = Table(
    "windows",
    tables,
    Column("model", String, primary_key=True),
    Column("start_us", BigInteger, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
    Column("profile", LargeBinary, nullable=False),
)

window_profiles = Table(
    "window_profiles",
    tables,
    Column("model", String, primary_key=True),
    Column("start_us", BigInteger, primary_key=True, autoincrement=False),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("role", String, primary_key=True),
    Column("segment", String, primary_key=True),
    Column("late", Boolean, primary_key=True),
    Column("champion", Integer, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("profile", LargeBinary, nullable=False),
)

profile_marks = Table(
    "profile_marks",
    tables,
    Column("model", String, primary_key=True),
    Column("body", Text, nullable=False),
)

bundles = Table(
    "bundles",
    tables,
    Column("sequence", _Sequence, primary_key=True),
    Column("digest", String, unique=True, nullable=False),
    Column("pipeline", String, nullable=False),
    Column("body", Text, nullable=False),
)

api_keys = Table(
    "api_keys",
    tables,
    Column("sequence", _Sequence, primary_key=True),
    Column("id", String, unique=True, nullable=False),
    Column("body", Text, nullable=False),
)

deployments = Table(
    "deployments",
    tables,
    Column("sequence", _Sequence, primary_key=True),
    Column("environment", String, nullable=False),
    Column("pipeline", String, nullable=False),
    Column("bundle", ForeignKey("bundles.digest"), nullable=False),
    Column("body", Text, nullable=False),
    Index("deployments_of_environment", "environment", "pipeline", "sequence"),
)

alerts = Table(
    "alerts",
    tables,
    Column("sequence", _Sequence, primary_key=True),
    Column("key", String, unique=True, nullable=False),
    Column("model", String, nullable=False),
    Column("body", Text, nullable=False),
    Index("alerts_of_model", "model", "sequence"),
)

alert_deliveries = Table(
    "alert_deliveries",
    tables,
    Column("sequence", _Sequence, primary_key=True),
    Column("key", ForeignKey("alerts.key"), nullable=False),
    Column("endpoint", String, nullable=False),
    Column("model", String, nullable=False),
    Column("state", String, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("key", "endpoint"),
    Index("alert_deliveries_due", "endpoint", "state", "model", "sequence"),
)

alert_cursors = Table(
    "alert_cursors",
    tables,
    Column("source", String, primary_key=True),
    Column("body", Text, nullable=False),
)
