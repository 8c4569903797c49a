from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import ThreadpoolController

from raymlops.flavors.sklearn import FLAVOR
from raymlops.records.learning.signatures import ColumnSpec, Signature


def test_a_row_is_answered_on_one_thread_of_openmp_which_are_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    estimator = HistGradientBoostingRegressor(max_iter=2).fit(np.arange(20.0)[:, None], np.arange(20.0))
    signature = Signature(task="regressor", inputs=(ColumnSpec(name="x", dtype="FP64"),), classes=())
    predictor = FLAVOR.predictor(estimator, signature, pa.table({"x": [1.0]}))
    libraries = ThreadpoolController().select(user_api="openmp")
    seen: list[int] = []

    def answer(inputs: object) -> object:
        seen.extend(library.get_num_threads() for library in libraries.lib_controllers)
        raise ValueError(inputs)

    with libraries.limit(limits=3):
        assert predictor.score(np.array([[1.0]])).shape == (1,)
        monkeypatch.setattr(predictor, "_answer", answer)
        try:
            predictor.score(np.array([[1.0]]))
        except ValueError:
            seen.extend(library.get_num_threads() for library in libraries.lib_controllers)
    assert seen == [1] * len(libraries.lib_controllers) + [3] * len(libraries.lib_controllers)
