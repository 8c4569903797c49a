from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from raymlops.experiments import LearningTask


@pytest.fixture
def task() -> LearningTask:
    return LearningTask(inputs=("a", "b", "c"))


@pytest.fixture
def rows() -> pa.Table:
    """2,000 rows in which ``a`` and ``b`` tell much about the label and ``c`` nothing."""
    rng = np.random.default_rng(7)
    values = rng.normal(size=(2000, 3))
    chance = 1 / (1 + np.exp(-(1.5 * values[:, 0] - values[:, 1] ** 2)))
    values[rng.random(values.shape) < 0.05] = np.nan
    columns = {name: pa.array(values[:, place], from_pandas=True) for place, name in enumerate("abc")}
    return pa.table({**columns, "label": pa.array(rng.random(2000) < chance).cast(pa.int64())})
