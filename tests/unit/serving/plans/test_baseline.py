from __future__ import annotations

from typing import Any

import pytest

from raymlops.errors import DataError
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.records.plans import Baseline
from raymlops.serving.plans.baseline import check_baseline, constant_outputs, declare_baseline

INPUTS = (ColumnSpec(name="a", dtype="FP64"),)
BINARY = Signature(task="classifier", inputs=INPUTS, classes=("no", "yes"))
THREE = Signature(task="classifier", inputs=INPUTS, classes=(0, 1, 2))
REGRESSOR = Signature(task="regressor", inputs=INPUTS)


@pytest.mark.parametrize(
    ("signature", "declared", "outputs"),
    [
        (BINARY, 0.25, {"label": ["no", "no"], "probability": [[0.75, 0.25], [0.75, 0.25]]}),
        (BINARY, [0.25, 0.75], {"label": ["yes", "yes"], "probability": [[0.25, 0.75], [0.25, 0.75]]}),
        (THREE, (0.2, 0.2, 0.6), {"label": [2, 2], "probability": [[0.2, 0.2, 0.6], [0.2, 0.2, 0.6]]}),
        (REGRESSOR, 12, {"value": [12.0, 12.0]}),
    ],
)
def test_a_declared_constant_is_an_answer(signature: Signature, declared: Any, outputs: dict[str, Any]) -> None:
    baseline = declare_baseline(signature, declared)
    assert Baseline.model_validate_json(baseline.model_dump_json()) == baseline
    got = constant_outputs(baseline, signature, 2)
    assert {name: values.tolist() for name, values in got.items()} == outputs


@pytest.mark.parametrize(
    ("signature", "declared", "message"),
    [
        (BINARY, 1.5, "from 0 to 1 that sum to 1"),
        (BINARY, [0.5, 0.4], "sum to 1"),
        (BINARY, [1.0], r"for each of \['no', 'yes'\]"),
        (BINARY, [float("nan"), 1.0], "from 0 to 1"),
        (THREE, 0.5, r"for each of \[0, 1, 2\]"),
        (REGRESSOR, [0.5, 0.5], "one number"),
        (REGRESSOR, float("inf"), "finite"),
    ],
)
def test_what_is_no_answer_is_refused(signature: Signature, declared: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        declare_baseline(signature, declared)


def test_a_classifiers_baseline_is_no_regressors() -> None:
    with pytest.raises(DataError, match="finite value, got None"):
        check_baseline(Baseline(probability=(0.5, 0.5)), REGRESSOR)
