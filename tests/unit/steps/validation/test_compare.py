from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from raymlops.errors import ModelLoadFailed
from raymlops.pipelines import Halt
from raymlops.records.models import ModelVersion
from raymlops.records.record import sha256_of
from raymlops.steps import TrainingContext
from raymlops.steps.project.context import TRAINED_UNTIL
from raymlops.steps.train import train
from raymlops.steps.validation.compare import Gate, compare
from raymlops.steps.validation.evaluate import Judging
from raymlops.steps.validation.served import read_manifest

EVALUATION: dict[str, Any] = {
    "fit": {"rows": 900, "converged": True, "curve": [[1, 0.68], [30, 0.45]]},
    "train": {"log_loss": 0.45},
    "baseline_train": {"log_loss": 0.69},
    "baseline": {"log_loss": 0.69},
    "holdout": {
        "loss": 0.5,
        "metrics": {"log_loss": 0.5, "ece": 0.03},
        "slices": [{"column": "day", "value": "0", "rows": 40, "loss": 0.9, "low": 0.8, "high": 1.0}],
    },
}


def _champion(directory: Path, **parameters: Any) -> ModelVersion:
    manifest = read_manifest(directory)
    return ModelVersion(
        name="toy",
        version=3,
        path=str(directory),
        manifest=manifest,
        digest=sha256_of(manifest),
        parameters=parameters,
        created_at="2013-01-01T00:00:00Z",
    )


@pytest.fixture
def weak(bare: TrainingContext, frame: pa.Table, parts: Any, winner: Any) -> Path:
    """A model that has hardly learned anything."""
    shy = {**winner, "params": {"C": 1e-5}}
    return Path(train(bare, frame=frame, parts=parts, winner=shy)["model"])


def _compare(
    bare: TrainingContext,
    frame: pa.Table,
    parts: Any,
    model: Any,
    champion: ModelVersion | None,
    evaluation: Any = EVALUATION,
    **gate: Any,
) -> Any:
    asked = Gate(**gate).model_dump(mode="json")
    context = replace(
        bare, metadata=SimpleNamespace(models=SimpleNamespace(get_version=lambda name, version: champion))
    )
    return compare(
        context,
        frame=frame,
        parts=parts,
        model=model,
        pin={"champion": None if champion is None else champion.version},
        evaluation=evaluation,
        judging=Judging(slices=("day",), slice_min_rows=30).model_dump(mode="json"),
        gate=asked,
    )


def test_without_a_champion_the_baseline_is_to_beat(bare: Any, frame: Any, parts: Any, trained: Any, weak: Any) -> None:
    got = _compare(bare, frame, parts, trained["model"], None)
    assert got["dossier"]["comparison"]["against"] == "baseline"
    assert got["dossier"]["comparison"]["rule"] == "absolute"
    assert got["dossier"]["champion_metrics"] == {}
    assert got["dossier"]["metrics"]["log_loss"] == 0.5
    assert all(check["passed"] for check in got["dossier"]["checks"])
    blessing = got["blessing"]
    assert (blessing.kind, blessing.granted, blessing.subject) == ("evaluation", True, "t" * 64)


def test_a_better_candidate_passes_every_rule(bare: Any, frame: Any, parts: Any, trained: Any, weak: Any) -> None:
    for rule in ("better", "not_worse", "absolute"):
        got = _compare(bare, frame, parts, trained["model"], _champion(weak), rule=rule)
        comparison = got["dossier"]["comparison"]
        assert comparison["passed"]
        assert comparison["rows"] == 300
        assert comparison["difference"]["high"] < 0
        assert comparison["champion"] == (None if rule == "absolute" else 3)
        assert set(comparison["slices"]) == {f"day={day}" for day in range(7)}


def test_a_worse_candidate_is_refused_by_the_rules_that_look(
    bare: Any, frame: Any, parts: Any, trained: Any, weak: Any
) -> None:
    champion = _champion(trained["model"])
    for rule in ("better", "not_worse"):
        got = _compare(bare, frame, parts, weak, champion, rule=rule)
        assert isinstance(got, Halt)
        assert got.result["outcome"] == "refused"
        assert got.result["champion_metrics"]["log_loss"] < 0.6
        assert not got.result["comparison"]["passed"]
    assert not isinstance(_compare(bare, frame, parts, weak, champion, rule="not_worse", tolerance=1.0), Halt)


def test_an_equal_candidate_is_not_worse_and_not_better(bare: Any, frame: Any, parts: Any, trained: Any) -> None:
    champion = _champion(trained["model"])
    assert not isinstance(_compare(bare, frame, parts, trained["model"], champion, rule="not_worse"), Halt)
    assert isinstance(_compare(bare, frame, parts, trained["model"], champion, rule="better"), Halt)


def test_rows_that_the_champion_has_seen_are_left_out(
    bare: Any, frame: Any, parts: Any, trained: Any, weak: Any
) -> None:
    until = frame["event_time"][1000].as_py().isoformat()
    champion = _champion(weak, **{TRAINED_UNTIL: until})
    comparison = _compare(bare, frame, parts, trained["model"], champion)["dossier"]["comparison"]
    assert comparison["rows"] == 199
    assert comparison["champion_seen_rows"] == 0


def test_where_too_few_are_left_all_are_compared_and_that_is_said(
    bare: Any, frame: Any, parts: Any, trained: Any, weak: Any
) -> None:
    until = frame["event_time"][1150].as_py().isoformat()
    got = _compare(bare, frame, parts, trained["model"], _champion(weak, **{TRAINED_UNTIL: until}))
    assert got["dossier"]["comparison"]["rows"] == 300
    assert got["dossier"]["comparison"]["champion_seen_rows"] == 251
    assert "the champion was fitted on 251 of these rows" in got["dossier"]["reason"]


@pytest.mark.parametrize(
    ("update", "said"),
    [
        ({"name": "temperature"}, "it takes ['temperature']"),
        ({"dtype": "BYTES"}, "['day'] are texts for the one and numbers for the other"),
    ],
)
def test_a_champion_of_other_inputs_cannot_be_compared_with(
    bare: Any, frame: Any, parts: Any, trained: Any, update: dict[str, str], said: str
) -> None:
    champion = _champion(trained["model"])
    signature = champion.manifest.signature
    other = signature.inputs[0].model_copy(update=update)
    changed = signature.model_copy(update={"inputs": (other, *signature.inputs[1:])})
    manifest = champion.manifest.model_copy(update={"signature": changed})
    champion = champion.model_copy(update={"manifest": manifest})
    got = _compare(bare, frame, parts, trained["model"], champion)
    assert isinstance(got, Halt)
    assert f"champion 3 cannot be compared with: {said}" in got.result["reason"]
    assert not isinstance(_compare(bare, frame, parts, trained["model"], champion, rule="absolute"), Halt)


def test_a_champion_whose_files_were_altered_is_an_error(
    bare: Any, frame: Any, parts: Any, trained: Any, weak: Any
) -> None:
    champion = _champion(weak)
    file = next(weak.glob("model.*"))
    file.write_bytes(file.read_bytes() + b"!")
    with pytest.raises(ModelLoadFailed, match="SHA-256"):
        _compare(bare, frame, parts, trained["model"], champion)


def test_a_slice_on_which_the_candidate_fails_refuses_it(
    bare: Any, frame: Any, parts: Any, trained: Any, weak: Any
) -> None:
    sunday = pa.compute.equal(frame["day"], 0)
    flipped = pa.compute.if_else(sunday, pa.compute.subtract(1, frame["label"]), frame["label"])
    frame = frame.set_column(1, "label", flipped)
    champion = _champion(weak)
    assert not isinstance(_compare(bare, frame, parts, trained["model"], champion), Halt)
    got = _compare(bare, frame, parts, trained["model"], champion, slice_tolerance=0.05)
    assert isinstance(got, Halt)
    assert "slices ['day=0']" in got.result["reason"]


@pytest.mark.parametrize(
    ("changes", "gate", "reason"),
    [
        ({"train": {"log_loss": 0.7}}, {}, "learned: log_loss 0.7000 on the rows it was fitted on, 0.6900 of the"),
        ({"baseline": {"log_loss": 0.5}}, {}, "beats_baseline: log_loss 0.5000 on the holdout, 0.5000 of the"),
        (
            {"fit": {"converged": True, "curve": [[1, 0.4], [30, 0.6]]}},
            {},
            "loss_falls: loss 0.4000 after 1 rounds, 0.6000 after 30",
        ),
        ({}, {"max_calibration_error": 0.01}, "calibrated: ECE 0.0300, at most 0.01"),
        ({}, {"slice_max_loss_ratio": 1.5}, "loss significantly above 0.7500 on ['day=0']"),
    ],
)
def test_a_model_that_fails_a_check_is_refused_whatever_the_champion(
    bare: Any, frame: Any, parts: Any, trained: Any, weak: Any, changes: Any, gate: Any, reason: str
) -> None:
    got = _compare(bare, frame, parts, trained["model"], _champion(weak), {**EVALUATION, **changes}, **gate)
    assert isinstance(got, Halt)
    assert "the model fails 1 of" in got.result["reason"]
    assert reason in got.result["reason"]
    (blessing,) = got.result["blessings"]
    assert (blessing["kind"], blessing["granted"]) == ("evaluation", False)


def test_bars_that_are_met_are_no_reason(bare: Any, frame: Any, parts: Any, trained: Any, weak: Any) -> None:
    gate = {"max_calibration_error": 0.05, "slice_max_loss_ratio": 1.7}
    got = _compare(bare, frame, parts, trained["model"], _champion(weak), **gate)
    assert {"calibrated", "slices"} <= {check["name"] for check in got["dossier"]["checks"]}
