"""The flavor Protocol on XGBoost, LightGBM, scikit-learn, ONNX and classes of a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raymlops.errors import DataError, SchemaMismatch
from raymlops.flavors import flavor_named, flavor_of
from raymlops.flavors.protocol import Flavor
from raymlops.flavors.python_model import PythonModel
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.records.record import sha256_of
from raymlops.serving.models.model import Model
from raymlops.serving.models.model_files import load_model, save_model
from raymlops.testing.flavors import FamilyContract, FlavorCase, FlavorContract

DRAW = np.random.default_rng(4)
NUMBERS = DRAW.normal(size=(300, 3))
CLASSES = (NUMBERS[:, 0] > 0).astype(int)
SEVERAL = CLASSES + (NUMBERS[:, 1] > 0.5)
VALUES = NUMBERS[:, 0] * 3 + np.abs(NUMBERS[:, 1])
PLACES = DRAW.choice(["ord", "jfk", "lax"], 300)


def rows_of(numbers: Any, **texts: Any) -> pa.Table:
    columns = {name: pa.array(numbers[:, place], from_pandas=True) for place, name in enumerate("abc")}
    return pa.table({**columns, **{name: pa.array(values, pa.string()) for name, values in texts.items()}})


def with_missing() -> Any:
    numbers = NUMBERS[:30].copy()
    numbers[::4, 1] = np.nan
    return numbers


def frame_of(categories: bool) -> pd.DataFrame:
    frame = pd.DataFrame(NUMBERS, columns=list("abc")).assign(place=PLACES)
    return frame.astype({"place": "category"}) if categories else frame


def _categorical(kind: str) -> tuple[pd.DataFrame, pa.Table, pd.DataFrame]:
    """A frame to fit on, rows to ask about, and the frame that a caller has of them: an unknown category is missing."""
    asked = with_missing()
    given = pd.DataFrame(asked, columns=list("abc"))
    if kind == "categories":
        held = given.assign(place=pd.Categorical([value if value in PLACES else None for value in TEXTS]))
        known = pd.CategoricalDtype(["jfk", "lax", "ord"])
        return frame_of(categories=True), rows_of(asked, place=TEXTS), held.astype({"place": known})
    numbers = pd.Series(PLACES).map({"ord": 35, "jfk": 7, "lax": 120})
    known = pd.CategoricalDtype([7, 35, 120])
    fitted = frame_of(categories=False).assign(place=numbers.astype(known))
    rows = rows_of(asked).append_column("place", pa.array([None, 8, *numbers[2:30]], pa.int64()))
    return fitted, rows, given.assign(place=pd.Categorical([None, None, *numbers[2:30]], dtype=known))


TEXTS = [None, "unknown", *PLACES[2:30]]


class TestXgboost(FlavorContract, FamilyContract):
    @pytest.fixture
    def flavor(self) -> Flavor:
        return flavor_named("xgboost")

    @pytest.fixture
    def family(self) -> str:
        return "xgboost"

    @pytest.fixture
    def unfit(self) -> Any:
        import xgboost

        return xgboost.XGBClassifier()

    @pytest.fixture(
        scope="class", params=["two classes", "several classes", "regressor", "booster", "categories", "numbered"]
    )
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> FlavorCase:
        import xgboost

        rows, asked = rows_of(with_missing()), with_missing()
        if request.param in {"categories", "numbered"}:
            frame, held, given = _categorical(request.param)
            data = xgboost.DMatrix(frame, CLASSES ^ (PLACES == "jfk"), enable_categorical=True)
            trained = xgboost.train({"objective": "binary:logistic"}, data, 5)
            return FlavorCase(trained, held, trained.predict(xgboost.DMatrix(given, enable_categorical=True)), (0, 1))
        options = {"n_estimators": 8, "max_depth": 3, "n_jobs": 1}
        if request.param == "booster":
            trained = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(NUMBERS, CLASSES), 5)
            return FlavorCase(trained, rows, trained.predict(xgboost.DMatrix(asked)), (0, 1))
        if request.param == "regressor":
            regressor = xgboost.XGBRegressor(**options).fit(NUMBERS, VALUES)
            return FlavorCase(regressor, rows, regressor.predict(asked))
        labels = CLASSES if request.param == "two classes" else SEVERAL
        classifier = xgboost.XGBClassifier(**options).fit(NUMBERS, labels)
        return FlavorCase(classifier, rows, classifier.predict_proba(asked), tuple(range(labels.max() + 1)))


class TestLightgbm(FlavorContract, FamilyContract):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _installed(cls) -> None:
        pytest.importorskip("lightgbm")

    @pytest.fixture
    def flavor(self) -> Flavor:
        return flavor_named("lightgbm")

    @pytest.fixture
    def family(self) -> str:
        return "lightgbm"

    @pytest.fixture
    def unfit(self) -> Any:
        import lightgbm

        return lightgbm.LGBMClassifier()

    @pytest.fixture(
        scope="class",
        params=["two classes", "named classes", "several classes", "regressor", "booster", "categories", "numbered"],
    )
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> FlavorCase:
        import lightgbm

        rows, asked = rows_of(with_missing()), with_missing()
        options = {"n_estimators": 8, "min_child_samples": 3, "n_jobs": 1, "verbosity": -1}
        if request.param == "booster":
            data = lightgbm.Dataset(NUMBERS, VALUES)
            trained = lightgbm.train({"objective": "regression_l1", "verbosity": -1}, data, 5)
            return FlavorCase(trained, rows, trained.predict(asked))
        if request.param == "regressor":
            regressor = lightgbm.LGBMRegressor(**options).fit(NUMBERS, VALUES)
            return FlavorCase(regressor, rows, regressor.predict(asked))
        if request.param in {"categories", "numbered"}:
            frame, held, given = _categorical(request.param)
            chosen = lightgbm.LGBMClassifier(**options).fit(frame, CLASSES ^ (PLACES == "jfk"))
            return FlavorCase(chosen, held, chosen.predict_proba(given), (0, 1))
        labels = {"two classes": CLASSES, "named classes": np.array(["late", "on time"])[CLASSES]}.get(
            request.param, SEVERAL
        )
        classifier = lightgbm.LGBMClassifier(**options).fit(NUMBERS, labels)
        return FlavorCase(classifier, rows, classifier.predict_proba(asked), tuple(np.unique(labels).tolist()))

    def test_texts_where_categories_are_numbers_are_refused(self, tmp_path: Path) -> None:
        import lightgbm

        frame = pd.DataFrame(NUMBERS, columns=list("abc")).assign(place=pd.Categorical(DRAW.choice([7, 8, 9], 300)))
        fitted = lightgbm.LGBMClassifier(n_estimators=3, verbosity=-1).fit(frame, CLASSES ^ (frame.place == 8))
        with pytest.raises(SchemaMismatch, match="must be text where the model's categories are"):
            save_model(tmp_path / "m", fitted, example=rows_of(NUMBERS[:20], place=["7"] * 20))

    def test_objectives_that_answer_neither_probabilities_nor_values_are_refused(self, flavor: Flavor) -> None:
        import lightgbm

        ranker = lightgbm.LGBMRanker(n_estimators=2, verbosity=-1).fit(NUMBERS, CLASSES, group=[300])
        with pytest.raises(DataError, match="objective"):
            flavor.describe(ranker, list("abc"))

    def test_it_is_packaged_up_to_its_best_round(self, flavor: Flavor) -> None:
        import lightgbm

        noise = DRAW.integers(0, 2, 300)
        fitted = lightgbm.LGBMClassifier(n_estimators=60, learning_rate=0.9, early_stopping_rounds=3, verbosity=-1)
        fitted.fit(NUMBERS[:200], noise[:200], eval_X=NUMBERS[200:], eval_y=noise[200:])
        assert 0 < fitted.best_iteration_ < 60
        loaded = flavor.parse(flavor.dump(fitted))
        assert loaded.num_trees() == fitted.best_iteration_
        np.testing.assert_allclose(loaded.predict(NUMBERS), fitted.predict_proba(NUMBERS)[:, 1])


class TestSklearn(FlavorContract, FamilyContract):
    @pytest.fixture
    def flavor(self) -> Flavor:
        return flavor_named("sklearn")

    @pytest.fixture(params=["hist_gradient_boosting", "random_forest", "logistic"])
    def family(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def unfit(self) -> Any:
        from sklearn.linear_model import LinearRegression

        return LinearRegression()

    @pytest.fixture(scope="class", params=["named classes", "regressor", "frame", "missing texts"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> FlavorCase:
        from sklearn.compose import make_column_transformer
        from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder

        rows, asked = rows_of(with_missing()), with_missing()
        if request.param == "regressor":
            forest = RandomForestRegressor(n_estimators=5, random_state=0).fit(NUMBERS, VALUES)
            return FlavorCase(forest, rows, forest.predict(asked))
        if request.param == "named classes":
            labels = np.array(["late", "on time"])[CLASSES]
            boosted = HistGradientBoostingClassifier(max_iter=5).fit(NUMBERS, labels)
            return FlavorCase(boosted, rows, boosted.predict_proba(asked), ("late", "on time"))
        encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["place"]), remainder="passthrough")
        pipeline = make_pipeline(encoder, LogisticRegression()).fit(frame_of(categories=False), CLASSES)
        if request.param == "missing texts":
            texts = np.where(CLASSES == 1, PLACES, None)  # a missing text means something, NaN in the frame of the fit
            pipeline.fit(frame_of(categories=False).assign(place=pd.Series(texts, dtype="str")), CLASSES)
            frame = pd.DataFrame(NUMBERS[:30], columns=list("abc")).assign(place=pd.Series(texts[:30], dtype="str"))
            return FlavorCase(pipeline, rows_of(NUMBERS[:30], place=texts[:30]), pipeline.predict_proba(frame), (0, 1))
        texts = ["unknown", *TEXTS[1:]]
        frame = pd.DataFrame(NUMBERS[:30], columns=list("abc")).assign(place=texts)
        return FlavorCase(pipeline, rows_of(NUMBERS[:30], place=texts), pipeline.predict_proba(frame), (0, 1))


class TestOnnx(FlavorContract):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _installed(cls) -> None:
        for module in ("onnx", "onnxruntime", "skl2onnx"):
            pytest.importorskip(module)

    @pytest.fixture
    def flavor(self) -> Flavor:
        return flavor_named("onnx")

    @pytest.fixture
    def unfit(self, tmp_path: Path) -> Any:
        path = tmp_path / "cut.onnx"
        path.write_bytes(b"\x08\x0a\x12")
        return path

    @pytest.fixture(scope="class", params=["mappings", "tensors", "regressor", "columns", "sigmoid"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FlavorCase:
        from skl2onnx import to_onnx
        from sklearn.ensemble import GradientBoostingClassifier
        from sklearn.linear_model import LinearRegression, LogisticRegression

        numbers = NUMBERS[:30].astype(np.float32)
        rows, first = rows_of(numbers.astype(np.float64)), numbers[:1]
        path = tmp_path_factory.mktemp("onnx") / "given.onnx"
        if request.param == "columns":
            model, answers = _of_columns(numbers)
            path.write_bytes(model)
            return FlavorCase(
                path, rows_of(numbers.astype(np.float64), place=PLACES[:30]), answers, ("late", "on time")
            )
        if request.param == "regressor":
            line = LinearRegression().fit(NUMBERS, VALUES)
            path.write_bytes(to_onnx(line, first).SerializeToString())
            return FlavorCase(path, rows, line.predict(numbers))
        if request.param == "sigmoid":
            path.write_bytes(_sigmoid().SerializeToString())
            return FlavorCase(path, rows, 1 / (1 + np.exp(-numbers.sum(axis=1))), ("no", "yes"))
        if request.param == "mappings":
            named = LogisticRegression().fit(NUMBERS, np.array(["late", "on time"])[CLASSES])
            return FlavorCase(to_onnx(named, first), rows, named.predict_proba(numbers), ("late", "on time"))
        boosted = GradientBoostingClassifier(n_estimators=5).fit(NUMBERS, SEVERAL)
        content = to_onnx(boosted, first, options={"zipmap": False}).SerializeToString()
        return FlavorCase(content, rows, boosted.predict_proba(numbers), (0, 1, 2))

    def test_weights_in_other_files_are_refused(self, flavor: Flavor) -> None:
        import onnx

        model = _sigmoid()
        weights = model.graph.initializer.add(name="elsewhere", data_type=onnx.TensorProto.FLOAT, dims=[1])
        weights.data_location = onnx.TensorProto.EXTERNAL
        weights.external_data.add(key="location", value="/etc/passwd")
        with pytest.raises(DataError, match=r"elsewhere.* other files"):
            flavor.describe(model, list("abc"))

    def test_nodes_that_the_runtime_does_not_know_are_refused(self, flavor: Flavor) -> None:
        import onnx

        model = _sigmoid()
        model.graph.node[-1].domain = "somebody.elses"
        model.opset_import.append(onnx.helper.make_opsetid("somebody.elses", 1))
        with pytest.raises(DataError, match="cannot be run"):
            flavor.describe(model, list("abc"))

    def test_logits_are_no_probabilities(self, tmp_path: Path) -> None:
        model = _sigmoid(last="Identity", classes=2)
        with pytest.raises(DataError, match="sum to 1"):
            save_model(tmp_path / "m", model, example=rows_of(NUMBERS[:20]))

    def test_a_whole_number_is_never_cut(self, flavor: Flavor) -> None:
        import onnx
        from onnx import TensorProto, helper

        given = helper.make_tensor_value_info("a", TensorProto.INT64, ["N"])
        out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])
        node = helper.make_node("Cast", ["a"], ["y"], to=TensorProto.FLOAT)
        graph = helper.make_graph([node], "g", [given], [out])
        model = helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
        signature = Signature(task="regressor", inputs=(ColumnSpec(name="a", dtype="INT64"),))
        predictor = flavor.predictor(flavor.parse(model.SerializeToString()), signature, pa.table({}))
        assert predictor.score({"a": np.array([3.0])}).tolist() == [3.0]
        for value in (1.5, np.nan, 1e300):
            with pytest.raises(ValueError, match="whole"):
                predictor.score({"a": np.array([value])})


def _of_columns(numbers: Any) -> tuple[bytes, Any]:
    """A pipeline on a frame, whose graph has an input for each column."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["place"]), remainder="passthrough")
    labels = np.array(["late", "on time"])[CLASSES]
    pipeline = make_pipeline(encoder, LogisticRegression()).fit(frame_of(categories=False), labels)
    types = [*((name, FloatTensorType([None, 1])) for name in "abc"), ("place", StringTensorType([None, 1]))]
    frame = pd.DataFrame(numbers, columns=list("abc")).assign(place=PLACES[:30])
    return to_onnx(pipeline, initial_types=types).SerializeToString(), pipeline.predict_proba(frame)


def _sigmoid(last: str = "Sigmoid", classes: int = 1) -> Any:
    """What a network of another library looks like: one matrix in, one out, and what it means in the metadata."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.ones((3, classes), np.float32), "weights")
    nodes = [helper.make_node("MatMul", ["x", "weights"], ["z"]), helper.make_node(last, ["z"], ["y"])]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", classes])
    graph = helper.make_graph(nodes, "network", [given], [out], [weights])
    model = helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    if classes == 1:
        helper.set_model_props(model, {"raymlops.task": "classifier", "raymlops.classes": '["no", "yes"]'})
    return model


def test_what_is_no_model_is_of_no_flavor() -> None:
    for thing in ({}, "xgboost", None, [1.0]):
        with pytest.raises(DataError, match="an estimator must be one of"):
            flavor_of(thing)


SCORER = b"""
import json

from helpers import mean_of


class Scorer:
    classes = ("late", "on time", "lost")
    inputs = ("a", "b", "c", "place")

    def load(self, path):
        print("loading", path)
        self.weights = json.loads((path / "weights.json").read_text())

    def predict(self, frame):
        import numpy as np

        score = frame[["a", "b", "c"]].fillna(0.0) @ self.weights
        if "place" in self.inputs:
            score = score + frame["place"].map({"jfk": 1.0, "lax": 2.0}).astype(float).fillna(0.0)
        first = 1 / (1 + np.exp(-score.to_numpy()))
        return np.column_stack([first, (1 - first) / 2, (1 - first) / 2])


class Valuer(Scorer):
    classes = None
    inputs = ("a", "b", "c")

    @classmethod
    def load(cls, path):
        made = cls()
        super(Valuer, made).load(path)
        return made

    def predict(self, frame):
        return mean_of(super().predict(frame)[:, 0])


class Unfit:
    def load(self, path):
        raise FileNotFoundError("no weights")
"""
CODE = {"scorer.py": SCORER, "helpers.py": b"def mean_of(values):\n    return values * 100\n"}


class TestPython(FlavorContract):
    @pytest.fixture
    def flavor(self) -> Flavor:
        return flavor_named("python")

    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        place = tmp_path_factory.mktemp("weights")
        (place / "weights.json").write_text("[1.0, -2.0, 0.5]")
        return place

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, case: FlavorCase, tmp_path_factory: pytest.TempPathFactory) -> Model:
        """One for all tests: each has a process of its own, which takes a second to start."""
        place = tmp_path_factory.mktemp("python") / "packaged"
        manifest = save_model(place, case.estimator, example=case.rows)
        return load_model(place, manifest, sha256_of(manifest))

    @pytest.fixture
    def unfit(self, weights: Path) -> Any:
        return PythonModel("scorer:Unfit", weights, code=CODE)

    @pytest.fixture(scope="class", params=["Scorer", "Valuer"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest, weights: Path) -> FlavorCase:
        asked = with_missing()
        score = np.nan_to_num(asked) @ [1.0, -2.0, 0.5]
        model = PythonModel(f"scorer:{request.param}", weights, code=CODE)
        if request.param == "Valuer":
            return FlavorCase(model, rows_of(asked), 100 / (1 + np.exp(-score)))
        first = 1 / (1 + np.exp(-score - [{"jfk": 1.0, "lax": 2.0}.get(text or "", 0.0) for text in TEXTS]))
        several = np.column_stack([first, (1 - first) / 2, (1 - first) / 2])
        return FlavorCase(model, rows_of(asked, place=TEXTS), several, ("late", "on time", "lost"))
