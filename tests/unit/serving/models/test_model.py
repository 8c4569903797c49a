from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import DataError, ModelLoadFailed, SchemaMismatch
from raymlops.flavors import flavor_named
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.records.models import ModelManifest
from raymlops.records.record import sha256_of
from raymlops.serving.models.model import BrokenModel, Model, ServedModel, columns_of
from raymlops.serving.models.model_files import load_model


@pytest.fixture
def model(model_root: Path, manifests: dict[int, ModelManifest]) -> Model:
    return load_model(model_root / "1", manifests[1], sha256_of(manifests[1]))


@pytest.fixture
def columns(helpers: Any, manifests: dict[int, ModelManifest]) -> dict[str, Any]:
    return columns_of(helpers.example_table(), manifests[1].signature)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_numbers_beyond_32_bits_are_refused(model: Model, columns: dict[str, Any], value: float) -> None:
    wind = columns["weather__wind"].copy()
    wind[3] = value
    columns["weather__wind"] = wind
    with pytest.raises(DataError, match=r"\['weather__wind'\] must be finite"):
        model.predict(columns)


def _sklearn(estimator: Any, signature: Signature) -> Model:
    return ServedModel(flavor_named("sklearn").predictor(estimator, signature, pa.table({})), signature)


@pytest.mark.parametrize("value", [np.inf, 1e300])
def test_all_flavors_refuse_the_same_numbers(value: float) -> None:
    from sklearn.linear_model import LinearRegression

    signature = Signature(task="regressor", inputs=(ColumnSpec(name="a", dtype="FP64"),))
    model = _sklearn(LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0]), signature)
    assert model.predict({"a": np.array([2.0])})["value"].tolist() == pytest.approx([4.0])
    with pytest.raises(DataError, match="must be finite"):
        model.predict({"a": np.array([value])})


def test_a_missing_input_is_named(model: Model, columns: dict[str, Any]) -> None:
    del columns["hour"]
    with pytest.raises(SchemaMismatch, match="'hour' is missing"):
        model.predict(columns)
    with pytest.raises(SchemaMismatch, match="'distance' is missing"):
        model.predict({})


def test_more_columns_than_the_inputs_do_not_matter(model: Model, columns: dict[str, Any]) -> None:
    expected = model.predict(columns)["probability"]
    np.testing.assert_array_equal(model.predict({"other": np.zeros(20), **columns})["probability"], expected)


def test_importances_sum_to_one(model: Model) -> None:
    importances = model.importances()
    assert list(importances) == list(model.schema.names)
    assert sum(importances.values()) == pytest.approx(1)
    assert max(importances, key=importances.__getitem__) == "distance"


def test_importances_of_scikit_learn() -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    signature = Signature(
        task="regressor", inputs=(ColumnSpec(name="a", dtype="FP64"), ColumnSpec(name="b", dtype="FP64"))
    )
    inputs = np.random.default_rng(0).normal(size=(60, 2))
    target = 3 * inputs[:, 0]
    for estimator in (make_pipeline(StandardScaler(), LinearRegression()), RandomForestRegressor(3, random_state=0)):
        importances = _sklearn(estimator.fit(inputs, target), signature).importances()
        assert importances["a"] > 0.9
        assert sum(importances.values()) == pytest.approx(1)
    unknowing = HistGradientBoostingRegressor(max_iter=2).fit(inputs, target)
    assert _sklearn(unknowing, signature).importances() == {}


def test_threads_may_predict_at_once(model: Model, columns: dict[str, Any]) -> None:
    expected = model.predict(columns)["probability"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: model.predict(columns)["probability"], range(100)))
    for answer in answers:
        np.testing.assert_array_equal(answer, expected)


def test_a_broken_model_raises_its_error_each_time(model: Model, columns: dict[str, Any]) -> None:
    broken = BrokenModel(model.signature, ModelLoadFailed("gone", path="x"))
    for _ in range(2):
        with pytest.raises(ModelLoadFailed, match="gone") as caught:
            broken.predict(columns)
        assert caught.value.context == {"path": "x"}
    assert broken.importances() == {}


def test_columns_of_a_table() -> None:
    signature = Signature(
        task="regressor",
        inputs=(
            ColumnSpec(name="n", dtype="INT64"),
            ColumnSpec(name="b", dtype="BOOL"),
            ColumnSpec(name="t", dtype="BYTES"),
            ColumnSpec(name="d", dtype="BYTES"),
        ),
    )
    table = pa.table(
        {"n": [1, None], "b": [True, None], "t": ["x", None], "d": pa.array(["y", "z"]).dictionary_encode()}
    )
    columns = columns_of(table, signature)
    np.testing.assert_array_equal(columns["n"], [1, np.nan])
    np.testing.assert_array_equal(columns["b"], [1, np.nan])
    assert columns["t"].tolist() == ["x", None]
    assert columns["d"].tolist() == ["y", "z"]
    with pytest.raises(SchemaMismatch, match="'d' is not a column"):
        columns_of(table.drop_columns(["d"]), signature)
    with pytest.raises(SchemaMismatch, match="'n' must be INT64, got string"):
        columns_of(table.set_column(0, "n", pa.array(["x", "y"])), signature)
