"""How old the features were that a window's predictions were made from."""

from __future__ import annotations

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.monitoring.events.recorded import FEATURE_TIMES
from raymlops.monitoring.performance.holdout import evenly_spread
from raymlops.records.windows import FeatureAge

__all__ = ["age_text", "feature_ages"]

MAX_ROWS = 50_000
_SECOND_US = 1e6


def feature_ages(answered: pa.Table) -> dict[str, FeatureAge]:
    """Ages at the instants that were asked about, by feature view.

    Args:
        answered: Prediction events; of more than 50,000 so many are looked at, evenly spread. Events without joined
            features, and those from before their times were logged, are left out.
    """
    if FEATURE_TIMES not in answered.column_names:
        return {}
    joined = answered.select(["event_time", FEATURE_TIMES]).filter(pc.is_valid(answered[FEATURE_TIMES]))
    joined = joined.take(pa.array(evenly_spread(joined.num_rows, MAX_ROWS)))
    asked_us = joined["event_time"].cast(pa.int64()).to_numpy()
    times = [orjson.loads(text) for text in joined[FEATURE_TIMES].to_pylist()]
    found = {}
    for view in sorted({view for row in times for view in row}):
        places = np.flatnonzero([view in row for row in times])
        known_us = np.array([np.nan if times[at][view] is None else times[at][view] for at in places], np.float64)
        ages = (asked_us[places] - known_us)[np.isfinite(known_us)] / _SECOND_US
        median, late = np.quantile(ages, [0.5, 0.95]).tolist() if ages.size else (None, None)
        found[view] = FeatureAge(
            rows=int(places.size), median_s=median, p95_s=late, missing_share=1 - ages.size / places.size
        )
    return found


def age_text(seconds: float | None) -> str:
    """An age, for people."""
    if seconds is None:
        return "-"
    for unit, length in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if abs(seconds) >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
