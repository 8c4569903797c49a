"""What is known about feature views: statistics, freshness, where they come from and who uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import Field

from raymlops.records.record import Instant, Record
from raymlops.records.shown import frame_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FeatureDescription",
    "FeatureFreshness",
    "FeatureLineage",
    "FeatureMatch",
    "FieldStatistics",
    "FrequentValue",
    "LineageEdge",
    "LineageKind",
    "LineageNode",
    "Scalar",
    "ViewStatistics",
]

Scalar: TypeAlias = bool | int | float | str
"""A value of a field as JSON has it; an instant is ISO 8601 text."""

LineageKind: TypeAlias = Literal[
    "entity", "table", "view", "on-demand view", "service", "training set", "model", "endpoint"
]


class FrequentValue(Record):
    """A value, and how often it was seen."""

    value: Scalar
    rows: int
    """At least so often; by ``frequent_error`` of the field more at most."""


class FieldStatistics(Record):
    """The values of one field at one version of its table."""

    name: str
    dtype: str
    values: int
    """Values that are there; a NaN counts as missing."""
    missing_share: float
    distinct: int
    distinct_error: float
    """Relative standard error of ``distinct``; 0 where it is exact."""
    minimum: Scalar | None = None
    maximum: Scalar | None = None
    mean: float | None = None
    std: float | None = None
    """Of the population."""
    quantiles: dict[str, Scalar] = Field(default_factory=dict)
    """Share, as text such as ``0.5``, -> the smallest value that is not below so many of the values."""
    quantile_error: float = 0.0
    """How far the rank of a quantile may be off, as a share of the values; 0 where they are exact."""
    frequent: tuple[FrequentValue, ...] = ()
    """The most frequent values of a text or a boolean, most frequent first."""
    frequent_error: int = 0


class ViewStatistics(Record):
    """A feature view at one version of its table."""

    view: str
    table: str
    table_version: int
    rows: int
    """Rows with an event time."""
    keys: int
    """Different keys without a null."""
    duplicates: int
    """Rows that repeat key and event time of another one."""
    first_event_time: Instant | None = None
    last_event_time: Instant | None = None
    last_created_at: Instant | None = None
    late_rows: dict[str, int] | None = None
    """Span -> rows created later than so long after their event; ``None`` for a view without a created-at."""
    newest_by_key: tuple[Instant, ...] = ()
    """101 quantiles, 0% to 100%, of the keys' newest event times."""
    fields: dict[str, FieldStatistics]

    def to_pandas(self) -> pd.DataFrame:
        """One row for each field."""
        return frame_of(list(self.fields.values()))


class FeatureFreshness(Record):
    """How far a view reaches, offline and online."""

    view: str
    table: str
    table_version: int | None = None
    """The newest version; ``None`` where nothing was ingested."""
    rows: int = 0
    newest_event_time: Instant | None = None
    """To the millisecond."""
    newest_created_at: Instant | None = None
    """To the millisecond."""
    ingested_at: Instant | None = None
    """When the newest rows were committed, by the clock of the machine that did."""
    online_table_version: int | None = None
    """What the online store holds; ``None`` where it holds nothing of the view."""
    online_rows_behind: int | None = None
    """Rows of the table that the online store does not have yet; ``None`` for a view that is not kept online."""
    online_problem: str = ""
    """Why the online store could not be asked."""
    age_s: float | None = None
    """From the newest event to now."""
    ttl_s: float | None = None
    expired_keys_share: float | None = None
    """Keys whose newest row is too old to be served, to 1%; known where the table's statistics are."""
    verdict: Literal["fresh", "stale"] | None = None
    """``stale``: even the newest row is too old to be served. ``None`` where the view has no TTL, or no rows."""


class LineageNode(Record):
    """One thing that features are made of, made into, or used by."""

    kind: LineageKind
    name: str
    """``NAME@VERSION`` of a definition or a model, a name, or the digest of a training set."""


class LineageEdge(Record):
    """One thing made of, or using, another."""

    source: LineageNode
    target: LineageNode


class FeatureLineage(Record):
    """All that something is made of, and all that is made of it or uses it, over any number of steps."""

    subject: LineageNode
    upstream: tuple[LineageEdge, ...]
    downstream: tuple[LineageEdge, ...]


class FeatureMatch(Record):
    """One definition that a search found."""

    kind: LineageKind
    name: str
    """``NAME@VERSION``; the name of an entity."""
    owner: str = ""
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict)
    matched: tuple[str, ...] = ()
    """Where words of the text were found: ``name``, ``owner``, ``description``, ``tag KEY``, ``field NAME`` ..."""


class FeatureDescription(Record):
    """One definition with all that is known about it."""

    kind: LineageKind
    name: str
    definition: dict[str, object]
    """As it was declared, as JSON values."""
    statistics: ViewStatistics | None = None
    """For a view into which something was ingested."""
    freshness: FeatureFreshness | None = None
    """For a view."""
    lineage: FeatureLineage
