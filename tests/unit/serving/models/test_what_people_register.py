"""Whatever is given to ``save_model``: it is packaged and answers as the estimator does, or one line says why not."""

from __future__ import annotations

import functools
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import (
    calibration,
    compose,
    discriminant_analysis,
    dummy,
    ensemble,
    feature_extraction,
    feature_selection,
    gaussian_process,
    linear_model,
    model_selection,
    multiclass,
    multioutput,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

from raymlops.errors import DataError, RaymlopsError
from raymlops.flavors.protocol import check_classes
from raymlops.records.record import sha256_of
from raymlops.serving.models.model import columns_of
from raymlops.serving.models.model_files import load_model, save_model
from tests.support.examples import examples

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*gblinear. is deprecated:UserWarning"),  # of newer releases of XGBoost
]

DRAW = np.random.default_rng(8)
X = DRAW.normal(size=(120, 2))
TWO = (X[:, 0] > 0).astype(int)
THREE = TWO + (X[:, 1] > 0.5)
VALUES = X.sum(axis=1)
BOTH = np.c_[TWO, X[:, 1] > 0].astype(int)
EXAMPLE = pa.table({"a": X[:20, 0], "b": X[:20, 1]})
TEXTS = pd.DataFrame({"t": ["good film", "bad film", "so so"] * 40})
PLACES = pd.DataFrame({"place": pd.Categorical(DRAW.choice(["ord", "jfk", "lax"], 120)), "x": X[:, 0]})
logistic, shallow = linear_model.LogisticRegression, functools.partial(tree.DecisionTreeClassifier, max_depth=3)
few = functools.partial(xgboost.XGBClassifier, n_estimators=3, n_jobs=1)


def on_texts(*steps: Any) -> Any:
    return pipeline.make_pipeline(compose.make_column_transformer((steps[0], "t")), logistic()).fit(TEXTS, TWO)


def lightgbm_inside() -> Any:
    lightgbm = pytest.importorskip("lightgbm")
    parts = [("a", logistic()), ("b", lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1))]
    return ensemble.VotingClassifier(parts, voting="soft").fit(X, TWO)


SERVED: dict[str, Callable[[], Any]] = {
    "voting": lambda: ensemble.VotingClassifier([("a", logistic()), ("b", shallow())], voting="soft").fit(X, THREE),
    "voting of texts": lambda: ensemble.VotingClassifier([("a", logistic()), ("b", shallow())], voting="soft").fit(
        X, np.array(["no", "yes"])[TWO]
    ),
    "voting regressor": lambda: ensemble.VotingRegressor([("a", linear_model.Ridge())]).fit(X, VALUES),
    "voting around LightGBM": lightgbm_inside,
    "stacking around XGBoost": lambda: ensemble.StackingClassifier([("a", logistic()), ("b", few())]).fit(X, THREE),
    "stacking regressor": lambda: ensemble.StackingRegressor([("a", linear_model.Ridge())]).fit(X, VALUES),
    "boosting on categories": lambda: ensemble.HistGradientBoostingClassifier(
        max_iter=5, categorical_features="from_dtype"
    ).fit(PLACES, TWO ^ (PLACES["place"] == "jfk")),
    "network": lambda: neural_network.MLPClassifier((3,), max_iter=5).fit(X, THREE),
    "neighbours": lambda: neighbors.KNeighborsClassifier().fit(X, TWO),
    "neighbours of a column": lambda: neighbors.KNeighborsRegressor(algorithm="ball_tree", metric="manhattan").fit(
        X, VALUES.reshape(-1, 1)
    ),
    "Gaussian process": lambda: gaussian_process.GaussianProcessRegressor().fit(X[:30], VALUES[:30]),
    "grid search": lambda: model_selection.GridSearchCV(shallow(), {"max_depth": [1, 2]}, cv=2).fit(X, TWO),
    "selection": lambda: pipeline.make_pipeline(feature_selection.SelectKBest(k=1), logistic()).fit(X, TWO),
    "splines": lambda: pipeline.make_pipeline(preprocessing.SplineTransformer(), linear_model.Ridge()).fit(X, VALUES),
    "calibrated": lambda: calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=2).fit(X, THREE),
    "one against the rest": lambda: multiclass.OneVsRestClassifier(logistic()).fit(X, THREE),
    "discriminant": lambda: discriminant_analysis.LinearDiscriminantAnalysis().fit(X, THREE),
    "outputs of one column": lambda: multioutput.MultiOutputRegressor(linear_model.Ridge()).fit(
        X, VALUES.reshape(-1, 1)
    ),
    "one quantile": lambda: xgboost.XGBRegressor(
        objective="reg:quantileerror", quantile_alpha=0.9, n_estimators=3, n_jobs=1
    ).fit(X, VALUES),
    "bools": lambda: logistic().fit(X, TWO > 0),
    "TF-IDF": lambda: on_texts(feature_extraction.text.TfidfVectorizer()),
    "counts": lambda: on_texts(feature_extraction.text.CountVectorizer(ngram_range=(1, 2))),
    "hashing": lambda: on_texts(feature_extraction.text.HashingVectorizer(n_features=32)),
    "TF-IDF of a series": lambda: pipeline.make_pipeline(feature_extraction.text.TfidfVectorizer(), logistic()).fit(
        TEXTS["t"], TWO
    ),
    "calibrated counts of a series": lambda: calibration.CalibratedClassifierCV(
        pipeline.make_pipeline(feature_extraction.text.CountVectorizer(), logistic()), cv=2
    ).fit(TEXTS["t"], TWO),
}


@pytest.mark.parametrize("name", SERVED)
def test_it_answers_as_the_estimator_does(name: str, tmp_path: Path) -> None:
    estimator = SERVED[name]()
    own = getattr(estimator, "feature_names_in_", None)
    frame: Any = pd.DataFrame(X, columns=["a", "b"]) if own is None else PLACES if "place" in own else TEXTS
    asked: Any = frame if own is not None else X
    if "series" in name:
        frame, asked = TEXTS, TEXTS["t"]
    rows = pa.Table.from_pandas(frame, preserve_index=False)
    manifest = save_model(tmp_path / "m", estimator, example=rows.slice(0, 20))
    model = load_model(tmp_path / "m", manifest, sha256_of(manifest))
    outputs = model.predict(columns_of(rows, manifest.signature))
    if manifest.signature.task == "regressor":
        np.testing.assert_allclose(outputs["value"], estimator.predict(asked).reshape(-1), rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_allclose(outputs["probability"], estimator.predict_proba(asked), rtol=1e-5, atol=1e-6)
        assert list(manifest.signature.classes) == estimator.classes_.tolist()
    one = model.predict(columns_of(rows.slice(7, 1), manifest.signature))
    key = "value" if "value" in outputs else "probability"
    # one row is another product of matrices than many: of a Gaussian process, large weights cancel out in either
    np.testing.assert_allclose(one[key], outputs[key][7:8], rtol=1e-5, atol=1e-5)


def test_libraries_within_are_named(tmp_path: Path) -> None:
    assert "lightgbm" in save_model(tmp_path / "m", lightgbm_inside(), example=EXAMPLE).libraries


def test_a_missing_text_is_the_one_that_an_encoder_in_a_calibration_was_fitted_with(tmp_path: Path) -> None:
    frame = pd.DataFrame({"t": pd.Series(["a", "b", None] * 40, dtype=object)})
    encoded = pipeline.make_pipeline(preprocessing.OneHotEncoder(handle_unknown="ignore"), logistic())
    estimator = calibration.CalibratedClassifierCV(encoded, cv=2).fit(frame, frame["t"].isna())
    whole = pa.Table.from_pandas(frame[frame["t"].notna()], preserve_index=False)  # it does not tell the marker
    manifest = save_model(tmp_path / "m", estimator, example=whole)
    model = load_model(tmp_path / "m", manifest, sha256_of(manifest))
    asked = columns_of(pa.table({"t": pa.array([None], pa.string())}), manifest.signature)
    np.testing.assert_allclose(model.predict(asked)["probability"], estimator.predict_proba(frame.iloc[[2]]))


@pytest.mark.parametrize("texts", [["a", "b"], ["a", None]])
def test_a_missing_text_is_that_of_the_fit_where_the_example_is_of_arrow(texts: list[Any], tmp_path: Path) -> None:
    frame = pd.DataFrame({"t": pd.Series(["a", "b", None] * 40, dtype=object)})
    encoder = preprocessing.OneHotEncoder(handle_unknown="ignore")
    estimator = pipeline.make_pipeline(encoder, logistic()).fit(frame, frame["t"].isna())
    manifest = save_model(tmp_path / "m", estimator, example=pa.table({"t": texts}))
    model = load_model(tmp_path / "m", manifest, sha256_of(manifest))
    asked = columns_of(pa.table({"t": pa.array([None, "a"], pa.string())}), manifest.signature)
    np.testing.assert_allclose(model.predict(asked)["probability"], estimator.predict_proba(frame.iloc[[2, 0]]))


@pytest.mark.parametrize("make", [logistic, few])
@pytest.mark.parametrize("framed", [True, False])
def test_the_columns_of_a_frame_may_have_numbers_for_names(make: Any, framed: bool, tmp_path: Path) -> None:
    frame = pd.DataFrame(X)
    estimator = make().fit(frame if framed else X, TWO)
    manifest = save_model(tmp_path / "m", estimator, example=frame)
    assert manifest.signature.names == ("0", "1")
    model = load_model(tmp_path / "m", manifest, sha256_of(manifest))
    asked = {"0": X[:, 0], "1": X[:, 1]}
    np.testing.assert_allclose(model.predict(asked)["probability"], estimator.predict_proba(X), rtol=1e-5)
    with pytest.raises(DataError, match=r"name each column once, got \['0'\]"):
        save_model(tmp_path / "twice", estimator, example=frame.set_axis([0, "0"], axis=1))


def _twice(values: Any) -> Any:
    return values * 2


class _OfAUser(logistic):  # type: ignore[misc, valid-type]
    pass


class _Raises(logistic):  # type: ignore[misc, valid-type]
    def __sklearn_is_fitted__(self) -> bool:
        raise KeyError("first\nsecond")


SEVERAL = r"one value or one label for a row, got 2: register an estimator for each"
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "two labels": (lambda: multiclass.OneVsRestClassifier(logistic()).fit(X, BOTH), SEVERAL),
    "a label and its opposite": (
        lambda: multiclass.OneVsRestClassifier(logistic()).fit(X, np.c_[TWO, 1 - TWO]),
        SEVERAL,
    ),
    "labels of a network": (lambda: neural_network.MLPClassifier((2,), max_iter=3).fit(X, BOTH), SEVERAL),
    "labels of neighbours": (lambda: neighbors.KNeighborsClassifier().fit(X, BOTH), SEVERAL),
    "labels of a chain": (lambda: multioutput.ClassifierChain(logistic()).fit(X, BOTH), SEVERAL),
    "labels of a dummy": (lambda: dummy.DummyClassifier().fit(X, BOTH), SEVERAL),
    "outputs": (lambda: multioutput.MultiOutputRegressor(linear_model.Ridge()).fit(X, X), SEVERAL),
    "outputs of a network": (
        lambda: neural_network.MLPRegressor(hidden_layer_sizes=(2,), max_iter=3).fit(X, X),
        SEVERAL,
    ),
    "a column of labels": (
        lambda: multioutput.MultiOutputClassifier(logistic()).fit(X, TWO.reshape(-1, 1)),
        "got a list of 1: fit it on labels that are no column",
    ),
    "one class": (lambda: tree.DecisionTreeClassifier().fit(X, TWO * 0), "at least two classes, got [0]"),
    "classes of dates": (lambda: shallow().fit(X, TWO.astype("datetime64[D]")), "must be a text, a number or a bool"),
    "a threshold": (lambda: model_selection.FixedThresholdClassifier(logistic()).fit(X, TWO), "largest probability"),
    "no probabilities": (lambda: svm.LinearSVC().fit(X, TWO), "predict_proba (CalibratedClassifierCV"),
    "hard voting": (lambda: ensemble.VotingClassifier([("a", logistic())]).fit(X, TWO), "predict_proba"),
    "not fitted": (lambda: pipeline.make_pipeline(preprocessing.StandardScaler(), logistic()), "must be fitted"),
    "a transformer": (lambda: preprocessing.StandardScaler().fit(X), "a classifier or a regressor"),
    "a user's class": (lambda: _OfAUser().fit(X, TWO), "trusted types only"),
    "a user's function": (
        lambda: pipeline.make_pipeline(preprocessing.FunctionTransformer(_twice), logistic()).fit(X, TWO),
        "_twice']: export it to ONNX and register the file",
    ),
    "what raises": (lambda: _Raises().fit(X, TWO), "KeyError: 'first"),
    "a linear booster": (
        lambda: xgboost.XGBRegressor(booster="gblinear", n_estimators=2, n_jobs=1).fit(X, VALUES),
        "gbtree or dart, got gblinear",
    ),
    "an empty booster": (xgboost.Booster, "cannot be packaged: XGBoostError"),
    "two columns for a series": (
        lambda: pipeline.make_pipeline(feature_extraction.text.CountVectorizer(), logistic()).fit(TEXTS["t"], TWO),
        "takes one column of texts",
    ),
    "a class": (lambda: logistic, "the class LogisticRegression, not an object of it"),
    "a function": (lambda: len, "got builtin_function_or_method"),
    "nothing": (lambda: None, "got NoneType"),
    "a pickle's path": (lambda: "model.pkl", "got the text 'model.pkl'"),
    "a pickle": (lambda: pickle.dumps(logistic()), "no ONNX model"),
    "a path to nowhere": (lambda: "nowhere.onnx", "nowhere.onnx cannot be read: No such file"),
    "a path that is none": (lambda: "a\0.onnx", "embedded null"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_line_says_why_it_is_refused(name: str, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    with pytest.raises(DataError, match=re.escape(message)) as refusal:
        save_model(tmp_path / "m", make(), example=EXAMPLE)
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


COLUMNS = st.sampled_from(
    [
        pa.array([1.0, None]),
        pa.array([float("nan"), float("inf")]),
        pa.array([2**62, -1]),
        pa.array(["x", None]),
        pa.array([b"x", b""]),
        pa.array([None, None]),
        pa.array([[1.0], []]),
        pa.array([{"a": 1}, None]),
        pa.array([True, False]),
        pa.array(["x", "y"]).dictionary_encode(),
        pa.array([0, 1], pa.timestamp("ns")),
        pa.array([0, 1], pa.date32()),
        pa.array([1, 2], pa.decimal128(4, 1)),
        pa.array([1, 2], pa.float16()),
    ]
)
FRAMES = st.one_of(
    st.lists(st.tuples(st.sampled_from(["a", "b", "A", "", "version", "x\n"]), COLUMNS), max_size=3).map(
        lambda columns: pa.Table.from_arrays([values for _, values in columns], names=[name for name, _ in columns])
    ),
    st.sampled_from([None, 1, "rows", [1.0], {"a": [1.0]}, X, pd.DataFrame(X), EXAMPLE.slice(0, 0)]),
)
GIVEN = [
    logistic().fit(X, TWO),
    few().fit(X, TWO),
    SERVED["boosting on categories"](),
    SERVED["TF-IDF of a series"](),
    *[make() for make, _ in (REFUSED[name] for name in ("what raises", "a pickle", "two labels", "an empty booster"))],
]


@settings(max_examples=examples(150), deadline=None)
@given(st.sampled_from(GIVEN), FRAMES)
def test_any_estimator_with_any_example_is_packaged_or_refused(estimator: Any, example: Any) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        try:
            manifest = save_model(Path(place) / "m", estimator, example=example)
        except RaymlopsError as error:
            refusal = str(error)
        else:
            refusal = ""
            load_model(Path(place) / "m", manifest, sha256_of(manifest))
        assert "\n" not in refusal


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((1,), "at least two classes"),
        ((), "at least two"),
        ((0, None), "got NoneType"),
        (("a", float("nan")), "nan"),
        (("true", "1"), "must differ as the texts of labels do"),
        ((1.0, True), "must differ"),
    ],
)
def test_classes_that_labels_could_not_name_are_refused(classes: tuple[Any, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_classes(classes)
