"""What the platform of a campaign serves: models whose every answer is known, and features that say how fresh they are.

Every process of the harness makes the same estimators from the same numbers, so that no answer is judged by the
platform's own word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.linear_model import LinearRegression, LogisticRegression
from xgboost import XGBClassifier

from raymlops.features import Entity, FeatureService, FeatureView, Field

__all__ = [
    "DEFINITIONS",
    "KEYS",
    "MODELS",
    "MOVED",
    "ROWS",
    "SERVICE",
    "TRIED",
    "VERSIONS",
    "VIEW",
    "ServedModel",
    "body",
    "estimator",
    "example",
    "expected",
    "generation_of",
    "is_close",
    "path",
    "rows_of",
    "value_in",
]

VERSIONS = (1, 2)
ROWS = 16
"""Rows that a model is asked about by turns."""
KEYS = 8
"""Keys that ``fed`` is asked about by turns."""
VIEW, SERVICE = "chaos_facts", "chaos_facts"
MOVED = ("fed", "pairs")
"""The models whose champions people move; not all, for a promotion also deploys what is down, and so hides it."""
TRIED = "trees"
"""The model with a candidate beside its champion."""
_COLUMNS = 4
_TOLERANCE = 1e-5
_FED = {1: (1.0, 0.5), 2: (-1.0, 2.0)}
"""Version of ``fed`` -> what it makes of a generation and of a key."""

_THING = Entity("chaos_thing", ["k"])
DEFINITIONS: tuple[Any, ...] = (
    _THING,
    FeatureView(VIEW, _THING, [Field("generation", "float64"), Field("place", "float64")]),
    FeatureService(SERVICE, [f"{VIEW}:generation", f"{VIEW}:place"]),
)


@dataclass(frozen=True)
class ServedModel:
    """One endpoint of the campaign."""

    name: str
    replicas: int = 1
    service: str | None = None
    """Where it is set, the model is asked by key."""


MODELS = (
    ServedModel("fed", service=SERVICE),
    ServedModel("pairs", replicas=2),
    ServedModel("sums"),
    ServedModel(TRIED),
    ServedModel("lines"),
)
"""A campaign with fewer takes the first ones."""


@cache
def estimator(model: str, version: int) -> Any:
    """The fitted estimator of a version; equal in every process."""
    rng = np.random.default_rng([MODELS.index(_named(model)), version])
    rows = rng.normal(size=(400, 2 if model == "fed" else _COLUMNS))
    weights = rng.normal(size=rows.shape[1])
    if model == "fed":
        return LinearRegression().fit(rows, rows @ np.array(_FED[version]))
    if model == "lines":
        return LinearRegression().fit(rows, rows @ weights)
    if model == "sums":
        return LogisticRegression().fit(rows, rows @ weights > 0)
    return XGBClassifier(n_estimators=20, max_depth=3, n_jobs=1).fit(rows, rows @ weights > 0)


def _named(model: str) -> ServedModel:
    return next(each for each in MODELS if each.name == model)


@cache
def _asked() -> npt.NDArray[np.float64]:
    return np.random.default_rng(99).normal(size=(ROWS, _COLUMNS))


def example(model: str) -> pa.Table:
    """Rows that give a model's signature."""
    names = [f"{VIEW}__generation", f"{VIEW}__place"] if model == "fed" else [f"c{n}" for n in range(_COLUMNS)]
    return pa.table(dict(zip(names, _asked().T, strict=False)))


def path(model: str) -> str:
    """Where a model is asked."""
    return f"/v2/models/{model}/{'predict' if model == 'fed' else 'infer'}"


def body(model: str, item: int, request_id: str) -> dict[str, Any]:
    """The request about one row, or about one key."""
    if model == "fed":
        return {"id": request_id, "instances": [{"k": item % KEYS}]}
    data = _asked()[item % ROWS].tolist()
    tensor = {"name": "features", "shape": [1, _COLUMNS], "datatype": "FP64", "data": data}
    return {"id": request_id, "inputs": [tensor]}


def value_in(answer: Mapping[str, Any]) -> float | None:
    """The one number of an answer that is compared."""
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    found = outputs["probability"][1] if "probability" in outputs else outputs["value"][0]
    return None if found is None else float(found)


@cache
def expected(model: str, version: int, item: int) -> float:
    """What a version answers about a row; not for ``fed``, whose answers depend on what was pushed."""
    found, row = estimator(model, version), _asked()[item % ROWS : item % ROWS + 1]
    return float(found.predict_proba(row)[0, 1]) if hasattr(found, "predict_proba") else float(found.predict(row)[0])


def generation_of(version: int, item: int, value: float) -> int | None:
    """The generation of features from which ``fed`` answers this about a key; ``None`` where there is none."""
    by_generation, by_place = _FED[version]
    generation = (value - by_place * _place(item % KEYS)) / by_generation
    nearest = round(generation)
    return nearest if nearest >= 0 and abs(generation - nearest) < _TOLERANCE else None


def is_close(value: float, wanted: float) -> bool:
    """Whether an answer is the wanted one, but for the arithmetic of another library."""
    return abs(value - wanted) < _TOLERANCE


def rows_of(generation: int, event_time: Any) -> pa.Table:
    """What is pushed as one generation: a row for every key."""
    keys = list(range(KEYS))
    return pa.table(
        {
            "k": pa.array(keys, pa.int64()),
            "event_time": pa.array([event_time] * KEYS, pa.timestamp("us", tz="UTC")),
            "generation": pa.array([float(generation)] * KEYS),
            "place": pa.array([_place(key) for key in keys]),
        }
    )


def _place(key: int) -> float:
    """A key's own feature: no multiple of a whole number, so that no key's answer is another's."""
    return 0.05 + 0.1 * key
