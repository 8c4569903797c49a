from __future__ import annotations

from typing import Any

import pytest

from raymlops.errors import ConfigError
from raymlops.records.bundles import ProjectSpec
from raymlops.steps import TrainingParameters, training_parameters


def _project(**training: Any) -> ProjectSpec:
    return ProjectSpec(name="p", model="m", definitions="a:b", service="s", spine="a:c", training=training)


def test_a_run_overrides_its_project_and_that_the_defaults() -> None:
    got = training_parameters(_project(trials=3, seed=1, quality={"min_rows": 7}), {"seed": 2})
    assert (got.trials, got.seed, got.quality.min_rows) == (3, 2, 7)
    assert got.holdout_days == TrainingParameters().holdout_days


def test_quality_is_merged_rule_by_rule() -> None:
    got = training_parameters(_project(quality={"min_rows": 7}), {"quality": {"max_missing_share": None}}).quality
    assert (got.min_rows, got.max_missing_share) == (7, None)


def test_a_search_is_replaced_as_a_whole() -> None:
    got = training_parameters(_project(search={"logistic": {}}), {"search": {"xgboost": {}}})
    assert got.search == {"xgboost": {}}


@pytest.mark.parametrize(
    ("training", "rule"),
    [
        ({"trails": 3}, "trails"),
        ({"trials": 0}, "trials: .*got 0"),
        ({"holdout_days": 0}, "holdout_days"),
        ({"as_of": "2013-01-01T00:00:00"}, "as_of: .*timezone"),
        ({"rule": "best"}, "rule"),
        ({"train_window_days": 14, "holdout_days": 14}, "train_window_days must be above holdout_days"),
        ({"quality": {"min_row": 1}}, "quality.min_row"),
        ({"quality": 3}, "quality"),
    ],
)
def test_what_is_not_allowed_is_refused(training: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        training_parameters(_project(), training)


def test_a_search_space_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="family must be one of"):
        training_parameters(_project(search={"svm": {}}), {})
