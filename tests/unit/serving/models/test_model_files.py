from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from threadpoolctl import threadpool_limits

from raymlops.errors import AlreadyRegistered, DataError, ModelLoadFailed, NotFinite, SchemaMismatch, StorageError
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.records.models import ModelManifest
from raymlops.records.record import sha256_of
from raymlops.serving.models import model_files
from raymlops.serving.models.example import answer_example
from raymlops.serving.models.model import columns_of
from raymlops.serving.models.model_files import check_scores, load_model, save_model

RNG = np.random.default_rng(3)
INPUTS = RNG.normal(size=(300, 3))
INPUTS[::7, 1] = np.nan
CLASSES = (INPUTS[:, 0] > 0).astype(int)
VALUES = INPUTS[:, 0] * 3 + 1
EXAMPLE = pa.table({name: pa.array(INPUTS[:40, i], from_pandas=True) for i, name in enumerate("abc")})
NUMBERS = pa.table({name: np.nan_to_num(INPUTS[:40, i]) for i, name in enumerate("abc")})


def _xgboost_classifier() -> Any:
    import xgboost

    return xgboost.XGBClassifier(n_estimators=5, max_depth=2, n_jobs=1).fit(INPUTS, CLASSES)


def _stopped_early() -> Any:
    import xgboost

    estimator = xgboost.XGBClassifier(n_estimators=60, learning_rate=1, max_depth=4, n_jobs=1, early_stopping_rounds=2)
    noise = RNG.integers(0, 2, 300)
    estimator.fit(INPUTS[:200], noise[:200], eval_set=[(INPUTS[200:], noise[200:])], verbose=False)
    assert estimator.best_iteration + 1 < estimator.get_booster().num_boosted_rounds()
    return estimator


def _booster() -> Any:
    import xgboost

    parameters = {"objective": "reg:squarederror", "nthread": 1, "max_depth": 2}
    return xgboost.train(parameters, xgboost.DMatrix(INPUTS, VALUES), num_boost_round=5)


def _multi_class() -> Any:
    import xgboost

    return xgboost.XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1).fit(INPUTS, CLASSES + (INPUTS[:, 2] > 1))


def _sklearn(name: str, target: Any) -> Any:
    from sklearn import ensemble, impute, linear_model, pipeline, preprocessing

    estimator: Any
    if name == "linear":
        last = linear_model.LogisticRegression() if target is CLASSES else linear_model.Ridge()
        estimator = pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler(), last)
    else:
        options = {"max_iter": 3} if name.startswith("Hist") else {"n_estimators": 5}
        estimator = getattr(ensemble, name)(random_state=0, **options)
    with threadpool_limits(limits=1):
        return estimator.fit(INPUTS, target)


ESTIMATORS = {
    "xgboost": _xgboost_classifier,
    "xgboost stopped early": _stopped_early,
    "xgboost booster": _booster,
    "xgboost of three classes": _multi_class,
    "boosting": lambda: _sklearn("HistGradientBoostingClassifier", CLASSES),
    "boosting regressor": lambda: _sklearn("HistGradientBoostingRegressor", VALUES),
    "forest": lambda: _sklearn("RandomForestClassifier", CLASSES),
    "forest regressor": lambda: _sklearn("ExtraTreesRegressor", VALUES),
    "pipeline": lambda: _sklearn("linear", CLASSES),
    "pipeline regressor": lambda: _sklearn("linear", VALUES),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_loaded_model_answers_as_the_estimator(name: str, tmp_path: Path) -> None:
    estimator = ESTIMATORS[name]()
    manifest = save_model(tmp_path / "m", estimator, example=EXAMPLE)
    model = load_model(tmp_path / "m", manifest, sha256_of(manifest))
    columns = {column: INPUTS[:, i] for i, column in enumerate("abc")}
    outputs = model.predict(columns)
    if manifest.signature.task == "classifier":
        np.testing.assert_allclose(outputs["probability"], estimator.predict_proba(INPUTS), atol=1e-6)
        np.testing.assert_array_equal(outputs["label"], estimator.predict(INPUTS))
        assert manifest.signature.classes == tuple(range(outputs["probability"].shape[1]))
    else:
        inputs = INPUTS
        if name == "xgboost booster":
            import xgboost

            inputs = xgboost.DMatrix(INPUTS)
        np.testing.assert_allclose(outputs["value"], estimator.predict(inputs), rtol=1e-6)
        assert outputs["value"].dtype == np.float64
    one = model.predict({column: values[:1] for column, values in columns.items()})
    for output, values in one.items():
        np.testing.assert_allclose(values, outputs[output][:1], rtol=1e-6)


def test_classes_keep_their_values(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    filled = np.nan_to_num(INPUTS)
    for number, classes in enumerate((("late", "on time"), (True, False), (10, 20))):
        labels = np.array(classes)[CLASSES]
        estimator = LogisticRegression().fit(filled, labels)
        manifest = save_model(
            tmp_path / str(number), estimator, example=EXAMPLE.filter(pa.compute.field("b").is_valid())
        )
        assert manifest.signature.classes == tuple(sorted(classes))
        model = load_model(tmp_path / str(number), manifest, sha256_of(manifest))
        predicted = model.predict({column: filled[:, i] for i, column in enumerate("abc")})["label"]
        assert predicted.tolist() == estimator.predict(filled).tolist()


def test_what_an_estimator_cannot_do_without_is_found_when_it_is_loaded(tmp_path: Path) -> None:
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = pd.DataFrame(np.nan_to_num(INPUTS), columns=["a", "b", "c"]).assign(carrier=["AA", "UA"] * 150)
    steps = ((SimpleImputer(), ["a"]), (OneHotEncoder(), ["carrier"]))
    estimator = make_pipeline(make_column_transformer(*steps, remainder="passthrough"), LinearRegression())
    manifest = save_model(tmp_path / "m", estimator.fit(frame, VALUES), example=pa.Table.from_pandas(frame[:9]))
    assert load_model(tmp_path / "m", manifest, sha256_of(manifest)).schema.required == ("b", "c", "carrier")
    for name in ("xgboost", "boosting", "pipeline"):
        manifest = save_model(tmp_path / name, ESTIMATORS[name](), example=EXAMPLE)
        assert load_model(tmp_path / name, manifest, sha256_of(manifest)).schema.required == ()


def test_text_inputs_of_xgboost_are_its_categories(tmp_path: Path) -> None:
    import pandas as pd
    import xgboost

    carrier = pd.Series(RNG.choice(["AA", "UA", "DL"], 300), dtype="category")
    frame = pd.DataFrame({"a": INPUTS[:, 0], "carrier": carrier})
    estimator = xgboost.XGBClassifier(n_estimators=5, enable_categorical=True, n_jobs=1, max_cat_to_onehot=1)
    estimator.fit(frame, carrier == "AA")
    example = pa.table({"a": INPUTS[:20, 0], "carrier": carrier.astype(str).to_list()[:20]})
    manifest = save_model(tmp_path / "m", estimator, example=example)
    assert [column.dtype for column in manifest.signature.inputs] == ["FP64", "BYTES"]
    model = load_model(tmp_path / "m", manifest, sha256_of(manifest))
    columns = {"a": INPUTS[:, 0], "carrier": np.array(carrier.astype(str), dtype=object)}
    np.testing.assert_allclose(model.predict(columns)["probability"], estimator.predict_proba(frame), atol=1e-6)
    unseen = model.predict({"a": np.zeros(2), "carrier": np.array(["XX", None], dtype=object)})["probability"]
    np.testing.assert_array_equal(unseen[0], unseen[1])


def test_text_inputs_of_a_pipeline(tmp_path: Path) -> None:
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = pd.DataFrame({"a": INPUTS[:, 0], "carrier": RNG.choice(["AA", "UA"], 300)})
    encoder = make_column_transformer((OneHotEncoder(), ["carrier"]), remainder="passthrough")
    estimator = make_pipeline(encoder, LogisticRegression()).fit(frame, CLASSES)
    manifest = save_model(tmp_path / "m", estimator, example=pa.Table.from_pandas(frame[["carrier", "a"]][:9]))
    assert [column.name for column in manifest.signature.inputs] == ["a", "carrier"]
    model = load_model(tmp_path / "m", manifest, sha256_of(manifest))
    columns = columns_of(pa.Table.from_pandas(frame), manifest.signature)
    np.testing.assert_allclose(model.predict(columns)["probability"], estimator.predict_proba(frame))


@pytest.fixture
def saved(tmp_path: Path, model_root: Path, manifests: dict[int, ModelManifest]) -> Path:
    shutil.copytree(model_root / "1", tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize("name", ["model.ubj", "example.arrow", "expected.json"])
@pytest.mark.parametrize("harm", ["truncate", "flip", "remove", "empty"])
def test_a_harmed_file_is_refused(saved: Path, manifests: dict[int, ModelManifest], name: str, harm: str) -> None:
    path = saved / name
    content = path.read_bytes()
    middle = len(content) // 2
    path.unlink()
    if harm != "remove":
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"truncate": content[:-1], "flip": flipped, "empty": b""}[harm])
    with pytest.raises(ModelLoadFailed, match=name):
        load_model(saved, manifests[1], sha256_of(manifests[1]))


@pytest.mark.parametrize("name", ["model.ubj", "example.arrow", "expected.json"])
def test_what_is_no_file_of_its_own_is_refused(saved: Path, manifests: dict[int, ModelManifest], name: str) -> None:
    """A link to the very bytes, a directory, and a pipe that nobody writes to."""
    path, away = saved / name, saved.parent / "away"
    path.rename(away)
    path.symlink_to(away)
    with pytest.raises(ModelLoadFailed, match=f"{name} cannot be read: Too many levels of symbolic links"):
        load_model(saved, manifests[1], sha256_of(manifests[1]))
    path.unlink()
    for make in (Path.mkdir, os.mkfifo):
        make(path)
        with pytest.raises(ModelLoadFailed, match=name):
            load_model(saved, manifests[1], sha256_of(manifests[1]))
        path.rmdir() if path.is_dir() else path.unlink()
    away.rename(path)
    load_model(saved, manifests[1], sha256_of(manifests[1]))


def test_a_second_model_beside_it_is_refused(saved: Path, manifests: dict[int, ModelManifest]) -> None:
    (saved / "reference.bin").write_bytes(b"another package's")
    load_model(saved, manifests[1], sha256_of(manifests[1]))
    (saved / "model.pkl").write_bytes(b"")
    with pytest.raises(ModelLoadFailed, match=r"holds \['model.pkl'\], which its manifest does not list"):
        load_model(saved, manifests[1], sha256_of(manifests[1]))


def test_the_bytes_that_were_verified_are_the_bytes_that_are_parsed(
    saved: Path, manifests: dict[int, ModelManifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are replaced between the check and the parser, and nobody notices."""
    parsed: list[bytes] = []
    parse = model_files.parse

    def swap(flavor: str, content: bytes) -> Any:
        for name in manifests[1].files:
            (saved / name).write_bytes(b"somebody else's")
        parsed.append(content)
        return parse(flavor, content)

    monkeypatch.setattr(model_files, "parse", swap)
    load_model(saved, manifests[1], sha256_of(manifests[1]))
    assert [model_files._sha256(content) for content in parsed] == [manifests[1].files["model.ubj"]]


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    """A process of its own loads a model of each format; its audit hook sees every class that pickle looks up."""
    for name in ("xgboost", "forest", "pipeline"):
        manifest = save_model(tmp_path / name, ESTIMATORS[name](), example=EXAMPLE)
        (tmp_path / name / "manifest.json").write_text(manifest.model_dump_json())
    program = """
import pickle, sys
from pathlib import Path
seen = []
from raymlops.records.models import ModelManifest
from raymlops.records.record import sha256_of
from raymlops.serving.models.model_files import load_model
sys.addaudithook(lambda event, args: seen.append(args) if event == "pickle.find_class" else None)
for directory in map(Path, sys.argv[1:]):
    manifest = ModelManifest.model_validate_json((directory / "manifest.json").read_bytes())
    load_model(directory, manifest, sha256_of(manifest))
assert seen == [], seen
pickle.loads(pickle.dumps(Path))
assert len(seen) == 1, "the hook sees nothing"
"""
    directories = [str(path) for path in tmp_path.iterdir()]
    command = [sys.executable, "-c", program, *directories]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_manifest_of_another_digest_is_refused(saved: Path, manifests: dict[int, ModelManifest]) -> None:
    with pytest.raises(ModelLoadFailed, match="digest"):
        load_model(saved, manifests[1], sha256_of(manifests[2]))


def test_what_hashes_right_and_reads_wrong_is_refused(tmp_path: Path, manifests: dict[int, ModelManifest]) -> None:
    contents = {"model.ubj": b"not a booster", "example.arrow": b"", "expected.json": b"[]"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    manifest = manifests[1].model_copy(
        update={"files": {name: model_files._sha256(content) for name, content in contents.items()}}
    )
    with pytest.raises(ModelLoadFailed, match=r"model\.ubj: the xgboost file cannot be read"):
        load_model(tmp_path, manifest, sha256_of(manifest))
    bare = manifest.model_copy(update={"files": {}})
    with pytest.raises(ModelLoadFailed, match="must list a model"):
        load_model(tmp_path, bare, sha256_of(bare))


def test_a_model_that_answers_otherwise_than_when_it_was_packaged_is_refused(
    saved: Path, manifests: dict[int, ModelManifest]
) -> None:
    wrong = b"[" + b",".join([b"[0.5,0.5]"] * 16) + b"]"
    (saved / "expected.json").write_bytes(wrong)
    manifest = manifests[1].model_copy(
        update={"files": manifests[1].files | {"expected.json": model_files._sha256(wrong)}},
    )
    with pytest.raises(ModelLoadFailed, match="must answer its example"):
        load_model(saved, manifest, sha256_of(manifest))


def test_an_untrusted_type_is_refused_on_both_sides(tmp_path: Path) -> None:
    import skops.io
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    from raymlops.flavors import parse

    estimator = make_pipeline(FunctionTransformer(_untrusted), LinearRegression()).fit(INPUTS, VALUES)
    with pytest.raises(DataError, match=r"trusted types only, got .*_untrusted"):
        save_model(tmp_path / "m", estimator, example=EXAMPLE)
    with pytest.raises(ModelLoadFailed, match=r"trusted types only, got .*_untrusted"):
        parse("sklearn", skops.io.dumps(estimator))


def _untrusted(values: Any) -> Any:
    return np.nan_to_num(values)


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (EXAMPLE.slice(0, 0), "at least one row"),
        (EXAMPLE.drop_columns(["a"]), "3 columns, got 2"),
        (EXAMPLE.rename_columns(["a", "b", "b"]), "names must be unique"),
        (EXAMPLE.rename_columns(["a", "b", "version"]), "prediction events use"),
        (EXAMPLE.rename_columns(["a", "b", "Version"]), "prediction events use, whatever their case"),
        (EXAMPLE.rename_columns(["a", "b", "_Seq"]), "prediction events use, whatever their case"),
        (EXAMPLE.rename_columns(["Age", "b", "age"]), "'Age' and 'age' differ in case only"),
        (EXAMPLE.rename_columns(["a", "b", "c\n"]), "control characters"),
        (EXAMPLE.set_column(0, "a", pa.array([b"x"] * 40)), "must be a number, a bool or a string"),
        (EXAMPLE.set_column(0, "a", pa.array(["x"] * 40)), "no categories"),
    ],
)
def test_an_example_that_does_not_fit_is_refused(example: pa.Table, message: str, tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatch, match=message):
        save_model(tmp_path / "m", _xgboost_classifier(), example=example)
    assert list(tmp_path.iterdir()) == []


def _fitted_on_a_column() -> dict[str, Any]:
    from sklearn.cross_decomposition import PLSRegression
    from sklearn.linear_model import LinearRegression

    column = VALUES.reshape(-1, 1)
    inputs = np.nan_to_num(INPUTS)
    return {"linear": LinearRegression().fit(inputs, column), "pls": PLSRegression(1).fit(inputs, column)}


@pytest.mark.parametrize("name", ["linear", "pls"])
def test_a_target_that_was_a_column_is_one_value_for_a_row(name: str, tmp_path: Path) -> None:
    estimator = _fitted_on_a_column()[name]
    manifest = save_model(tmp_path / "m", estimator, example=NUMBERS)
    model = load_model(tmp_path / "m", manifest, sha256_of(manifest))
    inputs = np.nan_to_num(INPUTS)
    value = model.predict({column: inputs[:, i] for i, column in enumerate("abc")})["value"]
    np.testing.assert_allclose(value, estimator.predict(inputs).reshape(-1), atol=1e-6)


def test_what_was_packaged_when_a_column_was_kept_as_one_is_loaded(tmp_path: Path) -> None:
    manifest = save_model(tmp_path / "m", _fitted_on_a_column()["linear"], example=NUMBERS)
    column = [[value] for value in orjson.loads((tmp_path / "m" / "expected.json").read_bytes())]
    (tmp_path / "m" / "expected.json").write_bytes(orjson.dumps(column))
    files = manifest.files | {"expected.json": model_files._sha256(orjson.dumps(column))}
    before = manifest.model_copy(update={"files": files})
    assert load_model(tmp_path / "m", before, sha256_of(before)).signature.task == "regressor"


def _of_several_outputs() -> dict[str, Any]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LinearRegression
    from sklearn.neural_network import MLPClassifier
    from xgboost import XGBClassifier, XGBRegressor

    inputs = np.nan_to_num(INPUTS)
    two, labels = np.c_[VALUES, -VALUES], np.c_[CLASSES, 1 - CLASSES, CLASSES]
    quantiles = {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.9]}
    return {
        "linear": LinearRegression().fit(inputs, two),
        "trees": XGBRegressor(n_estimators=3, n_jobs=1).fit(inputs, two),
        "quantiles": XGBRegressor(n_estimators=3, n_jobs=1, **quantiles).fit(inputs, VALUES),
        "labels of trees": XGBClassifier(n_estimators=3, n_jobs=1).fit(inputs, labels),
        "labels of a forest": RandomForestClassifier(3).fit(inputs, labels),
        "labels of a network": MLPClassifier((2,), solver="lbfgs", max_iter=3, random_state=0).fit(inputs, labels),
    }


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize(
    "name", ["linear", "trees", "quantiles", "labels of trees", "labels of a forest", "labels of a network"]
)
def test_an_estimator_of_several_outputs_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one value or one label for a row, got \d: register an estimator for each"):
        save_model(tmp_path / "m", _of_several_outputs()[name], example=NUMBERS)
    assert list(tmp_path.iterdir()) == []


def test_probabilities_of_several_labels_are_none_of_classes() -> None:
    with pytest.raises(DataError, match="which sum to 1, got"):
        check_scores(np.array([[0.9, 0.8], [0.1, 0.7]]), "classifier", 2)


def test_a_model_that_answers_no_request_is_refused_when_it_is_registered(tmp_path: Path) -> None:
    """It answers its example of sixteen rows, and not the first row alone."""
    from sklearn.neighbors import KNeighborsRegressor

    class Sulking(KNeighborsRegressor):  # type: ignore[misc]
        def predict(self, X: Any) -> Any:
            return super().predict(X) * (np.nan if len(X) == 1 else 1.0)

    inputs = np.nan_to_num(INPUTS)
    model = model_files._model(Sulking().fit(inputs, VALUES), "sklearn", _signature("regressor"), NUMBERS)
    with pytest.raises(NotFinite):
        answer_example(model.schema, model.predict, _columns(NUMBERS))


def _signature(task: Any) -> Signature:
    return Signature(task=task, inputs=tuple(ColumnSpec(name=name, dtype="FP64") for name in "abc"))


def _columns(table: pa.Table) -> Any:
    return {name: table[name].to_numpy() for name in table.column_names}


def test_named_inputs_must_be_the_examples(tmp_path: Path) -> None:
    import pandas as pd
    import xgboost

    frame = pd.DataFrame(INPUTS, columns=["x", "y", "z"])
    with pytest.raises(SchemaMismatch, match="must have the columns"):
        save_model(tmp_path / "m", xgboost.XGBClassifier(n_estimators=1).fit(frame, CLASSES), example=EXAMPLE)


def _unserved() -> Iterator[tuple[str, Any]]:
    import xgboost
    from sklearn.cluster import KMeans
    from sklearn.linear_model import LinearRegression
    from sklearn.svm import LinearSVC

    filled = np.nan_to_num(INPUTS)
    ranker = xgboost.XGBRanker(n_estimators=1, n_jobs=1).fit(filled, CLASSES, qid=np.zeros(300))
    yield "must be fitted", LinearRegression()
    yield "estimator must be fitted", xgboost.XGBClassifier()
    yield "must be a classifier or a regressor", KMeans(n_clusters=2)
    yield "got the text 'a model'", "a model"
    yield "predict_proba", LinearSVC().fit(filled, CLASSES)
    yield "missing must be NaN", xgboost.XGBClassifier(n_estimators=1, missing=-1, n_jobs=1).fit(filled, CLASSES)
    yield "objective must be", ranker.get_booster()


def test_an_estimator_that_is_not_served_is_refused(tmp_path: Path) -> None:
    for message, estimator in _unserved():
        with pytest.raises(DataError, match=message):
            save_model(tmp_path / "m", estimator, example=EXAMPLE)
    assert list(tmp_path.iterdir()) == []


def test_a_repeat_is_accepted_and_anything_else_is_not(tmp_path: Path) -> None:
    estimator = _xgboost_classifier()
    manifest = save_model(tmp_path / "m", estimator, example=EXAMPLE)
    assert save_model(tmp_path / "m", estimator, example=EXAMPLE) == manifest
    with pytest.raises(AlreadyRegistered, match="must be empty"):
        save_model(tmp_path / "m", _booster(), example=EXAMPLE)
    assert load_model(tmp_path / "m", manifest, sha256_of(manifest)).signature == manifest.signature
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file/m"):
        save_model(tmp_path / "file" / "m", _xgboost_classifier(), example=EXAMPLE)


class SimulatedKill(BaseException):
    """No code of ours catches it."""


@pytest.mark.parametrize(("step", "is_there"), [(0, False), (1, True)])
def test_a_kill_leaves_all_or_nothing(
    step: int, is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []

    def sync(path: Path) -> None:
        if len(synced) == step:
            raise SimulatedKill
        synced.append(path)

    estimator = _booster()
    with monkeypatch.context() as patch:
        patch.setattr(model_files, "sync", sync)
        with pytest.raises(SimulatedKill):
            save_model(tmp_path / "m", estimator, example=EXAMPLE)
    assert (tmp_path / "m").exists() == is_there
    manifest = save_model(tmp_path / "m", estimator, example=EXAMPLE)
    assert load_model(tmp_path / "m", manifest, sha256_of(manifest)).signature.task == "regressor"
