"""The C API beside XGBoost's own ``inplace_predict``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import xgboost

from raymlops.errors import DeploymentError
from raymlops.flavors.dense_booster import DenseBooster

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(200, 4))
TARGETS = {
    "binary:logistic": ROWS[:, 0] > 0,
    "multi:softprob": np.digitize(ROWS[:, 0], [-0.5, 0.5]),
    "reg:squarederror": ROWS.sum(axis=1),
    "count:poisson": np.abs(ROWS[:, 0]).round(),
}


@pytest.fixture(scope="module", params=TARGETS)
def booster(request: pytest.FixtureRequest) -> Any:
    parameters = {"objective": request.param, "nthread": 1, "max_depth": 3}
    if request.param == "multi:softprob":
        parameters["num_class"] = 3
    return xgboost.train(parameters, xgboost.DMatrix(ROWS, label=TARGETS[request.param]), 7)


@pytest.mark.parametrize("rows", [1, 2, 64, 1000])
def test_it_answers_what_inplace_predict_answers(booster: Any, rows: int) -> None:
    matrix = RNG.normal(size=(rows, 4)).astype(np.float32)
    matrix[0, 1] = np.nan
    found, expected = DenseBooster(booster).predict(matrix), booster.inplace_predict(matrix)
    assert (found.shape, found.dtype) == (expected.shape, np.float32)
    np.testing.assert_array_equal(found, expected)


def test_an_answer_stays_as_it_was_when_the_next_is_made(booster: Any) -> None:
    dense = DenseBooster(booster)
    first = dense.predict(np.full((1, 4), -2, dtype=np.float32))
    kept = first.copy()
    dense.predict(np.full((1, 4), 2, dtype=np.float32))
    np.testing.assert_array_equal(first, kept)


def test_threads_do_not_mix_their_answers(booster: Any) -> None:
    dense = DenseBooster(booster)
    matrices = [RNG.normal(size=(size, 4)).astype(np.float32) for size in range(1, 40)]
    expected = [booster.inplace_predict(matrix) for matrix in matrices]
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(dense.predict, matrices * 5), expected * 5, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_a_matrix_of_another_width_is_refused_with_the_librarys_words(booster: Any) -> None:
    with pytest.raises(DeploymentError, match=r"XGBoost: .*3"):
        DenseBooster(booster).predict(np.zeros((1, 3), dtype=np.float32))
