"""What the feature store hands back."""

from __future__ import annotations

from pydantic import Field

from raymlops.records.record import Instant, Record

__all__ = [
    "ApplyReport",
    "ConsistencyReport",
    "FeatureConsistency",
    "IngestReceipt",
    "MaterializeReceipt",
    "TrainingSetManifest",
]


class ApplyReport(Record):
    """Answer to an apply: which definitions, by kind and ``NAME`` or ``NAME@VERSION``, were new."""

    added: tuple[str, ...]
    unchanged: tuple[str, ...]


class IngestReceipt(Record):
    """Answer to an ingest; the rows are durable once it is there."""

    table: str
    table_version: int
    rows: int
    rejected: int = 0
    ingest_id: str
    duplicate: bool = False
    """Whether this ingest id was already there and nothing was written."""


class MaterializeReceipt(Record):
    """Answer to a materialisation."""

    view: str
    table_version: int
    """The online store now holds everything up to this version of the view's table."""
    rows: int


class TrainingSetManifest(Record):
    """What a training set is made of: enough to rebuild it, byte for byte."""

    name: str
    service: str
    views: dict[str, str]
    """View -> digest of its definition."""
    table_versions: dict[str, int]
    spine_digest: str
    spine_path: str
    code_digest: str
    knowledge_cutoff: bool
    rows: int
    late_rows: dict[str, int] = Field(default_factory=dict)
    """View -> spine rows whose chosen row was created after the spine row's time."""
    created_at: Instant
    digest: str
    """Hex SHA-256 over all of the above but ``created_at`` and ``spine_path``."""


class FeatureConsistency(Record):
    """Served against recomputed values of one feature, as shares of the audited rows."""

    mismatch: float
    missing: float
    extra: float


class ConsistencyReport(Record):
    """Result of an audit of served features."""

    service: str
    rows: int
    features: dict[str, FeatureConsistency]

    @property
    def consistent(self) -> bool:
        """Whether every audited value was the recomputed one."""
        return all(f.mismatch == f.missing == f.extra == 0 for f in self.features.values())
