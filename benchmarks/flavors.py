"""``python -m benchmarks.flavors``: a packaged model of each flavor against its library's own call, in one process.

Calls alternate, so that what else the machine does falls on both; figures are medians, in microseconds.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.records.record import sha256_of
from raymlops.serving.models.model_files import load_model, save_model
from raymlops.serving.protocol.matrix_columns import MatrixColumns

_COLUMNS, _TREES, _ROUNDS = 20, 200, 400
_DRAW = np.random.default_rng(0)
_ROWS = _DRAW.normal(size=(2000, _COLUMNS))
_LABELS = (_ROWS[:, :3].sum(axis=1) > 0).astype(int)
_FOUR = _LABELS + 2 * (_ROWS[:, 3] > 0.5)
"""As many trees as for two classes: a quarter of the rounds."""
_NAMES = [f"x{place}" for place in range(_COLUMNS)]


def _models() -> dict[str, tuple[Any, Callable[[Any], Any]]]:
    """Flavor -> what is packaged, and the library's own call for a matrix."""
    import lightgbm
    import onnxruntime
    import xgboost
    from skl2onnx import to_onnx
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
    from sklearn.frozen import FrozenEstimator

    boosted = xgboost.XGBClassifier(n_estimators=_TREES, max_depth=6, n_jobs=1).fit(_ROWS, _LABELS)
    four = xgboost.XGBClassifier(n_estimators=_TREES // 4, max_depth=6, n_jobs=1).fit(_ROWS, _FOUR)
    two_calibrated = CalibratedClassifierCV(FrozenEstimator(boosted), method="isotonic").fit(_ROWS, _LABELS)
    four_calibrated = CalibratedClassifierCV(FrozenEstimator(four), method="isotonic").fit(_ROWS, _FOUR)
    light = lightgbm.LGBMClassifier(n_estimators=_TREES, n_jobs=1, verbosity=-1).fit(_ROWS, _LABELS)
    hist = HistGradientBoostingClassifier(max_iter=_TREES).fit(_ROWS, _LABELS)
    exported = GradientBoostingClassifier(n_estimators=_TREES).fit(_ROWS, _LABELS)
    graph = to_onnx(exported, _ROWS[:1].astype(np.float32), options={"zipmap": False}).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return {
        "xgboost": (boosted, lambda rows: boosted.get_booster().inplace_predict(rows)),
        "xgboost, 4 classes": (four, lambda rows: four.get_booster().inplace_predict(rows)),
        "calibrated, 2 classes": (two_calibrated, two_calibrated.predict_proba),
        "calibrated, 4 classes": (four_calibrated, four_calibrated.predict_proba),
        "lightgbm": (light, lambda rows: light.booster_.predict(rows, num_threads=1)),
        "sklearn": (hist, hist.predict_proba),
        "onnx": (graph, lambda rows: session.run(["probabilities"], {"X": rows.astype(np.float32)})),
    }


def measure(rows: int) -> dict[str, tuple[float, float]]:
    """Flavor -> microseconds of the packaged model, and of the library's own call, for so many rows."""
    example = pa.table(dict(zip(_NAMES, _ROWS[:20].T, strict=True)))
    found = {}
    with tempfile.TemporaryDirectory() as place:
        for name, (estimator, call) in _models().items():
            manifest = save_model(Path(place) / name, estimator, example=example)
            model = load_model(Path(place) / name, manifest, sha256_of(manifest))
            asked = np.ascontiguousarray(_ROWS[:rows])
            columns = MatrixColumns(asked, _NAMES, {column: at for at, column in enumerate(_NAMES)})
            ours, theirs = [], []
            for _ in range(_ROUNDS):
                begun = time.perf_counter()
                model.predict(columns)
                between = time.perf_counter()
                call(asked)
                ours.append(between - begun)
                theirs.append(time.perf_counter() - between)
            found[name] = (statistics.median(ours) * 1e6, statistics.median(theirs) * 1e6)
    return found


if __name__ == "__main__":
    for rows in (1, 64):
        for name, (ours, theirs) in measure(rows).items():
            print(f"{rows:3} rows  {name:22} {ours:7.0f} us  library {theirs:7.0f} us  x{ours / theirs:.2f}")
