from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.experiments import LearningTask
from raymlops.monitoring import DOMAIN_FILE, DomainClassifier, Holdout, PerformanceEstimator, Reference
from raymlops.records.learning.signatures import Signature
from raymlops.steps import TrainingContext
from raymlops.steps.package import _labels, package
from raymlops.steps.validation.served import load_packaged

INPUTS = ("day", "v__x", "v__y")


@pytest.fixture
def packaged(bare: TrainingContext, frame: pa.Table, parts: Any, trained: dict[str, Any]) -> Path:
    """A package of a model with scores drawn by Beta(2, 5) for its holdout."""
    return made_of(1200, bare, frame, parts, trained)


def made_of(rows: int, bare: TrainingContext, frame: pa.Table, parts: Any, trained: dict[str, Any]) -> Path:
    """The same, of a model fitted on so many of the rows."""
    made = package(
        bare,
        frame=frame,
        parts=parts,
        model=trained["model"],
        scores=pa.table(
            {
                "score": np.random.default_rng(0).beta(2, 5, 300),
                "outcome": np.asarray(frame["label"].slice(1200 - 300), dtype=float),
            }
        ),
        dossier={"fitted": {"rows": rows}},
        monitor_window_days=7.0,
    )
    return Path(made["package"])


def test_a_package_is_the_model_and_its_reference(packaged: Path) -> None:
    assert load_packaged(packaged).signature.task == "classifier"
    reference = Reference.load(packaged / "reference.bin")
    assert reference.rows == 1200
    assert set(reference.columns) == {*INPUTS, "score", "label"}
    assert reference.skipped == {}


def test_each_column_is_known_by_the_rows_it_has(packaged: Path) -> None:
    reference = Reference.load(packaged / "reference.bin")
    assert reference.counts("score").sum() == 300
    assert reference.counts("day").sum() == 1200
    assert reference.counts("label").sum() == 1200
    assert reference.counts("v__x")[-1] == pytest.approx(60, abs=25), "missing values are counted"


def test_drift_of_the_scores_is_told_from_chance(packaged: Path, frame: pa.Table) -> None:
    reference, rng = Reference.load(packaged / "reference.bin"), np.random.default_rng(1)
    window = frame.slice(600)
    drifted = {
        name: reference.compare(reference.profile(window.append_column("score", pa.array(scores))))
        for name, scores in (("same", rng.beta(2, 5, 600)), ("moved", rng.beta(5, 2, 600)))
    }
    assert not drifted["same"].columns["score"].drifted
    assert drifted["moved"].columns["score"].drifted
    assert drifted["same"].columns["v__x"].importance > drifted["same"].columns["v__y"].importance


def test_the_holdout_is_kept_to_estimate_performance_by(packaged: Path, frame: pa.Table) -> None:
    holdout = Holdout.load(packaged / "holdout.arrow")
    assert holdout.kind == "binary"
    assert holdout.inputs[0] == "v__x", "the most important input comes first"
    assert holdout.rows.num_rows == 300
    assert holdout.outcomes.tolist() == frame["label"].slice(900).to_pylist()
    window = frame.slice(600, 300)
    found = PerformanceEstimator(holdout).estimate(window, np.random.default_rng(1).beta(2, 5, 300))
    assert found is not None
    assert 0.3 < found.record.metrics["auc"] < 0.7


def test_drift_of_the_labels_is_told_from_chance(packaged: Path, frame: pa.Table) -> None:
    reference = Reference.load(packaged / "reference.bin").only("label")
    labels = frame["label"].slice(600).cast(pa.string())
    same = reference.compare(reference.profile(pa.table({"label": labels})))
    other = reference.compare(reference.profile(pa.table({"label": ["1"] * 600})))
    assert not same.drifted
    assert other.drifted


def test_classes_go_by_the_names_that_labels_will_have(frame: pa.Table) -> None:
    task = LearningTask(inputs=("day",))
    named = Signature(task="classifier", inputs=(), classes=("early", "late"))
    made = _labels(frame, task, named)
    assert made["label"].to_pylist() == [("early", "late")[value] for value in frame["label"].to_pylist()]
    assert set(_labels(frame, task, named.model_copy(update={"classes": (False, True)}))["label"].to_pylist()) == {
        "0",
        "1",
    }
    numbers = LearningTask(kind="regressor", metric="rmse", inputs=("day",), label="v__x")
    known = frame.filter(frame["v__x"].is_valid())
    assert _labels(known, numbers, Signature(task="regressor", inputs=()))["label"].equals(known["v__x"])


def test_a_sample_of_the_inputs_is_kept_to_compare_them_together(packaged: Path, frame: pa.Table) -> None:
    domain = DomainClassifier.loads((packaged / DOMAIN_FILE).read_bytes())
    assert domain.columns[0] == "v__x", "the most important input comes first"
    assert set(domain.columns) == set(INPUTS)
    assert not domain.compare(frame.slice(600, 300)).drifted
    moved = frame.set_column(frame.column_names.index("v__y"), "v__y", frame["v__x"])
    assert domain.compare(moved.slice(600, 300)).drifted


def test_too_few_rows_leave_the_sample_out(
    bare: TrainingContext, frame: pa.Table, parts: Any, trained: dict[str, Any]
) -> None:
    made = made_of(200, bare, frame, parts, trained)
    assert not (made / DOMAIN_FILE).exists()
    assert Reference.load(made / "reference.bin").counts("label").sum() == 200
