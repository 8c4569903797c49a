from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.steps.fitting import fit_and_package, probe_rows
from raymlops.steps.split import Parts
from raymlops.steps.validation.infra_probe import main, probe

SMALL = {
    "xgboost": {"n_estimators": 20},
    "hist_gradient_boosting": {"max_iter": 20},
    "random_forest": {"n_estimators": 10},
    "logistic": {},
}


@pytest.mark.parametrize("family", sorted(SMALL))
@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_every_family_is_served_as_it_was_fitted(
    bare: Any, frame: pa.Table, parts: Any, family: str, kind: str
) -> None:
    task = Parts.model_validate(parts).task.model_copy(
        update={"kind": kind, "metric": "log_loss" if kind == "classifier" else "rmse"}
    )
    winner = {"family": family, "params": SMALL[family], "seed": 0}
    made = fit_and_package(bare, frame, task, winner, probe_rows(frame, task.inputs))
    got = probe(made["model"], made["probes"])
    assert got["problem"] == ""
    assert got["rows"] == 68
    assert got["one_row_ms"] < 1000


def test_three_classes_are_served_too(bare: Any, frame: pa.Table, parts: Any) -> None:
    task = Parts.model_validate(parts).task.model_copy(update={"classes": 3})
    three = frame.set_column(1, "label", pa.array(np.arange(1200) % 3))
    winner = {"family": "xgboost", "params": {"n_estimators": 5}, "seed": 0}
    made = fit_and_package(bare, three, task, winner, probe_rows(three, task.inputs))
    assert [name for name in made["probes"].column_names if name.startswith("expected.")] == [
        "expected.0",
        "expected.1",
        "expected.2",
    ]
    assert probe(made["model"], made["probes"])["problem"] == ""


def test_another_number_of_outputs_is_a_problem(trained: dict[str, Any]) -> None:
    got = probe(trained["model"], trained["probes"].drop_columns(["expected.1"]))
    assert got["problem"] == "a batch: shape (68, 2) is not (68, 1)"


def test_the_process_writes_its_findings(trained: dict[str, Any], tmp_path: Path) -> None:
    probes = trained["probes"]
    with pa.OSFile(str(tmp_path / "probes.arrow"), "wb") as sink, pa.ipc.new_file(sink, probes.schema) as writer:
        writer.write_table(probes)
    assert main([str(trained["model"]), str(tmp_path)]) == 0
    assert b'"problem":""' in (tmp_path / "findings.json").read_bytes()
