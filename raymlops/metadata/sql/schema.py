"""The tables that several stores read; the others stand beside their stores. A change needs a revision.

A record is stored as its JSON, beside the columns that queries need.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = [
    "REVISION",
    "ROW_NUMBER",
    "artifacts",
    "model_versions",
    "runs",
    "tables",
]

REVISION = f"{len(list((Path(__file__).parent / 'migrations' / 'versions').glob('[a-z]*.py'))):04d}"
"""The newest of ``migrations/versions``, which are numbered without gaps: what a database must be at."""

tables = MetaData()

ROW_NUMBER = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up only a column of exactly this type."""

runs = Table(
    "runs",
    tables,
    Column("sequence", ROW_NUMBER, primary_key=True),
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

artifacts = Table(
    "artifacts",
    tables,
    Column("sequence", ROW_NUMBER, primary_key=True),
    Column("digest", String, unique=True, nullable=False),
    Column("kind", String, nullable=False),
    Column("body", Text, nullable=False),
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
