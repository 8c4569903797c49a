"""The model behind BentoML, one worker, as it comes; ``bentoml serve`` imports it."""

from __future__ import annotations

import os

import bentoml
import numpy as np
import xgboost


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Bench:
    """Rows in, probabilities out."""

    def __init__(self) -> None:
        self.booster = xgboost.Booster(model_file=os.environ["BENCH_MODEL"])
        self.booster.set_param({"nthread": 1})

    @bentoml.api
    def infer(self, inputs: list[list[float]]) -> list[float]:
        """P(class 1)."""
        return self.booster.inplace_predict(np.array(inputs, dtype=np.float32)).tolist()
