"""What the feature store hands back."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from raymlops.records.record import Instant, Record

__all__ = [
    "ApplyReport",
    "AttributeChange",
    "ConsistencyReport",
    "DefinitionChange",
    "FeatureConsistency",
    "Inconsistency",
    "IngestReceipt",
    "MaterializeReceipt",
    "QuarantinedRow",
    "TableVacuum",
    "TrainingSetManifest",
    "VacuumReport",
]


class AttributeChange(Record):
    """One attribute of a definition that differs, as text for people."""

    attribute: str
    """Its name; parts of fields and aggregates are called ``fields.NAME.ATTRIBUTE``."""
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.attribute} {self.old} -> {self.new}"


class DefinitionChange(Record):
    """A definition that differs from the one applied under its name and version."""

    name: str
    """Kind and ``NAME`` or ``NAME@VERSION``, as in ``ApplyReport.added``."""
    attributes: tuple[AttributeChange, ...]
    free_version: int | None = None
    """For one that is refused: the next version; ``None`` for an entity, which has none."""


class ApplyReport(Record):
    """Answer to an apply: which definitions, by kind and ``NAME`` or ``NAME@VERSION``, were new.

    Of a dry run: what an apply would answer, or refuse.
    """

    added: tuple[str, ...]
    unchanged: tuple[str, ...]
    """Those that were there already and mean the same, the ``changed`` among them."""
    changed: tuple[DefinitionChange, ...] = ()
    """Those whose owner, descriptions or tags changed in place."""
    refused: tuple[DefinitionChange, ...] = ()
    """Dry run: those that need a new version."""
    faults: tuple[str, ...] = ()
    """Dry run: every reason why nothing would be applied, those of ``refused`` included."""
    dry_run: bool = False
    """Whether nothing was written."""


class IngestReceipt(Record):
    """Answer to an ingest; the rows are durable once it is there."""

    table: str
    table_version: int
    rows: int
    """Rows of the ingest that the table holds."""
    rejected: int = 0
    """Rows of the ingest that broke a rule and were put into quarantine."""
    ingest_id: str
    duplicate: bool = False
    """Whether this ingest id was already there and nothing was written."""


class QuarantinedRow(Record):
    """A row that an ingest refused."""

    ingest_id: str
    row: int
    """Its number among the rows of the ingest."""
    reasons: tuple[str, ...]
    """Columns and the rules they break."""
    values: dict[str, Any]
    """What was given, as JSON has it."""
    quarantined_at: Instant


class TableVacuum(Record):
    """What of a table nobody needs."""

    table: str
    files: int
    size_bytes: int
    pinned_versions: tuple[int, ...]
    """Versions that stay readable because training sets are made of them."""


class VacuumReport(Record):
    """Answer to a vacuum."""

    dry_run: bool
    """Whether nothing was removed."""
    retention_s: float
    tables: tuple[TableVacuum, ...]

    @property
    def files(self) -> int:
        """Files removed, or to be."""
        return sum(table.files for table in self.tables)

    @property
    def size_bytes(self) -> int:
        """Their size together."""
        return sum(table.size_bytes for table in self.tables)


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
    content_digest: str = ""
    """Of the rows themselves, which a rebuild has to give again; empty in manifests of older releases."""
    created_at: Instant
    digest: str
    """Hex SHA-256 over all of the above but ``created_at`` and ``spine_path``."""


class FeatureConsistency(Record):
    """Served against recomputed values of one feature, as shares of the audited rows."""

    mismatch: float
    missing: float
    extra: float
    late: float = 0.0
    """Values that differ, but are what was known when they were served: data that came later explains them. They are
    in none of the above."""
    largest_difference: float | None = None
    """Of the numbers that are a mismatch."""
    mean_difference: float | None = None
    """Mean absolute difference of the numbers that are a mismatch."""

    @property
    def share(self) -> float:
        """Values that are wrong in any way."""
        return self.mismatch + self.missing + self.extra


class Inconsistency(Record):
    """One served value that is not what the tables say."""

    feature: str
    keys: dict[str, str | int | float | bool | None]
    """What was asked with."""
    event_time: Instant
    """The instant asked about."""
    served_at: Instant | None = None
    request_id: str | None = None
    served: str | int | float | bool | None
    recomputed: str | int | float | bool | None


class ConsistencyReport(Record):
    """Result of an audit of served features."""

    service: str
    rows: int
    features: dict[str, FeatureConsistency]
    examples: tuple[Inconsistency, ...] = ()
    """Up to five of the worst values, of as many features as possible."""

    @property
    def consistent(self) -> bool:
        """Whether every audited value was the recomputed one, or was so when it was served."""
        return all(f.mismatch == f.missing == f.extra == 0 for f in self.features.values())
