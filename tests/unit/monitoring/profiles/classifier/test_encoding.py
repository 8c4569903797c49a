from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import DataError
from raymlops.monitoring.profiles.classifier.encoding import Encoding


def test_numbers_become_normal_scores_whatever_their_scale() -> None:
    values = np.random.default_rng(0).standard_cauchy(2000)
    table = pa.table({"x": values, "y": np.exp(values / 100)})
    found = Encoding(table, ["x", "y"]).encode(table)
    assert found[:, [0, 2]].mean(axis=0) == pytest.approx(0, abs=1e-6)
    assert found[:, [0, 2]].std(axis=0) == pytest.approx(1, abs=0.01)
    assert np.allclose(found[:, 0], found[:, 2])
    assert np.isfinite(Encoding(table, ["x"]).encode(pa.table({"x": [np.inf, -np.inf, 1e300]}))).all()


def test_each_number_knows_the_columns_it_stems_from() -> None:
    table = pa.table({"a": [1.0, 2.0, 3.0], "k": ["u", "v", "u"], "b": [3.0, 1.0, 2.0]})
    encoding = Encoding(table, ["a", "k", "b"])
    # a, a missing, u, v, k missing, b, b missing, a squared, b squared, a times b
    assert encoding.owners.tolist() == [[0, 0]] * 2 + [[1, 1]] * 3 + [[2, 2]] * 2 + [[0, 0], [2, 2], [0, 2]]
    found = encoding.encode(table)
    assert found.shape == (3, 10)
    assert found[:, 2].tolist() == [1.0, 0.0, 1.0]
    assert np.allclose(found[:, 9], found[:, 0] * found[:, 5])


def test_what_is_missing_gone_or_of_another_kind_is_missing() -> None:
    table = pa.table({"a": [1.0, 2.0, 3.0], "k": ["u", "v", "u"]})
    encoding = Encoding(table, ["a", "k"])
    holes = encoding.encode(pa.table({"a": [None, 2.0], "k": [None, "new"]}))
    assert holes[:, 1].tolist() == [1.0, 0.0]
    assert holes[:, 4].tolist() == [1.0, 0.0]
    assert holes[1, 2:4].tolist() == [0.0, 0.0]
    for other in (pa.table({"z": [1, 2]}), pa.table({"a": ["x", "y"], "k": [1, 2]}), pa.table({"a": [[1], [2]]})):
        assert encoding.encode(other)[:, [1, 4]].tolist() == [[1.0, 1.0]] * 2


def test_all_missing_and_no_columns_are_encoded() -> None:
    empty = pa.table({"a": pa.array([None, None], pa.float64())})
    assert np.isfinite(Encoding(empty, ["a"]).encode(pa.table({"a": [1.0]}))).all()
    assert Encoding(empty, []).encode(empty).shape == (2, 0)


def test_columns_that_hold_neither_numbers_nor_text_are_refused() -> None:
    with pytest.raises(DataError, match="numbers, booleans or strings"):
        Encoding(pa.table({"a": [[1], [2]]}), ["a"])
