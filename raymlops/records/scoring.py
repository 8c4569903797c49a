"""Batch scoring: what is scored, by what, and what became of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raymlops.records.record import Instant, Record, sha256_of

__all__ = [
    "PIPELINE",
    "OutputMode",
    "Part",
    "PartReceipt",
    "RowGroup",
    "ScoredFile",
    "ScoringCheck",
    "ScoringPlan",
    "ScoringReceipt",
    "Source",
]

PIPELINE = "batch-score"
"""Under this name runs are recorded that score."""
OutputMode = Literal["create", "append", "overwrite"]
Verdict = Literal["ok", "warn"]


class Source(Record):
    """Rows to score, at one state of them."""

    kind: Literal["files", "delta"]
    uri: str
    """A Parquet file or what such files lie below, on this machine or in an object store, or a Delta table."""
    version: int | None = None
    """Version of the Delta table."""
    digest: str
    """Hex SHA-256: of the files' bytes, in an object store of their names, sizes and instants; or of the Delta table's
    identity and version."""
    name: str
    """What the user called it."""


class RowGroup(Record):
    """A row group of one of the source's files: what is read as a whole."""

    path: str
    number: int
    rows: int


class Part(Record):
    """What is scored, written and taken note of at once: whole row groups, one after the other."""

    number: int
    first_row: int
    """Place of its first row in the source."""
    groups: tuple[RowGroup, ...]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(group.rows for group in self.groups)


class ScoringPlan(Record):
    """All that the rows of a job depend on: the same plan gives the same rows."""

    model: str
    version: int
    digest: str
    """Of the model's manifest."""
    source: Source
    service: str | None = None
    """Feature service ``NAME@VERSION`` that is joined."""
    table_versions: dict[str, int] = Field(default_factory=dict)
    """Table -> Delta version that features are joined from."""
    at: Instant | None = None
    """The instant of all rows, where they do not bring their own ``event_time``."""
    columns: tuple[str, ...]
    """Columns of the source that the output carries."""
    output: str
    mode: OutputMode = "create"
    part_rows: int
    block_rows: int
    """At most so many rows are in memory at once, per process."""

    @property
    def key(self) -> str:
        """What tells one job from another. The state of the features does not: who goes on, goes by the old one."""
        return sha256_of(self.model_dump(mode="json", exclude={"table_versions"}))


class ScoringCheck(Record):
    """What would be scored, and what a sample of the rows says about them."""

    plan: ScoringPlan
    rows: int
    parts: int
    verdict: Literal["ok", "warn", "block"]
    reasons: tuple[str, ...] = ()


class ScoredFile(Record):
    """A file of scored rows, written and durable, and part of no table yet."""

    path: str
    """Relative to the output table."""
    rows: int
    size_bytes: int


class PartReceipt(Record):
    """A part that is done."""

    part: int
    rows: int
    files: tuple[ScoredFile, ...]
    profile: str | None = None
    """Of the model's inputs, on the bins of the version's reference; base64."""


class ScoringReceipt(Record):
    """What became of a job."""

    run_id: str
    plan: ScoringPlan
    rows: int
    parts: int
    resumed_parts: int = 0
    """Parts that were done before, and were not done again."""
    output_version: int
    """Version of the output table that holds the rows."""
    verdict: Verdict = "ok"
    reasons: tuple[str, ...] = ()
    """What is to be said about the rows, the worst first."""
    duplicate: bool = False
    """Whether all was done before, and nothing was written."""
    created_at: Instant
