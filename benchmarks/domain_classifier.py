"""The domain classifier: false alarms without drift, changes that no single column shows, and its cost."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.drifting_data import INDEPENDENT, draw_table, serial_table
from benchmarks.false_alarms import share
from raymlops.monitoring.profiles.classifier.domain import DomainClassifier

REFERENCE_ROWS, REFERENCES, WINDOWS, WINDOW_ROWS = 10_000, 40, 10, 1_000
FAMILIES = (("normal", 20), ("mixed", 6), ("autoregression_0.5", 5), ("autoregression_0.9", 5), ("daily_season", 5))


def measure() -> dict[str, Any]:
    """Windows of 1,000 rows against samples of 10,000: flagged ones, found changes, milliseconds."""
    found: dict[str, Any] = {
        "false_alarms": {f"{name} x {columns}": _steady(name, columns) for name, columns in FAMILIES}
    }
    for columns in (5, 20):
        for correlation in (0.3, 0.5, 0.7):
            found[f"correlation of {correlation} between 2 of {columns}"] = _correlated(columns, correlation)
    return found


def _steady(family: str, columns: int) -> dict[str, Any]:
    rng = np.random.default_rng([columns, *family.encode()])
    table = draw_table if family in INDEPENDENT else serial_table
    flagged = 0
    for _ in range(REFERENCES):
        past = table(family, rng, REFERENCE_ROWS, columns)
        classifier = DomainClassifier.fit(past, window_rows=WINDOW_ROWS)
        flagged += sum(classifier.compare(table(family, rng, WINDOW_ROWS, columns)).drifted for _ in range(WINDOWS))
    return share(flagged, REFERENCES * WINDOWS)


def _correlated(columns: int, correlation: float) -> dict[str, Any]:
    rng = np.random.default_rng([columns, round(correlation * 10)])

    def table(rows: int, between: float) -> pa.Table:
        values = rng.normal(size=(columns, rows))
        values[1] = between * values[0] + np.sqrt(1 - between**2) * values[1]
        return pa.table({f"c{index}": column for index, column in enumerate(values)})

    drifted, named, times = 0, 0, []
    for _ in range(10):
        classifier = DomainClassifier.fit(table(REFERENCE_ROWS, 0.0))
        for _ in range(WINDOWS):
            window = table(WINDOW_ROWS, correlation)
            started = time.perf_counter()
            found = classifier.compare(window)
            times.append(time.perf_counter() - started)
            drifted += found.drifted
            named += set(list(found.importances)[:2]) == {"c0", "c1"}
    windows = 10 * WINDOWS
    return {"found": drifted / windows, "both_named": named / windows, "ms": round(float(np.median(times)) * 1e3, 1)}
