"""Windows, drift and performance."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import AwareDatetime, Field

from raymlops.config.section import Duration, Section, Share, Span
from raymlops.config.section import parse_duration as _d

__all__ = ["DriftConfig", "MonitoringConfig", "PerformanceConfig", "QualityConfig"]


class DriftConfig(Section):
    """When a column, and a window, count as drifted: significant and large enough."""

    false_discovery_rate: float = Field(0.01, gt=0, lt=1)
    """Share of false alarms accepted among the columns that are flagged."""
    min_effect: float = Field(0.02, ge=0)
    """Smallest Jensen-Shannon divergence (nats) that matters, however significant."""
    min_share: Share = 0.2
    """Drifted columns, weighted by the champion's importances, that make the window drifted."""
    min_rows: int = Field(200, ge=1)
    """A window with fewer rows is never called drifted."""


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


class MonitoringConfig(Section):
    """How traffic is cut into windows, and what is flagged."""

    window: Span = _d("1d")
    """Length of a window of event time."""
    anchor: AwareDatetime = datetime(1970, 1, 5, tzinfo=UTC)
    """A window begins here, every other one a whole number of windows away; the default is a Monday."""
    label_delay: Duration = _d("1h")
    """How long after its end a window waits for labels before it closes."""
    drift: DriftConfig = DriftConfig()
    """When a window counts as drifted."""
    performance: PerformanceConfig = PerformanceConfig()
    """When a champion counts as degraded."""
    quality: QualityConfig = QualityConfig()
    """When data counts as broken."""
