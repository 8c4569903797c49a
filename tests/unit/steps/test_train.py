from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from raymlops.pipelines import Halt
from raymlops.steps import TrainingContext
from raymlops.steps.train import refit_winner, train
from raymlops.steps.validation.infra_probe import probe
from raymlops.steps.validation.served import load_packaged, predictions_of

DOSSIER = {"metrics": {"log_loss": 0.5}, "champion_metrics": {}, "comparison": {}, "reason": "better"}


def _refit(bare: TrainingContext, frame: pa.Table, parts: Any, winner: Any, trained: Any, *, refit: bool = True) -> Any:
    return refit_winner(
        bare,
        frame=frame,
        parts=parts,
        winner=winner,
        model=trained["model"],
        probes=trained["probes"],
        dossier=DOSSIER,
        refit=refit,
    )


def test_the_package_answers_as_the_estimator_did(trained: dict[str, Any]) -> None:
    probes = trained["probes"]
    assert probes.num_rows == 68
    odd = probes.slice(64).select(["day", "v__x"]).to_pylist()
    assert odd[:2] == [{"day": None, "v__x": None}, {"day": 0, "v__x": 0.0}]
    assert [row["day"] for row in odd[2:]] == [-60, 66], "ten times the range of 0 to 6 beyond its ends"
    got = predictions_of(load_packaged(trained["model"]), probes)
    expected = np.column_stack([probes["expected.0"], probes["expected.1"]])
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_a_refit_has_seen_all_rows(
    bare: TrainingContext, frame: pa.Table, parts: Any, winner: Any, trained: dict[str, Any]
) -> None:
    got = _refit(bare, frame, parts, winner, trained)
    fitted = got["dossier"]["fitted"]
    assert fitted["refit"] is True
    assert fitted["rows"] == 1200
    assert fitted["trained_until"] == frame["event_time"][-1].as_py().isoformat()
    assert fitted["holdout_from"] == frame["event_time"][900].as_py().isoformat()
    assert fitted["checked"]["rows"] == 1200
    assert fitted["checked"]["loss"] <= fitted["checked"]["loss_before"]
    assert got["model"] != trained["model"]
    assert got["dossier"]["metrics"] == DOSSIER["metrics"]
    assert not got["probes"].equals(trained["probes"])


def test_without_a_refit_the_model_stays_what_was_judged(
    bare: TrainingContext, frame: pa.Table, parts: Any, winner: Any, trained: dict[str, Any]
) -> None:
    got = _refit(bare, frame, parts, winner, trained, refit=False)
    assert got["model"] == trained["model"]
    assert got["probes"] is trained["probes"]
    assert got["dossier"]["fitted"]["rows"] == 900
    assert got["dossier"]["fitted"]["trained_until"] == frame["event_time"][899].as_py().isoformat()


@pytest.mark.parametrize("spoil", ["worse than before", "worse than nothing"])
def test_a_refit_that_went_wrong_is_refused(
    bare: TrainingContext, frame: pa.Table, parts: Any, winner: Any, trained: dict[str, Any], spoil: str
) -> None:
    if spoil == "worse than before":
        winner = {**winner, "params": {"C": 1e-4}}
    else:
        # the model before is as bad, so that the constant baseline alone tells
        winner = {**winner, "family": "logistic", "params": {"C": 1e-12, "fit_intercept": False}}
        frame = frame.set_column(1, "label", pa.array((np.arange(1200) % 10 == 0).astype(np.int64)))
    got = _refit(bare, frame, parts, winner, trained)
    assert isinstance(got, Halt)
    assert got.result["outcome"] == "refused"
    assert got.result["reason"].startswith("refit is not sane")
    assert got.result["metrics"] == DOSSIER["metrics"]


def test_an_estimator_that_takes_no_missing_values_is_not_asked_with_them(
    bare: TrainingContext, frame: pa.Table, parts: Any, winner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    whole = frame.filter(pc.and_(pc.is_valid(frame["v__x"]), pc.is_valid(frame["v__y"])))
    sizes = {"validation": 500, "holdout": 700, "rows": whole.num_rows}
    own = {**winner, "family": "own_estimators:bare", "params": {"C": 1.0}}
    got = train(bare, frame=whole, parts={**parts, **sizes}, winner=own)
    assert not isinstance(got, Halt)
    assert got["probes"].num_rows == 67
    assert got["fit"]["takes_missing"] is False
    assert probe(got["model"], got["probes"])["problem"] == ""


def test_a_model_that_answers_no_number_a_little_beyond_what_was_seen_is_refused(
    bare: TrainingContext, frame: pa.Table, parts: Any, winner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    task = {**parts["task"], "kind": "regressor", "metric": "rmse", "inputs": ["day"]}
    own = {**winner, "family": "own_estimators:exploding", "params": {}}
    got = train(bare, frame=frame, parts={**parts, "task": task}, winner=own)
    assert isinstance(got, Halt)
    assert got.result["outcome"] == "refused"
    assert "must answer every row of values: {'day': -60}" in got.result["reason"]
    assert got.result["blessings"][0]["granted"] is False


def test_rows_that_lack_a_class_train_no_model(bare: TrainingContext, frame: pa.Table, parts: Any, winner: Any) -> None:
    """A trial may lack one, and is judged for it; a model that could never answer it is not served."""
    task = parts["task"] | {"classes": 3}
    halt = train(bare, frame=frame, parts={**parts, "task": task}, winner=winner)
    assert isinstance(halt, Halt)
    assert "must hold all 3 classes, got none of [2]" in halt.result["reason"]
