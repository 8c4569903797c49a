"""One model and one row for every system that is measured: XGBoost, 100 trees, 20 features."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
from xgboost import XGBClassifier

from raymlops.features import Entity, FeatureService, FeatureView, Field

__all__ = [
    "COLUMNS",
    "MODEL",
    "SERVICE",
    "VIEW",
    "classifier",
    "example",
    "features",
    "infer_body",
    "matrix",
    "predict_body",
]

MODEL, COLUMNS, TREES, KEYS = "bench", 20, 100, 1_000
VIEW = FeatureView(
    "facts",
    Entity("thing", ["k"]),
    [Field(f"f{number}", "float64") for number in range(COLUMNS)],
    ttl=timedelta(days=365),
)
SERVICE = FeatureService("facts", [f"facts:f{number}" for number in range(COLUMNS)])
_NAMES = [f"facts__f{number}" for number in range(COLUMNS)]


def matrix(rows: int) -> npt.NDArray[np.float64]:
    """The rows that everybody is asked about."""
    return np.random.default_rng(0).normal(size=(rows, COLUMNS))


def classifier() -> XGBClassifier:
    """The fitted model."""
    rows = matrix(4000)
    return XGBClassifier(n_estimators=TREES, n_jobs=1).fit(rows, rows[:, 0] + rows[:, 1] > 0)


def example() -> pa.Table:
    """What the model takes."""
    return pa.table(dict(zip(_NAMES, matrix(8).T, strict=True)))


def features() -> pa.Table:
    """The same rows as the features of things 0, 1, 2 ..."""
    columns: dict[str, Any] = {"k": np.arange(KEYS), "event_time": pa.array([datetime.now(UTC)] * KEYS)}
    named = zip((field.name for field in VIEW.fields), matrix(KEYS).T, strict=True)
    return pa.table({**columns, **dict(named)})


def infer_body(rows: int) -> bytes:
    """An Open Inference Protocol request, as one tensor."""
    data = matrix(rows).ravel().tolist()
    tensor = {"name": "features", "shape": [rows, COLUMNS], "datatype": "FP64", "data": data}
    return orjson.dumps({"inputs": [tensor]})


def predict_body(rows: int) -> bytes:
    """The same rows by their keys."""
    return orjson.dumps({"instances": [{"k": key} for key in range(rows)]})
