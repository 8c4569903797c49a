from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from raymlops.clock import ManualClock
from raymlops.flavors import flavor_named, parse
from raymlops.flavors.sklearn_parts.canonical_skops import canonical_skops
from raymlops.metadata import MetadataService
from raymlops.records.record import sha256_of
from raymlops.runtime.jobs.operators import ModelOperator
from raymlops.serving.models.model_files import load_model, save_model
from raymlops.testing.metadata_examples import EPOCH

SKLEARN = flavor_named("sklearn")

X = np.random.default_rng(0).normal(size=(200, 3))
Y = (X[:, 0] > 0).astype(int)
MAKERS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "texts": LogisticRegression,
    "forest": lambda: RandomForestClassifier(5, random_state=0),
    "boosting": lambda: HistGradientBoostingClassifier(max_iter=5, random_state=0),
    "calibrated": lambda: CalibratedClassifierCV(LogisticRegression(), cv=2),
    "xgboost": lambda: make_pipeline(StandardScaler(), XGBClassifier(n_estimators=3, n_jobs=1)),
}


def _fitted(name: str) -> Any:
    return MAKERS[name]().fit(X, np.array(["no", "yes"], dtype=object)[Y] if name == "texts" else Y)


def digest_of(name: str) -> str:
    """Digest of the file of an estimator that is fitted anew."""
    return hashlib.sha256(SKLEARN.dump(_fitted(name))).hexdigest()


@pytest.mark.parametrize("name", MAKERS)
def test_equal_estimators_are_equal_bytes(name: str) -> None:
    held = [_fitted(name), _fitted(name)]  # both at once, so that they are at other addresses
    first, second = (SKLEARN.dump(each) for each in held)
    assert first == second
    before, after = held[0].predict_proba(X), parse("sklearn", first).predict_proba(X)
    np.testing.assert_array_equal(before, after)


@pytest.mark.slow
def test_equal_estimators_are_equal_bytes_in_another_process() -> None:
    code = "import tests.unit.flavors.sklearn_parts.test_canonical_skops as t; print(*map(t.digest_of, t.MAKERS))"
    root = Path(__file__).parents[4]
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120, check=True
    )
    assert ran.stdout.split() == [digest_of(name) for name in MAKERS]


def test_other_estimators_are_other_bytes() -> None:
    assert SKLEARN.dump(LogisticRegression(C=1.0).fit(X, Y)) != SKLEARN.dump(LogisticRegression(C=2.0).fit(X, Y))


def test_what_is_shared_stays_shared() -> None:
    shared = np.arange(3.0)
    loaded = skops.io.loads(canonical_skops(skops.io.dumps({"a": shared, "b": shared, "c": np.arange(3.0)})))
    assert loaded["a"] is loaded["b"]
    assert loaded["c"] is not loaded["a"]
    np.testing.assert_array_equal(loaded["c"], shared)


def test_sets_have_no_order() -> None:
    def permuted(content: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            schema = json.loads(archive.read("schema.json"))
        schema["content"].reverse()
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("schema.json", json.dumps(schema))
        return buffer.getvalue()

    content = skops.io.dumps({"a", "b", ("c", 1)})
    assert canonical_skops(content) == canonical_skops(permuted(content))


def test_the_same_estimator_registered_again_is_the_same_version(tmp_path: Path) -> None:
    clock = ManualClock(EPOCH)
    metadata = MetadataService(tmp_path / "metadata.db", clock=clock)
    models = ModelOperator(tmp_path, metadata, clock)
    example = pa.table({name: X[:, place] for place, name in enumerate("abc")})
    versions = [models.register("churn", _fitted("forest"), example, {"auc": 0.5}, None) for _ in range(2)]
    assert [version.version for version in versions] == [1, 1]
    assert models.register("churn", _fitted("forest"), example, {"auc": 0.6}, None).version == 2
    metadata.close()


def test_a_file_from_before_keeps_its_digest_and_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = pa.table({name: X[:, place] for place, name in enumerate("abc")})
    with monkeypatch.context() as patch:
        patch.setattr("raymlops.flavors.sklearn.canonical_skops", lambda content: content)
        manifest = save_model(tmp_path / "old", _fitted("forest"), example=example)
    assert load_model(tmp_path / "old", manifest, sha256_of(manifest)).predict(
        {name: X[:, place] for place, name in enumerate("abc")}
    )
