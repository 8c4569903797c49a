"""The process of a Python model: what it is kept from, and what becomes of it."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pytest

from raymlops.errors import ConfigError, DataError, DeploymentError
from raymlops.flavors import python_model
from raymlops.flavors.python_model import FLAVOR, PythonModel
from raymlops.records.record import sha256_of
from raymlops.serving.models.model import Model, columns_of
from raymlops.serving.models.model_files import load_model, save_model

ROWS = pa.table({"v": [1.0, 2.0, 3.0]})
CODE = b"""
import os, signal, sys, time

class Model:
    def load(self, path):
        self.factor = float(path.read_text())

    def predict(self, frame):
        asked = float(frame["v"].iloc[0])
        if asked == 101:
            os.kill(os.getpid(), signal.SIGKILL)
        if asked == 102:
            time.sleep(600)
        if asked == 103:
            raise ValueError("v must not be 103\\nor else")
        if asked == 104:
            sys.exit("enough")
        if asked == 105:
            return [[1.0, 2.0]] * len(frame)
        if asked == 106:
            return [len(os.environ.get("RAY_AUTH_TOKEN_PATH", "")), os.getpid(), os.getppid()][:len(frame)]
        return frame["v"] * self.factor
"""


@pytest.fixture
def factor(tmp_path: Path) -> Path:
    (tmp_path / "factor.txt").write_text("2.5")
    return tmp_path / "factor.txt"


@pytest.fixture
def model(factor: Path, tmp_path: Path) -> Model:
    made = PythonModel("own.model:Model", factor, code={"own/__init__.py": b"", "own/model.py": CODE})
    manifest = save_model(tmp_path / "packaged", made, example=ROWS)
    return load_model(tmp_path / "packaged", manifest, sha256_of(manifest))


def values(model: Model, *asked: float) -> list[float]:
    found: list[float] = model.predict({"v": np.array(asked)})["value"].tolist()
    return found


def test_a_process_that_dies_is_started_again(model: Model) -> None:
    for fatal in (101.0, 104.0):
        with pytest.raises(DeploymentError, match="process of the Python model ended"):
            values(model, fatal)
        assert values(model, 4.0) == [10.0]


def test_one_that_does_not_answer_is_ended(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = psutil.Process()
    before = {child.pid for child in ours.children()}
    monkeypatch.setattr(python_model, "_ANSWER_S", 1.0)
    with pytest.raises(DeploymentError, match="did not answer within 1 s"):
        values(model, 102.0)
    assert {child.pid for child in ours.children()} < before
    monkeypatch.undo()
    assert values(model, 4.0) == [10.0]


def test_what_the_class_raises_keeps_its_kind_in_one_line(model: Model) -> None:
    with pytest.raises(ValueError, match=r"^ValueError: v must not be 103$"):
        values(model, 103.0)
    assert values(model, 4.0, 5.0) == [10.0, 12.5]


def test_it_has_no_key_of_the_platform_and_goes_with_its_model(
    factor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/somewhere/secret")
    monkeypatch.setenv("RAYMLOPS_HOME", str(tmp_path))
    made = PythonModel("model:Model", factor, code={"model.py": CODE})
    manifest = save_model(tmp_path / "packaged", made, example=ROWS)
    model = load_model(tmp_path / "packaged", manifest, sha256_of(manifest))
    token, process, parent = values(model, 106.0, 0.0, 0.0)
    assert token == 0
    assert parent == os.getpid()
    asked = psutil.Process(int(process))
    assert len(list((tmp_path / "scratch").iterdir())) == 1, "its files are in the platform's home"
    del model, made
    gc.collect()
    asked.wait(timeout=20)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_several_outputs_are_refused(factor: Path, tmp_path: Path) -> None:
    made = PythonModel("model:Model", factor, code={"model.py": CODE})
    with pytest.raises(DataError, match="one value or one label"):
        save_model(tmp_path / "packaged", made, example=pa.table({"v": [105.0, 1.0]}))


@pytest.mark.parametrize(
    ("changed", "error", "told"),
    [
        ({"entry": "model"}, ConfigError, "module:Class"),
        ({"entry": "model:Model:x"}, ConfigError, "module:Class"),
        ({"entry": "model:Other"}, DataError, "Other"),
        ({"entry": "other:Model"}, DataError, "No module named 'other'"),
        ({"code": {}}, ConfigError, "must name the bundle"),
        ({"files": "nowhere"}, DataError, "nowhere cannot be read"),
    ],
)
def test_what_cannot_be_a_model_is_told_in_one_line(
    changed: dict[str, Any], error: type[Exception], told: str, factor: Path
) -> None:
    given = {"entry": "model:Model", "files": factor, "code": {"model.py": CODE}} | changed
    with pytest.raises(error, match=told) as raised:
        FLAVOR.describe(PythonModel(**given), ["v"])
    assert "\n" not in str(raised.value)


def test_the_frame_has_the_dtypes_of_the_example(factor: Path, tmp_path: Path) -> None:
    code = b"""
import pandas as pd

class Model:
    def load(self, path):
        pass

    def predict(self, frame):
        told = {"n": "int64", "kind": "category", "flag": "bool"}
        assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == told, frame.dtypes
        return frame["n"] * 1.0 + frame["kind"].cat.codes
"""
    frame = pd.DataFrame({"n": [1, 2], "kind": pd.Categorical(["a", "b"]), "flag": [True, False]})
    manifest = save_model(tmp_path / "packaged", PythonModel("m:Model", factor, code={"m.py": code}), example=frame)
    model = load_model(tmp_path / "packaged", manifest, sha256_of(manifest))
    rows = columns_of(pa.table({"n": [7], "kind": ["b"], "flag": [False]}), manifest.signature)
    assert model.predict(rows)["value"].tolist() == [8.0]
