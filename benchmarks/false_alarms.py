"""How often a window that has not drifted is flagged, and the same beside Evidently's preset.

A window counts as flagged where any column of it is. Windows of up to 1,000 rows go through ``Reference.profile``;
those of independent rows beyond that are drawn as counts, which is the same law without the rows.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
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

SIZES = (50, 200, 1_000, 10_000, 1_000_000)
WINDOWS = 20
"""Windows of each size per reference."""
REFERENCES = int(os.environ.get("FALSE_ALARM_REFERENCES", "50"))
"""References per cell: 50 make 1,000 windows a cell, of which 1% or less is shown where up to 3 are flagged."""
LARGE_SERIAL_WINDOWS = 8
"""Windows of a million serially correlated rows per reference: they have to be drawn row by row."""
REFERENCE_ROWS = 10_000
PEER_FAMILIES, PEER_SIZES = ("mixed", "autoregression_0.9", "daily_season"), (50, 200, 1_000, 10_000)
PEER_WINDOWS = max(2, REFERENCES // 2)

Windows = Callable[[Reference, int], Profile]


def measure() -> dict[str, Any]:
    """Flagged windows per family, number of columns and window size, with 95% intervals; the cells on all cores."""
    asked: list[tuple[str, int, tuple[int, ...]]] = []
    for family in INDEPENDENT:
        asked += [(family, columns, SIZES) for columns in ((200, 50, 20, 5) if family == "mixed" else (20,))]
    for family in SERIAL:
        large = family in {"autoregression_0.9", "autoregression_0.99", "daily_season"}
        asked.append((family, 5, SIZES if large else SIZES[:-1]))
    asked += [("autoregression_0.9", columns, SIZES[1:3]) for columns in (200, 50)]
    started = time.perf_counter()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        cells = dict(pool.map(_family, *zip(*sorted(asked, key=lambda each: -each[1]), strict=True)))
    found: dict[str, Any] = {"reference_rows": REFERENCE_ROWS, "references": REFERENCES, **cells}
    found["in_short"] = _in_short(cells) | {"seconds": round(time.perf_counter() - started)}
    return found


def measure_beside_evidently() -> dict[str, Any]:
    """The same windows through both, fewer of them: each of its reports takes a second and more."""
    return {family: _evidently(family) for family in PEER_FAMILIES}


def _family(family: str, columns: int, sizes: tuple[int, ...]) -> tuple[str, dict[str, Any]]:
    return f"{family} x {columns}", (_independent if family in INDEPENDENT else _serial)(family, columns, list(sizes))


def _in_short(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Shares by size over all cells, by the library's rule, and how many cells are shown to have 1% or less."""
    by_size: dict[str, Any] = {}
    for size in map(str, SIZES):
        found = [sizes[size]["library"] for sizes in cells.values() if size in sizes]
        by_size[size] = share(sum(each["flagged"] for each in found), sum(each["windows"] for each in found))
    listed = [
        (f"{name}, {size} rows", each["library"]) for name, sizes in cells.items() for size, each in sizes.items()
    ]
    worst = max(listed, key=lambda cell: cell[1]["share"])
    return {
        "cells": len(listed),
        "above_1_percent": [name for name, each in listed if each["share"] > 0.01],
        "shown_to_be_at_most_1_percent": sum(each["interval_95"][1] <= 0.01 for _, each in listed),
        "worst": {worst[0]: worst[1]},
        "by_size": by_size,
    }


def _independent(family: str, columns: int, sizes: list[int]) -> dict[str, Any]:
    rng = np.random.default_rng([columns, *family.encode()])

    def window(reference: Reference, rows: int) -> Profile:
        if rows <= 1_000:
            return reference.profile(draw_table(family, rng, rows, columns))
        return draw_profile(family, rng, reference, rows)

    fitted = (Reference.fit(draw_table(family, rng, REFERENCE_ROWS, columns)) for _ in range(REFERENCES))
    return _count(fitted, window, sizes)


def _serial(family: str, columns: int, sizes: list[int]) -> dict[str, Any]:
    rng = np.random.default_rng([columns, *family.encode()])

    def window(reference: Reference, rows: int) -> Profile:
        return reference.profile(serial_table(family, rng, rows, columns))

    fitted = (Reference.fit(serial_table(family, rng, REFERENCE_ROWS, columns)) for _ in range(REFERENCES))
    return _count(fitted, window, sizes, large=LARGE_SERIAL_WINDOWS)


def _count(references: Iterator[Reference], window: Windows, sizes: list[int], large: int = WINDOWS) -> dict[str, Any]:
    drawn = {rows: large if rows == SIZES[-1] else WINDOWS for rows in sizes}
    flagged = {rows: dict.fromkeys(RULES, 0) for rows in sizes}
    # The two rules differ in the rows they ask for alone, so one comparison does for both.
    assert len({replace(rule, min_rows=0) for rule in RULES.values()}) == 1
    for reference in references:
        for rows in sizes:
            for _ in range(drawn[rows]):
                drifted = reference.compare(window(reference, rows), rule=RULES["library"]).drifted
                for name, rule in RULES.items():
                    flagged[rows][name] += drifted and rows >= rule.min_rows
    return {
        str(rows): {name: share(count, REFERENCES * drawn[rows]) for name, count in counts.items()}
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
