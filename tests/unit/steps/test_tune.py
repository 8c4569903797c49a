from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from raymlops.errors import ConfigError, NoViableModel
from raymlops.experiments import InProcessTuner
from raymlops.steps import TrainingContext
from raymlops.steps.tune import tune

SEARCH = {"logistic": {"C": {"log_uniform": [0.01, 1.0]}}}


def _metadata(**parameters: Any) -> Any:
    return SimpleNamespace(get_version=lambda name, version: SimpleNamespace(parameters=parameters))


def _tune(context: TrainingContext, frame: pa.Table, parts: dict[str, Any], **changes: Any) -> Any:
    asked = {"pin": {"champion": None, "as_of": "2013-03-01"}, "search": SEARCH, "trials": 3, "seed": 5, **changes}
    return tune(replace(context, tuner=InProcessTuner()), frame=frame, parts=parts, **asked)


def test_the_winner_is_the_best_trial(bare: TrainingContext, frame: pa.Table, parts: dict[str, Any]) -> None:
    got = _tune(bare, frame, parts)
    losses = [trial["metrics"]["log_loss"] for trial in got["trials"]]
    assert got["winner"]["trial"] == losses.index(min(losses))
    assert got["winner"]["seed"] == 5
    assert got["winner"]["params"] == {"C": got["trials"][got["winner"]["trial"]]["params"]["C"]}
    assert {trial["status"] for trial in got["trials"]} == {"succeeded"}


def test_another_instant_has_other_trials_and_the_same_one_the_same(
    bare: TrainingContext, frame: pa.Table, parts: dict[str, Any]
) -> None:
    tried = [
        [trial["params"] for trial in _tune(bare, frame, parts, pin={"champion": None, "as_of": as_of})["trials"]]
        for as_of in ("2013-03-01", "2013-03-01", "2013-03-08")
    ]
    assert tried[0] == tried[1]
    assert tried[0] != tried[2]


def test_the_champion_is_always_tried_first(bare: TrainingContext, frame: pa.Table, parts: dict[str, Any]) -> None:
    known = _metadata(family="xgboost", **{"params.n_estimators": 7, "params.max_depth": 2}, seed=3, refit=True)
    got = _tune(replace(bare, metadata=known), frame, parts, pin={"champion": 4, "as_of": "2013-03-01"})
    first = got["trials"][0]
    assert (first["origin"], first["family"]) == ("champion", "xgboost")
    assert first["params"] == {"family": "xgboost", "n_estimators": 7, "max_depth": 2}
    assert len(got["trials"]) == 4


@pytest.mark.parametrize("parameters", [{}, {"family": "svm"}])
def test_a_champion_that_no_search_has_made_is_not_tried(
    bare: TrainingContext, frame: pa.Table, parts: dict[str, Any], parameters: dict[str, Any]
) -> None:
    got = _tune(
        replace(bare, metadata=_metadata(**parameters)), frame, parts, pin={"champion": 4, "as_of": "2013-03-01"}
    )
    assert len(got["trials"]) == 3


def test_a_parameter_that_a_family_lacks_stops_before_the_search(
    bare: TrainingContext, frame: pa.Table, parts: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"no parameters \['depth'\]"):
        _tune(bare, frame, parts, search={"xgboost": {"depth": 3}})


def test_a_search_in_which_all_fails_is_an_error(bare: TrainingContext, frame: pa.Table, parts: dict[str, Any]) -> None:
    with pytest.raises(NoViableModel, match="none of 3 trials"):
        _tune(bare, frame, parts, search={"logistic": {"C": -1.0}})


def test_trials_fit_on_a_sample_where_one_is_asked_for(
    bare: TrainingContext, frame: pa.Table, parts: dict[str, Any]
) -> None:
    seen: list[int] = []

    class Counting(InProcessTuner):
        def search(self, specs: Any, train: pa.Table, valid: pa.Table, **asked: Any) -> Any:
            seen.append(train.num_rows)
            return super().search(specs, train, valid, **asked)

    for search_rows in (None, 50):
        asked = {"pin": {"champion": None, "as_of": "2013-03-01"}, "search": SEARCH, "trials": 1, "seed": 5}
        tune(replace(bare, tuner=Counting()), frame=frame, parts=parts, **asked, search_rows=search_rows)
    assert seen[1] == 50 < seen[0]
