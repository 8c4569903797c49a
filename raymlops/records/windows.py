"""What the monitor knows about one window of one model."""

from __future__ import annotations

from pydantic import Field

from raymlops.records.record import Instant, Record

__all__ = ["ColumnDrift", "Performance", "WindowRecord"]


class ColumnDrift(Record):
    """How far one column of a window lies from its reference."""

    score: float
    threshold: float
    p_value: float
    drifted: bool
    missing_share: float = 0.0
    importance: float | None = None
    """The champion's relative importance of the column, 0 to 1."""
    test: str = ""
    """The test that speaks loudest: ``shape``, ``location`` or ``missing``; empty where none could be made."""
    problem: str = ""
    """What is wrong with the column beside its distribution: dropped, changed type ..."""


class Performance(Record):
    """Realised performance over the labelled rows of one version in one window."""

    rows: int
    labelled_rows: int
    metrics: dict[str, float]
    """``log_loss``, ``auc``, ``brier``, ``mean_probability``, ``positive_share`` | ``mae``, ``rmse`` ..."""
    intervals: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """95% intervals of some of the metrics."""


class WindowRecord(Record):
    """One closed window of one model: counts, drift against the champion's reference, performance per version."""

    model: str
    start: Instant
    end: Instant
    """Exclusive."""
    champion: int
    rows: int
    """Rows answered to callers; those of a shadow are not among them."""
    errors: int = 0
    """Rows whose prediction failed."""
    fallbacks: int = 0
    """Rows that the champion or the backup answered in place of another version."""
    labels_unknown: int = 0
    """Labels that arrived in the window for request ids of which no prediction is known."""
    labels_duplicate: int = 0
    """Labels replaced by a later one for the same prediction."""
    quality: str = "ok"
    """``ok``, ``warn`` or ``block``."""
    quality_reasons: tuple[str, ...] = ()
    drifted: bool = False
    columns: dict[str, ColumnDrift] = Field(default_factory=dict)
    prediction_drift: ColumnDrift | None = None
    performance: dict[int, Performance] = Field(default_factory=dict)
    """Model version -> performance of what it answered."""
    reference_metrics: dict[str, float] = Field(default_factory=dict)
    """The champion's metrics on the holdout it was registered with."""
    degraded: bool = False
    """Whether the champion is significantly worse than its reference."""
    degraded_reason: str = ""
