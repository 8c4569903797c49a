from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.errors import ConfigError
from raymlops.experiments import SearchSpace

FAMILIES = {
    "xgboost": {
        "n_estimators": 200,
        "max_depth": {"int": [3, 9]},
        "learning_rate": {"log_uniform": [0.01, 0.3]},
        "subsample": {"uniform": [0.5, 1.0]},
        "max_bin": {"log_int": [16, 256]},
        "grow_policy": {"choice": ["depthwise", "lossguide"]},
    },
    "logistic": {"C": {"log_uniform": [0.001, 10.0]}},
}


@given(seed=st.integers(0, 2**32), n=st.integers(0, 40), warm=st.integers(0, 2))
def test_trials_are_numbered_in_range_and_repeatable(seed: int, n: int, warm: int) -> None:
    space, known = SearchSpace(FAMILIES), [("logistic", {"C": 1.0})] * warm
    if n + warm == 0:
        with pytest.raises(ConfigError, match="at least one trial"):
            space.sample(seed, n, warm=known)
        return
    specs = space.sample(seed, n, warm=known)
    assert specs == space.sample(seed, n, warm=known)
    assert [spec.number for spec in specs] == list(range(n + warm))
    assert [spec.origin for spec in specs] == ["champion"] * warm + ["sampled"] * n
    assert [spec.family for spec in specs[warm:]] == [("xgboost", "logistic")[turn % 2] for turn in range(n)]
    for spec in specs[warm:]:
        if spec.family == "logistic":
            assert 0.001 <= spec.params["C"] <= 10.0
            continue
        assert spec.params["n_estimators"] == 200
        assert spec.params["max_depth"] in range(3, 10)
        assert 0.01 <= spec.params["learning_rate"] <= 0.3
        assert 0.5 <= spec.params["subsample"] <= 1.0
        assert spec.params["max_bin"] in range(16, 257)
        assert spec.params["grow_policy"] in {"depthwise", "lossguide"}


@given(seed=st.integers(0, 1000))
def test_draws_cover_every_part_of_a_range(seed: int) -> None:
    specs = SearchSpace({"xgboost": {"max_depth": {"int": [1, 7]}, "subsample": {"uniform": [0.0, 1.0]}}}).sample(
        seed, 7
    )
    assert sorted(spec.params["max_depth"] for spec in specs) == list(range(1, 8))
    assert sorted(int(spec.params["subsample"] * 7) for spec in specs) == list(range(7))


def test_seeds_matter() -> None:
    space = SearchSpace(FAMILIES)
    assert space.sample(0, 4) != space.sample(1, 4)


def test_another_draw_gives_other_parameters_by_the_same_seed() -> None:
    first, second = (SearchSpace(FAMILIES).sample(7, 4, draw=draw) for draw in (0, 1))
    assert [spec.seed for spec in first] == [spec.seed for spec in second]
    assert all(one.params != other.params for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("families", "rule"),
    [
        ({}, "at least one family"),
        ({"svm": {}}, "family must be one of"),
        ({"xgboost": {"max_depth": {"ints": [1, 2]}}}, "constant or one of"),
        ({"xgboost": {"max_depth": {"int": [1, 2], "uniform": [1, 2]}}}, "constant or one of"),
        ({"xgboost": {"max_depth": [1, 2]}}, "constant or one of"),
        ({"xgboost": {"max_depth": {"int": [3, 1]}}}, "low <= high"),
        ({"xgboost": {"max_depth": {"int": [1.5, 3]}}}, "low <= high"),
        ({"xgboost": {"max_depth": {"int": [1]}}}, "low <= high"),
        ({"xgboost": {"max_depth": {"int": 3}}}, "takes a list"),
        ({"xgboost": {"eta": {"log_uniform": [0.0, 1.0]}}}, "low above 0"),
        ({"xgboost": {"eta": {"choice": []}}}, "takes a list"),
        ({"xgboost": {"n_jobs": 8}}, "set by the platform"),
    ],
)
def test_a_space_that_is_none_is_refused(families: dict[str, dict[str, object]], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        SearchSpace(families)


def test_a_negative_number_of_trials_is_refused() -> None:
    with pytest.raises(ConfigError, match="n = -1"):
        SearchSpace(FAMILIES).sample(0, -1)
