"""The default policy before an outside referee: the harness of PyPI ``lfmm``, with its own models and its own score.

Ours writes each series as a stream; lfmm fits its models on it and writes what they answered; the default policy
decides on these answers, at each of lfmm's prices; lfmm scores the schedules beside its own policies and its oracle.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.peer_processes import Peer
from benchmarks.policies import prepared
from benchmarks.policy_series import GENERATED, Series, real_series
from raymlops.laboratory import LossMatrix, default_policy, simulate

RHOS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Prices as lfmm counts them: at 1, retraining in every window costs as much as never retraining."""
OURS = "raymlops"
_MOST_ROWS = 1000
"""Of a window, drawn by chance: lfmm scores each of its models on all rows, and draws what it fits them on."""
_UNPAID = 0.01
"""lfmm's unit of price where retraining gains nothing: a share of the loss of one window."""


def measure(only: str | None = None) -> dict[str, Any]:
    """Cost beyond the oracle's in percent, by policy and price: mean over the series, and of each by itself."""
    found = {}
    for name, read in (real_series() | GENERATED).items():
        if only is None or name == only:
            found[name] = judged(read())
            print(json.dumps({name: found[name]}), file=sys.stderr, flush=True)
    policies = sorted(set.intersection(*(set(one["excess"]) for one in found.values())))
    mean = {
        policy: [
            round(statistics.mean(one["excess"][policy][at] for one in found.values()), 2) for at in range(len(RHOS))
        ]
        for policy in policies
    }
    return {"rho": RHOS, "mean excess over its oracle, percent": mean, "series": found}


def judged(series: Series) -> dict[str, Any]:
    """One series."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        note = _write(series, folder)
        with Peer("referee_lfmm.py", folder, "lfmm.txt") as peer:
            seconds = peer.seconds()
            schedules = _decided(folder, series.first)
            (folder / "schedules.json").write_text(json.dumps({"rhos": RHOS, "schedules": schedules}))
            peer.seconds()
        verdict = json.loads((folder / "verdict.json").read_text())
    return {**_told(verdict), "bank_s": round(seconds), **({"note": note} if note else {})}


def _write(series: Series, folder: Path) -> str:
    """The stream, and what was done to it: lfmm knows two classes alone, and calendar weeks."""
    table = prepared(series)
    labels, note = table.labels, ""
    if table.task.kind == "regressor":
        middle = float(np.median(labels[table.windows < series.first]))
        labels, note = (labels > middle).astype(np.float64), f"asked is whether the value lies above {middle:g}"
    drawn = np.flatnonzero(_drawn(table.windows))
    columns: dict[str, Any] = {name: table.inputs[:, at] for at, name in enumerate(table.task.inputs)}
    length_us = table.starts_us[1] - table.starts_us[0]
    # A row's instant is its window's start: the harness asks only which week it lies in.
    columns |= {"y": labels, "week": table.windows, "known": (table.known_us - table.starts_us[0]) / length_us}
    pq.write_table(pa.table(columns).take(pa.array(drawn)), folder / "stream.parquet")
    (folder / "first.json").write_text(json.dumps(series.first))
    return note


def _drawn(windows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows are given to lfmm."""
    rank = np.empty(len(windows), dtype=np.int64)
    order = np.lexsort((np.random.default_rng(0).random(len(windows)), windows))
    starts = np.flatnonzero(np.diff(windows[order], prepend=-1))
    rank[order] = np.arange(len(windows)) - np.repeat(starts, np.diff(np.append(starts, len(windows))))
    return rank < _MOST_ROWS


def _decided(folder: Path, first: int) -> dict[str, list[int]]:
    """When the default policy retrains, by price; it sees the losses of lfmm's models, window by window."""
    with np.load(folder / "answers.npz") as kept:
        answers, truth, weeks, means = (kept[name] for name in ("answers", "y", "weeks", "loss"))
    right = np.clip(np.where(truth > 0, answers, 1 - answers), 1e-6, 1.0)
    losses = -np.log(right)
    pairs = {(first + i, first + j): losses[i, weeks == j] for i in range(len(answers)) for j in range(i, len(answers))}
    matrix = LossMatrix.from_losses(pairs, first=first)
    size = len(means)
    gain = (float(means[0].sum()) - float(np.trace(means))) / max(1, size - 1)
    if gain <= 0:
        gain = _UNPAID * float(means[0].sum()) / size
    unit = float(np.trace(means)) / size
    made = {rho: simulate(matrix, default_policy(rho * gain / unit)).retrainings for rho in RHOS}
    return {f"{OURS} {rho}": [window - first for window in windows] for rho, windows in made.items()}


def _told(verdict: dict[str, Any]) -> dict[str, Any]:
    """Excess in percent of the oracle's cost, by policy and price, and how often each retrained."""
    oracle = {row["rho"]: row["cost"] for row in verdict["rows"] if row["policy"] == "oracle"}
    excess: dict[str, list[float]] = {}
    count: dict[str, list[int]] = {}
    for row in verdict["rows"]:
        name, rho = row["policy"], row["rho"]
        if name.startswith(OURS):
            if name != f"{OURS} {rho}":
                continue
            name = OURS
        excess.setdefault(name, []).append(round(100 * row["regret"] / oracle[rho], 2))
        count.setdefault(name, []).append(row["retrains"])
    return {"excess": excess, "retrainings": count, "facts": verdict["facts"]}


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:2]), indent=2))
