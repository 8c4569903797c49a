"""Whatever way a caller takes (JSON, binary, gRPC, batch), a row has the answer that the fitted estimator gives it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest

from raymlops.records.learning.datatypes import TEXT
from raymlops.records.record import sha256_of
from raymlops.scoring.inputs import typed_inputs
from raymlops.serving.front.grpc_messages import infer_body
from raymlops.serving.front.open_inference_pb2 import ModelInferRequest
from raymlops.serving.models.model import Model
from raymlops.serving.models.model_files import load_model, save_model
from raymlops.serving.protocol.datatypes import NUMBERS
from raymlops.serving.protocol.open_inference import decode_infer
from raymlops.serving.protocol.tensors import encode_binary

ROWS = 300
DRAW = np.random.default_rng(8)
CABINS = [*(f"{deck}{number}" for deck in "ABCD" for number in range(12)), "Öland"]
PLACES = DRAW.integers(0, len(CABINS), ROWS)
STORES = DRAW.choice([35, 7, 120], ROWS)
LABELS = ((PLACES % 2 == 0) ^ (STORES == 35)).astype(int)
Asked = Callable[[Model, pa.Table], Any]


def frame(kind: str) -> pd.DataFrame:
    """A frame as people have it; ``kind`` is how its texts and truths are kept."""
    draw = np.random.default_rng(9)
    absent = draw.random(ROWS) < 0.3
    x: Any = draw.normal(size=ROWS)
    texts: Any = pd.Series(CABINS, dtype="str")[PLACES].reset_index(drop=True).mask(absent)
    stores: Any = pd.Series(STORES)
    truths: Any = pd.Series(STORES > 7)
    if kind == "objects":
        texts = texts.astype(object).where(~absent, None)
        truths = truths.astype(object).mask(absent, None)
    if kind == "categories":
        texts = texts.astype(pd.CategoricalDtype(CABINS[::-1]))
        stores = stores.astype(pd.CategoricalDtype([120, 7, 35], ordered=True))
    if kind == "nullable":
        stores = stores.astype("Int64").mask(absent)
        truths = truths.astype("boolean").mask(absent)
        x = pd.Series(x, dtype="Float64").mask(absent)
    return pd.DataFrame({"cabin": texts, "store": stores, "alone": truths, "x": x})


def pipeline(kind: str) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    one_hot = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer(
        (one_hot, ["cabin"]), (one_hot, ["store", "alone"]), (SimpleImputer(add_indicator=True), ["x"])
    )
    return make_pipeline(columns, LogisticRegression()).fit(frame(kind), LABELS)


def booster(kind: str) -> Any:
    import xgboost

    chosen = xgboost.XGBClassifier(n_estimators=20, max_depth=4, enable_categorical=True, n_jobs=1)
    return chosen.fit(frame(kind), LABELS)


def leaves(kind: str) -> Any:
    lightgbm = pytest.importorskip("lightgbm")
    return lightgbm.LGBMClassifier(n_estimators=20, min_child_samples=2, n_jobs=1, verbosity=-1).fit(
        frame(kind), LABELS
    )


FITS = {
    "sklearn, str": (pipeline, "str"),
    "sklearn, objects": (pipeline, "objects"),
    "sklearn, nullable": (pipeline, "nullable"),
    "sklearn, categories": (pipeline, "categories"),
    "xgboost": (booster, "categories"),
    "lightgbm": (leaves, "categories"),
}


def by_json(model: Model, rows: pa.Table) -> Any:
    tensors = [
        {"name": c.name, "datatype": c.dtype, "shape": [rows.num_rows], "data": rows[c.name].to_pylist()}
        for c in model.signature.inputs
    ]
    return decode_infer(orjson.dumps({"inputs": tensors}), {}, model.schema).columns


def by_binary(model: Model, rows: pa.Table) -> Any:
    message: dict[str, Any] = {"inputs": []}
    raw = []
    for name, datatype, values in _sendable(model, rows):
        raw.append(encode_binary(values))
        parameters = {"binary_data_size": len(raw[-1])}
        message["inputs"].append({"name": name, "datatype": datatype, "shape": [len(values)], "parameters": parameters})
    head = orjson.dumps(message)
    headers = {"inference-header-content-length": str(len(head))}
    return decode_infer(b"".join((head, *raw)), headers, model.schema).columns


def by_grpc(model: Model, rows: pa.Table) -> Any:
    message = ModelInferRequest(model_name="m")
    for name, datatype, values in _sendable(model, rows):
        message.inputs.add(name=name, datatype=datatype, shape=[len(values)])
        message.raw_input_contents.append(encode_binary(values))
    body, headers = infer_body(message)
    return decode_infer(body, headers, model.schema).columns


def by_batch(model: Model, rows: pa.Table) -> Any:
    return typed_inputs(rows, None, model.schema)


def _sendable(model: Model, rows: pa.Table) -> list[tuple[str, str, Any]]:
    """Rows as arrays: what may be missing among integers and bools is sent as floats, as the protocol has it."""
    sent = []
    for column in model.signature.inputs:
        values = rows[column.name]
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if column.dtype == TEXT:
            sent.append((column.name, TEXT, np.array(values.to_pylist(), dtype=object)))
        elif values.null_count:
            numbers = [np.nan if value is None else float(value) for value in values.to_pylist()]
            sent.append((column.name, "FP64", np.array(numbers)))
        else:
            sent.append((column.name, column.dtype, np.array(values.to_pylist(), dtype=NUMBERS[column.dtype])))
    return sent


@pytest.fixture(scope="module", params=FITS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, pd.DataFrame, Model]:
    fit, kind = FITS[request.param]
    estimator, rows = fit(kind), frame(kind)
    directory: Path = tmp_path_factory.mktemp("packaged") / "m"
    manifest = save_model(directory, estimator, example=rows)
    return estimator, rows, load_model(directory, manifest, sha256_of(manifest))


@pytest.mark.parametrize("path", [by_json, by_binary, by_grpc, by_batch])
def test_every_path_gives_the_answers_of_the_fit(served: tuple[Any, pd.DataFrame, Model], path: Asked) -> None:
    estimator, rows, model = served
    if path in {by_binary, by_grpc}:  # their tensors have no null for a text
        rows = rows[rows["cabin"].notna()].reset_index(drop=True)
    own = estimator.predict_proba(rows)
    table = pa.Table.from_pandas(rows, preserve_index=False)
    np.testing.assert_allclose(model.predict(path(model, table))["probability"], own, atol=1e-6)
    order = np.random.default_rng(1).permutation(len(rows))
    shuffled = model.predict(path(model, table.take(pa.array(order))))
    np.testing.assert_allclose(shuffled["probability"], own[order], atol=1e-6)
    for row in range(0, len(rows), 9):
        alone = model.predict(path(model, table.slice(row, 1)))
        np.testing.assert_allclose(alone["probability"], own[row : row + 1], atol=1e-6)
