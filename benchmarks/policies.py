"""When to retrain: what policies cost beside the oracle, on real and generated series, at several prices.

The default policy's constants were chosen on series of ``benchmarks/policy_choice.py``, none of which is among these.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.policy_series import GENERATED, Series, real_series
from raymlops.laboratory import (
    CheapestCalendar,
    LossMatrix,
    Never,
    Periodic,
    Policy,
    Regret,
    default_policy,
    oracle,
    simulate,
)
from raymlops.laboratory.building import build_matrix
from raymlops.laboratory.intake.table import PreparedTable, prepare

PRICES = (0.02, 0.05, 0.1, 0.2)
CALENDARS = (1, 2, 4, 8)
MANY = 1000


def measure() -> dict[str, Any]:
    """Excess of total cost over the oracle's, by policy and price, mean over series; and how long it took."""
    matrices, build_s = _matrices()
    names = ["default", "hindsight calendar", "never", *(Periodic(n).name for n in CALENDARS), "regret", "cheapest"]
    excess = {name: {price: _excesses(name, matrices, price) for price in PRICES} for name in names}
    return {
        "mean excess over the oracle, percent": {
            name: {str(p): round(100 * statistics.mean(by.values()), 2) for p, by in prices.items()}
            for name, prices in excess.items()
        },
        "by series, default / hindsight calendar, percent": {
            series: {
                str(p): [round(100 * excess[name][p][series], 2) for name in ("default", "hindsight calendar")]
                for p in PRICES
            }
            for series in matrices
        },
        "retrainings of the default": {
            series: [len(simulate(matrix, default_policy(price)).retrainings) for price in PRICES]
            for series, matrix in matrices.items()
        },
        "seconds to build": build_s,
        f"seconds of a core for {MANY} policies": {series: _many(matrix) for series, matrix in matrices.items()},
    }


def _matrices() -> tuple[dict[str, LossMatrix], dict[str, float]]:
    """Every series' matrix; kept in ``POLICY_MATRICES`` where that names a folder."""
    kept = os.environ.get("POLICY_MATRICES")
    matrices, build_s = {}, {}
    for name, read in (real_series() | GENERATED).items():
        path = Path(kept or ".") / f"{name}.arrow"
        if kept and path.exists():
            matrices[name] = LossMatrix.load(path)
            continue
        series, began = read(), time.monotonic()
        matrices[name] = build(series)
        build_s[name] = round(time.monotonic() - began, 1)
        if kept:
            matrices[name].save(path)
    return matrices, build_s


def build(series: Series) -> LossMatrix:
    """The matrix of one series, with the laboratory's own recipe."""
    return build_matrix(prepared(series), first=series.first)


def prepared(series: Series) -> PreparedTable:
    """The table of one series, as the laboratory takes it."""
    label = "late" if "late" in series.table.column_names else "label"
    return prepare(
        series.table,
        label=label,
        event_time="event_time",
        window=series.window,
        label_delay=series.label_delay,
        label_time=series.label_time,
    )


def _excesses(name: str, matrices: Mapping[str, LossMatrix], price: float) -> dict[str, float]:
    return {series: _excess(name, matrix, price) for series, matrix in matrices.items()}


def _excess(name: str, matrix: LossMatrix, price: float) -> float:
    own: dict[str, Callable[[], Policy]] = {
        "default": partial(default_policy, price),
        "never": Never,
        "regret": partial(Regret, price),
        "cheapest": partial(CheapestCalendar, price),
        **{Periodic(n).name: partial(Periodic, n) for n in CALENDARS},
    }
    policies = [own[name]()] if name in own else [Never(), *map(Periodic, range(1, len(matrix.windows)))]
    best = oracle(matrix, price).cost(price)
    return min(simulate(matrix, policy).cost(price) for policy in policies) / best - 1.0


def _many(matrix: LossMatrix) -> float:
    began = time.process_time()
    for number in range(MANY):
        simulate(matrix, default_policy(0.001 * (number + 1)))
    return round(time.process_time() - began, 2)


if __name__ == "__main__":
    import json

    print(json.dumps(measure(), indent=2))
