from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.pipelines import Halt
from raymlops.steps import TrainingContext
from raymlops.steps.validation.validate_infra import validate_infra

DOSSIER = {"metrics": {"log_loss": 0.5}, "champion_metrics": {}, "comparison": {}}


def _validate(bare: TrainingContext, package: Path, probes: pa.Table, timeout_s: float = 60.0) -> Any:
    return validate_infra(bare, package=package, probes=probes, dossier=DOSSIER, infra_timeout_s=timeout_s)


def test_a_package_that_cannot_be_loaded_is_refused_with_the_reason(bare: TrainingContext, trained: Any) -> None:
    model = next(Path(trained["model"]).glob("model.*"))
    model.write_bytes(b"rubbish")
    got = _validate(bare, trained["model"], trained["probes"])
    assert isinstance(got, Halt)
    assert got.result["outcome"] == "refused"
    assert "cannot be served: raymlops.errors.ModelLoadFailed" in got.result["reason"]
    assert "SHA-256" in got.result["reason"]
    assert got.result["metrics"] == DOSSIER["metrics"]


def test_no_answer_in_time_is_a_refusal(bare: TrainingContext, trained: Any) -> None:
    got = _validate(bare, trained["model"], trained["probes"], 0.01)
    assert isinstance(got, Halt)
    assert "no answer within 0.01 s" in got.result["reason"]


def test_answers_that_differ_are_a_refusal(bare: TrainingContext, trained: Any) -> None:
    probes = trained["probes"]
    wrong = probes.set_column(3, "expected.0", pa.array(np.full(probes.num_rows, 0.5)))
    got = _validate(bare, trained["model"], wrong)
    assert isinstance(got, Halt)
    assert "a batch: answers differ from the estimator's by up to 0." in got.result["reason"]
