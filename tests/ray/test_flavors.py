"""Models of LightGBM, in ONNX and of a bundle's class on a real cluster: registered, served, scored in batches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import requests
from deltalake import DeltaTable
from pyarrow import parquet

import raymlops
from raymlops.clock import SystemClock
from raymlops.delivery import build_bundle
from raymlops.records.bundles import ProjectSpec

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,  # tests/contract/test_flavors.py tries each without a cluster
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),  # of its own defaults
]

DRAW = np.random.default_rng(2)
NUMBERS = DRAW.normal(size=(300, 3))
LABELS = np.array(["early", "late"])[(NUMBERS.sum(axis=1) > 0).astype(int)]
EXAMPLE = pa.table({name: NUMBERS[:40, place] for place, name in enumerate("abc")})


def _lightgbm(tmp_path: Path, platform: Platform) -> Any:
    del tmp_path, platform
    lightgbm = pytest.importorskip("lightgbm")
    fitted = lightgbm.LGBMClassifier(n_estimators=10, verbosity=-1, n_jobs=1).fit(NUMBERS, LABELS)
    return fitted, fitted.predict_proba(NUMBERS)


def _onnx(tmp_path: Path, platform: Platform) -> Any:
    del platform
    from sklearn.linear_model import LogisticRegression

    to_onnx = pytest.importorskip("skl2onnx").to_onnx
    fitted = LogisticRegression().fit(NUMBERS, LABELS)
    path = tmp_path / "model.onnx"
    path.write_bytes(to_onnx(fitted, NUMBERS[:1].astype(np.float32)).SerializeToString())
    return str(path), fitted.predict_proba(NUMBERS.astype(np.float32))


SCORER = """
import numpy as np


class Scorer:
    classes = ("early", "late")

    def load(self, path):
        self.weights = np.loadtxt(path)

    def predict(self, frame):
        return 1 / (1 + np.exp(-frame.to_numpy() @ self.weights))
"""


def _python(tmp_path: Path, platform: Platform) -> Any:
    place = tmp_path / "project"
    place.mkdir()
    (place / "scorer.py").write_text(SCORER)
    (place / "test_scorer.py").write_text("from scorer import Scorer\n\n\ndef test_it():\n    assert Scorer.classes\n")
    described = ProjectSpec(
        name="scorer", model="flavor-python", definitions="scorer:Scorer", service="none", spine="scorer:Scorer"
    )
    (place / "project.yaml").write_text(described.model_dump_json())
    bundle = build_bundle(place, platform.config.home / "bundles", SystemClock())
    np.savetxt(tmp_path / "weights.txt", [1.0, 2.0, 3.0])
    late = 1 / (1 + np.exp(-NUMBERS @ [1.0, 2.0, 3.0]))
    model = raymlops.PythonModel("scorer:Scorer", tmp_path / "weights.txt", bundle=bundle.digest)
    return model, np.column_stack([1 - late, late])


@pytest.mark.parametrize("make", [_lightgbm, _onnx, _python], ids=["lightgbm", "onnx", "python"])
def test_a_model_of_another_library_is_like_any_other(platform: Platform, tmp_path: Path, make: Any) -> None:
    name = f"flavor-{make.__name__.strip('_')}"
    estimator, expected = make(tmp_path, platform)
    version = platform.models.register(name, estimator, example=EXAMPLE)
    assert version.manifest.flavor == make.__name__.strip("_")
    platform.endpoints.deploy(name, version.version)
    try:
        tensor = {"name": "features", "shape": [5, 3], "datatype": "FP64", "data": NUMBERS[:5].ravel().tolist()}
        url = f"{platform.url}/v2/models/{name}/infer"
        answer = requests.post(url, json={"inputs": [tensor]}, timeout=10).json()
        assert "outputs" in answer, answer
        outputs = {output["name"]: output["data"] for output in answer["outputs"]}
        assert outputs["label"] == np.array(["early", "late"])[expected[:5].argmax(axis=1)].tolist()
        np.testing.assert_allclose(np.reshape(outputs["probability"], (5, 2)), expected[:5], atol=1e-5)
        parquet.write_table(EXAMPLE, tmp_path / "rows.parquet")
        platform.batch.score(name, tmp_path / "rows.parquet", tmp_path / "scored", version=version.version)
        scored = DeltaTable(str(tmp_path / "scored")).to_pyarrow_table().sort_by("_row")
        np.testing.assert_allclose(np.array(scored["probability"].to_pylist()), expected[:40], atol=1e-5)
    finally:
        platform.endpoints.undeploy(name, reason="the test is over")
