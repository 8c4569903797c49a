"""The only tests that import MLflow, which takes seconds: one store serves them all."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from xgboost import XGBClassifier

from raymlops.errors import DataError, ModelLoadFailed, ModelVersionNotFound, StorageError
from raymlops.flavors import flavor_of
from raymlops.metadata import MetadataService
from raymlops.metadata.mlflow import MlflowProjection
from raymlops.metadata.projector import Projector
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.records.models import ModelManifest, ModelVersion
from raymlops.records.record import sha256_of
from raymlops.records.runs import Run, RunStatus
from raymlops.testing.metadata_examples import EPOCH

_X = np.random.default_rng(7).normal(size=(120, 3))
_Y = (_X[:, 0] + 0.2 * _X[:, 1] > 0).astype(int)
_COLUMNS = tuple(ColumnSpec(name=name, dtype="FP64") for name in ("a", "b", "c"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def projection(home: Path) -> MlflowProjection:
    return MlflowProjection(f"sqlite:///{home}/mlflow.db", home / "mlflow-artifacts")


@pytest.fixture(autouse=True)
def _offline_and_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No connection may be tried, nothing be written to the working directory, and nothing be left set."""
    monkeypatch.chdir(tmp_path)
    tried: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _socket, address: tried.append(address))
    before = _process_settings()
    yield
    assert _process_settings() == before
    assert tried == []
    assert [path.name for path in tmp_path.iterdir() if path.name in {"mlruns", "mlflow.db"}] == []


@pytest.fixture
def mlflow(home: Path) -> Iterator[Any]:
    """MLflow as a user holds it, pointed at our store."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow
        import mlflow.sklearn
        import mlflow.xgboost

        mlflow.set_tracking_uri(f"sqlite:///{home}/mlflow.db")
        yield mlflow
        mlflow.set_tracking_uri(None)
    os.environ.pop("MLFLOW_TRACKING_URI", None)


def _process_settings() -> dict[str, object]:
    return {
        "environment": {name: value for name, value in os.environ.items() if "MLFLOW" in name},
        "level": logging.getLogger("mlflow").level,
    }


def _package(directory: Path, estimator: Any, name: str, version: int = 1, **facts: Any) -> ModelVersion:
    directory.mkdir()
    if not isinstance(estimator, BaseEstimator) or not type(estimator).__module__.startswith("sklearn"):
        found = flavor_of(estimator)
        flavor, file, library = found.name, found.file, found.libraries[0]
        (directory / file).write_bytes(found.dump(estimator))
    else:
        flavor, file, library = "sklearn", "model.skops", "scikit-learn"
        skops.io.dump(estimator, directory / file)
    manifest = ModelManifest(
        flavor=flavor,
        signature=Signature(task="classifier", inputs=_COLUMNS, classes=(0, 1)),
        files={file: hashlib.sha256((directory / file).read_bytes()).hexdigest()},
        libraries={library: importlib.metadata.version(library)},
    )
    metrics = {"log_loss": 0.3, "auc": float("nan")}
    return ModelVersion(
        name=name,
        version=version,
        path=str(directory),
        manifest=manifest,
        digest=sha256_of(manifest),
        metrics=metrics,
        parameters={"max_depth": 2},
        created_at=EPOCH,
        **facts,
    )


def test_a_run_shows_with_its_trials_nested_and_may_be_projected_again(projection: Any, mlflow: Any) -> None:
    run = Run(id="run-1", pipeline="flights", created_at=EPOCH, parameters={"weeks": 8, "tags": ["a"]})
    parent = projection.project_run(run)
    trials = [
        {"params": {"max_depth": depth}, "metrics": {"log_loss": 0.1 * depth}, "status": status}
        for depth, status in ((2, "succeeded"), (3, "failed"))
    ]
    done = run.model_copy(
        update={
            "status": RunStatus.SUCCEEDED,
            "ended_at": EPOCH + timedelta(minutes=2),
            "result": {"outcome": "candidate", "metrics": {"log_loss": 0.4, "auc": float("nan"), "note": "text"}},
        }
    )
    for _ in range(2):
        assert projection.project_run(done, trials) == parent
    found = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name("flights").experiment_id])
    assert len(found) == 3
    shown = mlflow.get_run(parent)
    assert (shown.info.status, shown.info.end_time - shown.info.start_time) == ("FINISHED", 120_000)
    assert shown.data.params == {"weeks": "8", "tags": '["a"]'}
    assert shown.data.metrics["log_loss"] == 0.4
    assert np.isnan(shown.data.metrics["auc"])
    children = {run.data.tags["raymlops.trial"]: run for run in found if "mlflow.parentRunId" in run.data.tags}
    assert {child.data.tags["mlflow.parentRunId"] for child in children.values()} == {parent}
    assert [children[index].info.status for index in "01"] == ["FINISHED", "FAILED"]
    assert children["1"].data.params == {"max_depth": "3"}
    assert len(mlflow.MlflowClient().get_metric_history(parent, "log_loss")) == 1


def test_an_xgboost_model_loads_by_its_alias(projection: Any, mlflow: Any, tmp_path: Path) -> None:
    parent = projection.project_run(Run(id="run-2", pipeline="flights", created_at=EPOCH))
    models = [XGBClassifier(n_estimators=3, max_depth=2, random_state=seed).fit(_X, _Y ^ seed) for seed in (0, 1)]
    for number, model in enumerate(models, 1):
        version = _package(tmp_path / str(number), model, "flight-delay", number, run_id="run-2")
        uri = projection.project_version(version, version.path)
        assert projection.project_version(version, version.path) == uri == f"models:/flight-delay/{number}"
        for _ in range(2):
            projection.set_alias("flight-delay", "champion", number)
        loaded = mlflow.xgboost.load_model("models:/flight-delay@champion")
        np.testing.assert_array_equal(loaded.predict_proba(_X), model.predict_proba(_X))
    shown = mlflow.MlflowClient().get_model_version("flight-delay", 1)
    assert (shown.run_id, shown.tags["raymlops.version"], shown.tags["metrics.log_loss"]) == (parent, "1", "0.3")
    for _ in range(2):
        projection.set_alias("flight-delay", "champion", None)
    assert mlflow.MlflowClient().get_registered_model("flight-delay").aliases == {}


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("logistic", make_pipeline(StandardScaler(), LogisticRegression()).fit(_X, _Y)),
        ("hist", HistGradientBoostingClassifier(max_iter=3).fit(_X, _Y)),
    ],
)
def test_a_scikit_learn_model_loads_by_its_alias(
    projection: Any, mlflow: Any, tmp_path: Path, name: str, model: Any
) -> None:
    version = _package(tmp_path / "model", model, name, version=4)
    assert projection.project_version(version, version.path) == f"models:/{name}/1"
    projection.set_alias(name, "champion", 4)
    loaded = mlflow.sklearn.load_model(f"models:/{name}@champion")
    np.testing.assert_array_equal(loaded.predict_proba(_X), model.predict_proba(_X))
    assert mlflow.models.get_model_info(f"models:/{name}@champion").signature.inputs.input_names() == ["a", "b", "c"]


def test_lightgbm_and_onnx_load_as_mlflow_s_own(projection: Any, mlflow: Any, tmp_path: Path) -> None:
    lightgbm, skl2onnx = pytest.importorskip("lightgbm"), pytest.importorskip("skl2onnx")
    boosted = lightgbm.LGBMClassifier(n_estimators=3, verbosity=-1).fit(_X, _Y)
    line = LogisticRegression().fit(_X, _Y)
    content = skl2onnx.to_onnx(line, _X[:1].astype(np.float32), options={"zipmap": False}).SerializeToString()
    for name, model in (("boosted", boosted), ("line", content)):
        version = _package(tmp_path / name, model, name)
        assert projection.project_version(version, version.path) == f"models:/{name}/1"
    shown = mlflow.lightgbm.load_model("models:/boosted/1")
    np.testing.assert_allclose(shown.predict(_X), boosted.predict_proba(_X)[:, 1])
    loaded = mlflow.onnx.load_model("models:/line/1")
    assert loaded.SerializeToString() == content


def test_what_was_altered_or_is_not_trusted_is_refused(projection: Any, tmp_path: Path) -> None:
    version = _package(tmp_path / "model", LogisticRegression().fit(_X, _Y), "altered")
    with (tmp_path / "model" / "model.skops").open("ab") as file:
        file.write(b"!")
    with pytest.raises(ModelLoadFailed, match=r"model\.skops: must have SHA-256"):
        projection.project_version(version, version.path)
    pipeline = make_pipeline(FunctionTransformer(_unknown), LogisticRegression()).fit(_X, _Y)
    untrusted = _package(tmp_path / "untrusted", pipeline, "untrusted")
    with pytest.raises(ModelLoadFailed, match="_unknown"):
        projection.project_version(untrusted, untrusted.path)


def _unknown(values: Any) -> Any:
    return values


def test_another_model_under_a_known_version_is_refused(projection: Any, tmp_path: Path) -> None:
    model = LogisticRegression().fit(_X, _Y)
    first = _package(tmp_path / "first", model, "twice")
    projection.project_version(first, first.path)
    with pytest.raises(StorageError, match="'twice' version 1"):
        projection.project_version(first.model_copy(update={"digest": "0" * 64}), first.path)


def test_what_is_not_projected_has_no_alias(projection: Any) -> None:
    with pytest.raises(ModelVersionNotFound, match="'ghost' version 3"):
        projection.set_alias("ghost", "champion", 3)
    projection.set_alias("ghost", "champion", None)
    with pytest.raises(DataError, match="quote"):
        projection.set_alias("it's", "champion", 3)


def test_a_store_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/mlflow\.db"):
        MlflowProjection(f"sqlite:///{tmp_path}/file/mlflow.db", tmp_path / "artifacts")
    (tmp_path / "broken.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(StorageError, match="not a database"):
        MlflowProjection(f"sqlite:///{tmp_path}/broken.db", tmp_path / "artifacts")


def test_an_mlflow_that_is_lost_is_rebuilt_from_the_store(projection: Any, mlflow: Any, tmp_path: Path) -> None:
    model = XGBClassifier(n_estimators=3, max_depth=2, random_state=0).fit(_X, _Y)
    with closing(MetadataService(tmp_path / "metadata.db")) as metadata:
        metadata.runs.create_run(Run(id="run-3", pipeline="flights", created_at=EPOCH))
        draft = _package(tmp_path / "package", model, "lost", 0)
        metadata.models.register_version(draft, key="run-3")
        metadata.models.set_alias("lost", "champion", 1, expected=None, reason="first")
        empty = MlflowProjection(f"sqlite:///{tmp_path}/rebuilt.db", tmp_path / "rebuilt")
        for shown in (projection, empty):
            assert Projector(metadata, shown, lambda run_id: []).sync() == 3
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/rebuilt.db")
    loaded = mlflow.xgboost.load_model("models:/lost@champion")
    np.testing.assert_array_equal(loaded.predict_proba(_X), model.predict_proba(_X))
