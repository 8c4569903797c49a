"""Performance estimated without labels, under covariate shift: how far off, and how often the interval holds the truth.

Beside ours, on the same cases: NannyML's CBPE, and the trivial estimate, which is the holdout's AUC.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
from numpy.typing import NDArray

from benchmarks.peer_processes import Peer
from benchmarks.shifted_windows import Case, area, draw_case, draw_regression_case, table
from raymlops.monitoring.performance.estimation import PerformanceEstimator
from raymlops.monitoring.performance.holdout import Holdout

CASES = 600
REGRESSION_CASES = 200

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimated:
    """One case and what we say of it."""

    case: Case
    value: float
    low: float
    high: float
    supported: bool
    seconds: float
    trivial: float
    realised: float


def measure(cases: int = CASES) -> dict[str, Any]:
    """Errors against the truth of the shifted rows, and against the AUC realised once all labels of the window came."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        found = [estimate(case, folder, number) for number, case in enumerate(map(draw_case, range(cases)))]
        with Peer("nannyml_cbpe.py", folder, "nannyml.txt") as peer:
            peer_s = peer.seconds()
        theirs = pd.DataFrame(orjson.loads((folder / "nannyml.json").read_bytes()))
    truth = np.array([each.case.truth for each in found])
    realised = np.array([each.realised for each in found])
    ours = np.array([each.value for each in found])
    bounds = np.array([(each.low, each.high) for each in found])
    supported = np.array([each.supported for each in found])
    trivial = np.array([each.trivial for each in found])
    their_bounds = theirs[["low", "high"]].to_numpy(dtype=np.float64)
    their_values = theirs["value"].to_numpy(dtype=np.float64)
    return {
        "cases": cases,
        "ours": errors(ours, truth, realised, bounds),
        "ours_where_supported": {
            "share": round(float(supported.mean()), 3),
            **errors(ours[supported], truth[supported], realised[supported], bounds[supported]),
        },
        "nannyml_cbpe": errors(their_values, truth, realised, their_bounds),
        "trivial": errors(trivial, truth, realised),
        "mean_absolute_error_by": {
            part: _by([getattr(each.case, part) for each in found], truth, ours, their_values, trivial)
            for part in ("shift", "strength", "model", "world", "rows")
        },
        "regressors": measure_regressors(),
        "median_s_per_window": round(statistics.median(each.seconds for each in found), 3),
        "nannyml_s_per_window": round(peer_s / cases, 3),
    }


def measure_regressors(cases: int = REGRESSION_CASES) -> dict[str, Any]:
    """RMSE without labels, in shares of the true RMSE, beside the trivial estimate: the holdout's RMSE."""
    ours, trivial, inside = [], [], []
    for case in map(draw_regression_case, range(cases)):
        holdout = Holdout.fit("regressor", table(case.holdout), case.holdout_values, case.holdout_labels)
        found = PerformanceEstimator(holdout).estimate(table(case.window), case.values)
        assert found is not None
        low, high = found.record.intervals["rmse"]
        realised = float(np.sqrt(np.mean((case.values - case.labels) ** 2)))
        known = float(np.sqrt(np.mean((case.holdout_values - case.holdout_labels) ** 2)))
        ours.append(abs(found.record.metrics["rmse"] / case.truth - 1))
        trivial.append(abs(known / case.truth - 1))
        inside.append((low <= case.truth <= high, low <= realised <= high))
    covered = np.mean(inside, axis=0)
    return {
        "cases": cases,
        "mean_absolute_relative_error": round(statistics.mean(ours), 4),
        "trivial_mean_absolute_relative_error": round(statistics.mean(trivial), 4),
        "coverage_of_truth": round(float(covered[0]), 4),
        "coverage_of_realised": round(float(covered[1]), 4),
    }


def estimate(case: Case, folder: Path, number: int) -> Estimated:
    """Our estimate of one case, which is left in ``folder`` for the peer."""
    holdout = Holdout.fit("binary", table(case.holdout), case.holdout_scores, case.holdout_labels)
    started = time.perf_counter()
    found = PerformanceEstimator(holdout).estimate(table(case.window), case.scores)
    seconds = time.perf_counter() - started
    assert found is not None
    pd.DataFrame({"score": case.holdout_scores, "label": case.holdout_labels}).to_parquet(
        folder / f"{number:04}-holdout.parquet"
    )
    pd.DataFrame({"score": case.scores}).to_parquet(folder / f"{number:04}-window.parquet")
    # an AUC that could not be estimated counts as a coin's, anywhere from 0 to 1
    low, high = found.record.intervals.get("auc", (0.0, 1.0))
    return Estimated(
        case,
        found.record.metrics.get("auc", 0.5),
        low,
        high,
        not found.record.problem,
        seconds,
        area(case.holdout_scores, case.holdout_labels),
        area(case.scores, case.labels),
    )


def errors(estimates: Floats, truth: Floats, realised: Floats, bounds: Floats | None = None) -> dict[str, float]:
    """Errors of estimates, and how often their intervals hold what they are for."""
    off, known = np.abs(estimates - truth), np.isfinite(realised)
    found = {
        "mean_absolute_error": off.mean(),
        "error_exceeded_in_1_of_10": np.quantile(off, 0.9),
        "mean_error": (estimates - truth).mean(),
        "mean_absolute_error_of_realised": np.abs(estimates - realised)[known].mean(),
    }
    if bounds is not None:
        found["coverage_of_truth"] = _inside(truth, bounds).mean()
        found["coverage_of_realised"] = _inside(realised, bounds)[known].mean()
        found["median_half_width"] = np.median(bounds[:, 1] - bounds[:, 0]) / 2
    return {name: round(float(value), 4) for name, value in found.items()}


def _inside(values: Floats, bounds: Floats) -> NDArray[np.bool_]:
    return np.asarray((bounds[:, 0] <= values) & (values <= bounds[:, 1]))


def _by(keys: Sequence[object], truth: Floats, ours: Floats, theirs: Floats, trivial: Floats) -> dict[str, Any]:
    """Per value of a part of the case: cases, and the errors of ours, of NannyML and of the trivial estimate."""
    frame = pd.DataFrame({"key": [str(key) for key in keys], "ours": ours, "nannyml": theirs, "trivial": trivial})
    frame[["ours", "nannyml", "trivial"]] = frame[["ours", "nannyml", "trivial"]].sub(truth, axis=0).abs()
    return {
        str(key): {"cases": len(part), **part[["ours", "nannyml", "trivial"]].mean().round(4).to_dict()}
        for key, part in frame.groupby("key")
    }


if __name__ == "__main__":
    print(orjson.dumps(measure(), option=orjson.OPT_INDENT_2).decode())
