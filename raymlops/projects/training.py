"""How the model of a generated project is trained: settings that fit the length and the size of its table."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from raymlops.projects.columns import Labels

__all__ = ["training_settings"]

_DAY_US = 86_400_000_000
_MOST_HOLDOUT_DAYS, _PARTS = 14.0, 16
_HOLDOUT_ROWS = 300
_MOST_HOLDOUT_SHARE = 0.1
_MIN_ROWS, _MOST_ROWS, _SEARCH_ROWS = 500, 100_000, 30_000


def training_settings(at_us: npt.NDArray[np.int64], labels: Labels, *, repeats: bool) -> dict[str, Any]:
    """``training`` and ``families`` of a project.

    Args:
        at_us: Times of the labelled rows, in order.
        labels: Of all rows.
        repeats: Whether many rows repeat another one.
    """
    rows = len(at_us)
    span_days = float(at_us[-1] - at_us[0]) / _DAY_US
    least = min(_HOLDOUT_ROWS, int(rows * _MOST_HOLDOUT_SHARE))
    needed_days = float(at_us[-1] - at_us[-least]) / _DAY_US
    holdout_days = _two_digits(max(min(_MOST_HOLDOUT_DAYS, span_days / _PARTS), needed_days * 1.05, 1 / 1440))
    training: dict[str, Any] = {
        "max_rows": _MOST_ROWS,
        "holdout_days": holdout_days,
        "trials": 4,
        "search_rows": _SEARCH_ROWS,
        "monitor_window_days": _two_digits(min(7.0, max(span_days / 50, 1 / 1440))),
    }
    if holdout_days < 5:
        training["block_hours"] = _two_digits(holdout_days * 24 / 5)
    quality: dict[str, Any] = {}
    if rows < 10 * _MIN_ROWS:
        quality["min_rows"] = max(50, rows // 10)
    if least < _HOLDOUT_ROWS:
        quality["min_holdout_rows"] = max(10, least // 3)
    if labels.classes and (rarest := _rarest(labels)) < 0.004:
        quality["min_class_share"] = _two_digits(rarest / 4)
    if repeats:
        quality["max_duplicate_share"] = 1.0
    if quality:
        training["quality"] = quality
    return {"training": training, "linear_family": labels.kind == "classifier"}


def _rarest(labels: Labels) -> float:
    known = labels.values[~np.isnan(labels.values)].astype(np.int64)
    return float(np.bincount(known, minlength=len(labels.classes)).min() / len(known))


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")
