from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from raymlops.errors import ConfigError, NoViableModel
from raymlops.experiments import InProcessTuner
from raymlops.steps import TrainingContext
from raymlops.steps.tune import SearchPlan, tune

SEARCH = {"logistic": {"C": {"log_uniform": [0.01, 1.0]}}}


def _metadata(**parameters: Any) -> Any:
    version = SimpleNamespace(parameters=parameters)
    return SimpleNamespace(models=SimpleNamespace(get_version=lambda name, number: version))


def _tune(context: TrainingContext, frame: pa.Table, parts: dict[str, Any], tuner: Any = None, **changes: Any) -> Any:
    plan = {"trials": 3, "seed": 5, **{name: changes.pop(name) for name in SearchPlan.model_fields if name in changes}}
    asked = {"pin": {"champion": None, "as_of": "2013-03-01"}, "search": SEARCH, "searching": plan, **changes}
    return tune(replace(context, tuner=tuner or InProcessTuner()), frame=frame, parts=parts, **asked)


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
        _tune(bare, frame, parts, Counting(), trials=1, search_rows=search_rows)
    assert seen[1] == 50 < seen[0]


class Dying(InProcessTuner):
    """A process that is killed after some trials."""

    def __init__(self, after: int) -> None:
        self.left = after

    def search(self, trials: Any, *arguments: Any, **named: Any) -> Any:
        tell, left = trials.tell, [self.left]

        def tell_and_die(result: Any) -> None:
            tell(result)
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt

        trials.tell = tell_and_die
        return super().search(trials, *arguments, **named)


class Counted(InProcessTuner):
    def __init__(self) -> None:
        self.ran = 0

    def search(self, *arguments: Any, **named: Any) -> Any:
        results = super().search(*arguments, **named)
        self.ran = len(results)
        return results


@pytest.mark.parametrize("sampler", ["drawn", "tpe"])
def test_a_search_that_was_killed_goes_on_after_its_finished_trials(
    bare: TrainingContext, frame: pa.Table, parts: dict[str, Any], sampler: str
) -> None:
    whole = _tune(bare, frame, parts, sampler=sampler, trials=5)
    with pytest.raises(KeyboardInterrupt):
        _tune(bare, frame, parts, Dying(2), sampler=sampler, trials=5)
    rest = Counted()
    resumed = _tune(bare, frame, parts, rest, sampler=sampler, trials=5)
    assert rest.ran == 3
    assert resumed["winner"] == whole["winner"]
    assert [trial["params"] for trial in resumed["trials"]] == [trial["params"] for trial in whole["trials"]]
    assert list((bare.home / "searches").iterdir()) == []


def test_other_rows_are_another_search(bare: TrainingContext, frame: pa.Table, parts: dict[str, Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        _tune(bare, frame, parts, Dying(2), trials=5)
    other, rest = frame.set_column(3, "v__x", pa.array([0.0, *frame["v__x"].to_pylist()[1:]])), Counted()
    _tune(bare, other, parts, rest, trials=5)
    assert rest.ran == 5


def test_a_grid_of_more_points_than_trials_is_refused(
    bare: TrainingContext, frame: pa.Table, parts: dict[str, Any]
) -> None:
    assert len(_tune(bare, frame, parts, sampler="grid")["trials"]) == 3
    with pytest.raises(ConfigError, match="the grid has 3 points, trials allows 2"):
        _tune(bare, frame, parts, sampler="grid", trials=2)


def test_training_windows_are_part_of_the_search(bare: TrainingContext, frame: pa.Table, parts: dict[str, Any]) -> None:
    """Before the 17th day the labels say the opposite: the winner is a trial that leaves those rows out."""
    turned = [1 - label if row < 500 else label for row, label in enumerate(frame["label"].to_pylist())]
    frame = frame.set_column(1, "label", pa.array(turned))
    search = {"logistic": {"window_days": {"choice": ["all", 4, 15]}, "half_life_days": {"choice": [None, 20]}}}
    got = _tune(bare, frame, parts, search=search, sampler="grid", trials=6)
    assert got["winner"]["params"]["window_days"] == 4
    assert len(got["trials"]) == 6


def test_an_estimator_that_cannot_be_packaged_is_refused_before_the_search(
    bare: TrainingContext, frame: pa.Table, parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    tuner = Counted()
    for name, reason in (
        ("untrusted", "trusted types only"),
        ("unnamed", "cannot be imported"),
        ("fails", "cannot fit"),
    ):
        with pytest.raises(ConfigError, match=reason):
            _tune(bare, frame, parts, tuner, search={f"own_estimators:{name}": {}})
    assert tuner.ran == 0


def test_an_estimator_of_the_project_is_searched_like_any_other(
    bare: TrainingContext, frame: pa.Table, parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    space = {"own_estimators:polynomial": {"logisticregression__C": {"log_uniform": [0.01, 1.0]}}}
    got = _tune(bare, frame, parts, search=space, trials=2)
    assert got["winner"]["family"] == "own_estimators:polynomial"
    assert got["winner"]["metrics"]["log_loss"] < 0.6
