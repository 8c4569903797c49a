"""Estimates made without labels, checked against the truth once labels have come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from raymlops.records.windows import EstimatedPerformance, Performance, WindowRecord

__all__ = ["EstimateCheck", "check_estimates"]

MIN_COVERAGE = 0.5
CHECKED = ("auc", "log_loss", "brier", "accuracy", "rmse", "mae")


@dataclass(frozen=True)
class EstimateCheck:
    """How far the champion's estimates of one metric lay from what was realised, over several windows.

    Attributes:
        metric: The metric.
        windows: Windows compared.
        mean_error: Mean of estimate minus realised: away from 0, the estimates are biased, as under concept drift.
        mean_absolute_error: Mean size of the error.
        covered: Share of windows whose interval held the realised metric; 95% are asked for.
    """

    metric: str
    windows: int
    mean_error: float
    mean_absolute_error: float
    covered: float

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def check_estimates(windows: Sequence[WindowRecord]) -> tuple[EstimateCheck, ...]:
    """Compare, metric by metric, over the windows of which half the rows or more have labels.

    The estimate is for all rows of a window. Where some have no label yet, the realised metric's own interval is added
    by the share of rows that it is blind to.
    """
    pairs = [
        (window.estimated[window.champion], window.performance[window.champion])
        for window in windows
        if window.champion in window.estimated
        and window.champion in window.performance
        and window.performance[window.champion].label_coverage >= MIN_COVERAGE
    ]
    checks = [_check(metric, pairs) for metric in CHECKED]
    return tuple(check for check in checks if check is not None)


def _check(metric: str, pairs: Sequence[tuple[EstimatedPerformance, Performance]]) -> EstimateCheck | None:
    known = [
        (estimated, realised)
        for estimated, realised in pairs
        if metric in estimated.metrics and metric in realised.metrics
    ]
    if not known:
        return None
    errors = [estimated.metrics[metric] - realised.metrics[metric] for estimated, realised in known]
    covered = [
        abs(error) <= _reach(metric, estimated, realised)
        for error, (estimated, realised) in zip(errors, known, strict=True)
    ]
    return EstimateCheck(
        metric=metric,
        windows=len(known),
        mean_error=sum(errors) / len(known),
        mean_absolute_error=sum(map(abs, errors)) / len(known),
        covered=sum(covered) / len(known),
    )


def _reach(metric: str, estimated: EstimatedPerformance, realised: Performance) -> float:
    own = _half(estimated.intervals.get(metric))
    other = _half(realised.intervals.get(metric)) * math.sqrt(1 - realised.label_coverage)
    return math.hypot(own, other)


def _half(interval: tuple[float, float] | None) -> float:
    return 0.0 if interval is None else (interval[1] - interval[0]) / 2
