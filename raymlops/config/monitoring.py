"""Windows, drift and performance."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import AwareDatetime, Field

from raymlops.config.alerts import AlertsConfig, MetricsConfig
from raymlops.config.section import Duration, Section, Share, Span
from raymlops.config.section import parse_duration as _d

__all__ = [
    "DriftConfig",
    "FeatureAuditConfig",
    "MonitoringConfig",
    "PerformanceConfig",
    "QualityConfig",
    "RetentionConfig",
    "SegmentsConfig",
]


class DriftConfig(Section):
    """When a column, and a window, count as drifted: significant and large enough."""

    false_discovery_rate: float = Field(0.005, gt=0, lt=1)
    """Share of false alarms accepted among the columns that are flagged; where nothing drifts, share of windows in
    which any column is."""
    measure: Literal["jensen_shannon", "psi", "chi_square", "l_infinity", "kolmogorov_smirnov", "wasserstein"] = (
        "jensen_shannon"
    )
    """Distance that must be large; columns that it does not suit are measured by the Jensen-Shannon divergence."""
    min_effect: float = Field(0.0016, ge=0)
    """Smallest distance that matters, however significant. Jensen-Shannon is given as divergence (nats): 0.0016 is a
    shift of about 0.12 standard deviations."""
    min_share: Share = 0.2
    """Drifted columns, weighted by the champion's importances, that make the window drifted."""
    min_rows: int = Field(200, ge=1)
    """A window with fewer rows is never called drifted."""
    multivariate: Literal["off", "report", "trigger"] = "report"
    """Whether a classifier looks at all columns together: what it finds is shown, or makes the window drifted too."""


class PerformanceConfig(Section):
    """When a champion counts as degraded against the metrics it was registered with."""

    margin: float = Field(0.05, ge=0)
    """Relative loss of the metric that is accepted."""
    calibration_margin: float = Field(0.05, ge=0)
    """Difference between the mean probability and the share of positives that is accepted, however significant."""
    significance: float = Field(0.05, gt=0, lt=1)
    """Level of the one-sided test that the margin is exceeded."""
    min_labelled_rows: int = Field(200, ge=1)
    """A window with fewer labelled rows has no verdict."""
    use_estimates: bool = False
    """Whether a window with fewer labelled rows takes its verdict from the performance that is estimated without
    labels. Estimates do not see concept drift, so by default they are shown, and decide nothing."""


class QualityConfig(Section):
    """When a window's data counts as broken, which blocks training on it."""

    warn_missing_share: Share = 0.05
    """Rise of a column's missing share over its reference that warns."""
    block_missing_share: Share = 0.5
    """Rise of a column's missing share over its reference that blocks."""
    warn_unseen_share: Share = 0.05
    """Share of unseen categories or out-of-range values that warns."""
    block_unseen_share: Share = 0.5
    """Share of unseen categories or out-of-range values that blocks."""
    min_rows: int = Field(1, ge=0)
    """A window with fewer rows blocks: the traffic stopped."""
    warn_volume_share: Share = 0.5
    """Share of the rows that are usual at this hour and weekday below which a window warns."""
    block_volume_share: Share = 0.05
    """The same share below which it blocks."""
    warn_volume_factor: float = Field(5.0, ge=1)
    """Times the usual rows above which a window warns."""
    warn_silence_share: Share = 0.75
    """Age of a window's newest event at its end, as a share of the window, that warns where it is unusual."""
    block_silence_share: Share = 1.0
    """The same age that blocks; 1 never does."""
    warn_duplicate_share: Share = 0.01
    """Share of rows whose request id and row number had been seen before that warns."""
    block_duplicate_share: Share = 0.5
    """The same share that blocks."""
    frozen_rows: int = Field(50, ge=2)
    """So many equal values, of a column that has always varied, are called frozen."""


class SegmentsConfig(Section):
    """Parts of a window's rows that the champion is judged on apart."""

    declared: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Model -> columns, whose values are judged one by one, or conditions such as ``distance > 1000``, also several
    joined by ``and``."""
    search_columns: int = Field(8, ge=0, le=20)
    """How many of the model's most important inputs the worst segment is searched over; 0 does not search."""
    min_rows: int = Field(100, ge=2)
    """Smaller segments are not judged."""
    significance: float = Field(0.05, gt=0, lt=1)
    """Level below which a p-value, corrected for the segments looked at, is called significant."""


class FeatureAuditConfig(Section):
    """How the features that were joined for a window's predictions are compared with the tables when it closes."""

    enabled: bool = True
    """Whether they are."""
    sample_rows: int = Field(2000, ge=1)
    """At most so many rows of a window are recomputed, drawn by their request ids."""
    warn_share: Share = 0.01
    """Share of the rows, of any one feature, that were served another value than the tables say, that warns."""
    block_share: Share = 0.1
    """The same share that blocks training on the window."""


class RetentionConfig(Section):
    """How long what was served is kept. What an open window or a trial needs is kept longer."""

    events: Span = _d("400d")
    """Prediction events."""
    labels: Span = _d("400d")
    """Labels."""
    profiles: Span = _d("1100d")
    """Profiles of closed windows, which longer periods are made of. The windows' records are kept for ever."""
    every: Span = _d("1m")
    """How often small files are packed and old ones removed, beside what is served."""


class MonitoringConfig(Section):
    """How traffic is cut into windows, and what is flagged."""

    window: Span = _d("1d")
    """Length of a window of event time."""
    anchor: AwareDatetime = datetime(1970, 1, 5, tzinfo=UTC)
    """A window begins here, every other one a whole number of windows away; the default is a Monday."""
    label_delay: Duration = _d("1h")
    """How long after its end a window waits for labels before it closes."""
    late_labels: Duration = _d("7d")
    """How long after a window has closed labels still count: its performance is measured anew, its drift and quality
    stay as they were judged."""
    late_labels_every: Span = _d("1h")
    """How often closed windows are looked at again for late labels."""
    max_event_age: Span = _d("400d")
    """An event that is about an instant longer than this before it was answered is kept, and belongs to no window."""
    max_event_lead: Span = _d("1d")
    """The same of one that is about an instant later than this after it was answered."""
    drift: DriftConfig = DriftConfig()
    """When a window counts as drifted."""
    performance: PerformanceConfig = PerformanceConfig()
    """When a champion counts as degraded."""
    quality: QualityConfig = QualityConfig()
    """When data counts as broken."""
    segments: SegmentsConfig = SegmentsConfig()
    """What the champion is judged on apart."""
    feature_audit: FeatureAuditConfig = FeatureAuditConfig()
    """When served features count as broken."""
    retention: RetentionConfig = RetentionConfig()
    """How long what was served is kept."""
    alerts: AlertsConfig = AlertsConfig()
    """Who is told."""
    metrics: MetricsConfig = MetricsConfig()
    """What Prometheus may scrape."""
