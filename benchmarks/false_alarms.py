"""How often a window that has not drifted is flagged, beside Evidently's preset on windows of the same kind.

A window counts as flagged where any column of it is. Windows of up to 1,000 rows go through ``Reference.profile``;
those of independent rows beyond that are drawn as counts, which is the same law without the rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import stats

from benchmarks.drift import RULES
from benchmarks.drifting_data import INDEPENDENT, SERIAL, draw_profile, draw_table, serial_table
from benchmarks.peer_processes import Peer
from raymlops.monitoring import Profile, Reference

WINDOWS = {50: 20, 200: 20, 1_000: 20, 10_000: 10, 1_000_000: 6}
"""Windows of each size per reference."""
REFERENCE_ROWS, REFERENCES, WIDE_REFERENCES = 10_000, 50, 25
PEER_FAMILIES, PEER_SIZES, PEER_WINDOWS = ("mixed", "autoregression_0.9", "daily_season"), (50, 200, 1_000, 10_000), 25

Windows = Callable[[Reference, int], Profile]


def measure() -> dict[str, Any]:
    """Flagged windows per family, number of columns and window size, with 95% intervals."""
    found: dict[str, Any] = {"reference_rows": REFERENCE_ROWS}
    for family in INDEPENDENT:
        for columns in (5, 20, 50, 200) if family == "mixed" else (20,):
            found[f"{family} x {columns}"] = _independent(family, columns)
    for family in SERIAL:
        large = family in {"autoregression_0.9", "autoregression_0.99", "daily_season"}
        found[f"{family} x 5"] = _serial(family, 5, [rows for rows in WINDOWS if large or rows <= 10_000])
    for columns in (50, 200):
        found[f"autoregression_0.9 x {columns}"] = _serial("autoregression_0.9", columns, [200, 1_000])
    found["evidently"] = {family: _evidently(family) for family in PEER_FAMILIES}
    return found


def _references(columns: int) -> range:
    return range(WIDE_REFERENCES if columns >= 100 else REFERENCES)


def _independent(family: str, columns: int) -> dict[str, Any]:
    rng = np.random.default_rng([columns, *family.encode()])

    def window(reference: Reference, rows: int) -> Profile:
        if rows <= 1_000:
            return reference.profile(draw_table(family, rng, rows, columns))
        return draw_profile(family, rng, reference, rows)

    fitted = (Reference.fit(draw_table(family, rng, REFERENCE_ROWS, columns)) for _ in _references(columns))
    return _count(fitted, window, list(WINDOWS))


def _serial(family: str, columns: int, sizes: list[int]) -> dict[str, Any]:
    rng = np.random.default_rng([columns, *family.encode()])

    def window(reference: Reference, rows: int) -> Profile:
        return reference.profile(serial_table(family, rng, rows, columns))

    fitted = (Reference.fit(serial_table(family, rng, REFERENCE_ROWS, columns)) for _ in _references(columns))
    return _count(fitted, window, sizes)


def _count(references: Iterator[Reference], window: Windows, sizes: list[int]) -> dict[str, Any]:
    flagged = {rows: dict.fromkeys(RULES, 0) for rows in sizes}
    # The two rules differ in the rows they ask for alone, so one comparison does for both.
    assert len({replace(rule, min_rows=0) for rule in RULES.values()}) == 1
    seen = 0
    for reference in references:
        seen += 1
        for rows in sizes:
            for _ in range(WINDOWS[rows]):
                drifted = reference.compare(window(reference, rows), rule=RULES["library"]).drifted
                for name, rule in RULES.items():
                    flagged[rows][name] += drifted and rows >= rule.min_rows
    return {
        str(rows): {name: share(count, seen * WINDOWS[rows]) for name, count in counts.items()}
        for rows, counts in flagged.items()
    }


def share(flagged: int, windows: int) -> dict[str, Any]:
    """A share of windows with its exact 95% interval (Clopper and Pearson)."""
    interval = stats.binomtest(flagged, windows).proportion_ci(0.95, "exact")
    return {
        "windows": windows,
        "flagged": flagged,
        "share": round(flagged / windows, 4),
        "interval_95": [round(interval.low, 4), round(interval.high, 4)],
    }


def _evidently(family: str) -> dict[str, Any]:
    """Fewer windows of 5 columns against one reference per size, for each report takes it a second and more."""
    rng = np.random.default_rng([1, *family.encode()])
    table: Callable[..., pa.Table] = draw_table if family in INDEPENDENT else serial_table
    found = {}
    for rows in PEER_SIZES:
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory)
            past = table(family, rng, REFERENCE_ROWS, 5)
            pq.write_table(past, folder / "reference.parquet")
            reference, ours = Reference.fit(past), 0
            for index in range(PEER_WINDOWS):
                window = table(family, rng, rows, 5)
                pq.write_table(window, folder / f"window-{index:04}.parquet")
                ours += reference.compare(reference.profile(window)).drifted
            with Peer("evidently_drift.py", folder, "evidently.txt") as peer:
                peer.seconds()
            named = orjson.loads((folder / "evidently.json").read_bytes())
        found[str(rows)] = {
            "any_column": share(sum(bool(names) for names in named), PEER_WINDOWS),
            "its_dataset_rule_half_the_columns": share(sum(len(names) >= 2.5 for names in named), PEER_WINDOWS),
            "columns": share(sum(len(names) for names in named), PEER_WINDOWS * 5),
            "raymlops_any_column": share(ours, PEER_WINDOWS),
        }
    return found
