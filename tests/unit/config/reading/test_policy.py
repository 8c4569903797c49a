from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from raymlops.config import ControlConfig, DriftCount, FallbackConfig, RetrainConfig, TriggersConfig
from raymlops.config.reading.policy import check_policy, resolve_policy
from raymlops.errors import ConfigError

PLATFORM = ControlConfig(act_attempts=3, retrain=RetrainConfig(cooldown=timedelta(days=5), budget_runs=7))


def test_a_project_that_says_nothing_has_the_platforms_policy() -> None:
    config, sources = resolve_policy(PLATFORM, None, "dev")
    assert config == PLATFORM
    assert {name for name, by in sources.items() if by == "platform.yaml"} == {
        "retrain.cooldown",
        "retrain.budget_runs",
    }
    assert sources["trial.weight"] == sources["triggers.drift.n"] == sources["triggers.max_age"] == "defaults"


def test_only_what_differs_is_said_and_the_environment_has_the_last_word() -> None:
    policy = {
        "triggers": {"drift": {"n": 3}, "performance": None},
        "retrain": {"cooldown": "3d"},
        "trial": {"ramp": [0.3, 0.5]},
        "environments": {"prod": {"retrain": {"cooldown": "10d"}, "triggers": {"performance": {"n": 1}}}},
    }
    config, sources = resolve_policy(PLATFORM, policy, "dev", source="bundle")
    assert config.act_attempts == 3
    assert (config.triggers.drift, config.triggers.performance) == (DriftCount(n=3, of=3), None)
    assert (config.retrain.cooldown, config.retrain.budget_runs) == (timedelta(days=3), 7)
    assert config.trial.ramp == (0.3, 0.5)
    told = ("triggers.drift.n", "triggers.drift.of", "triggers.performance", "retrain.budget_runs", "trial.ramp")
    assert [sources[name] for name in told] == ["bundle", "defaults", "bundle", "platform.yaml", "bundle"]
    there, sources = resolve_policy(PLATFORM, policy, "prod", source="bundle")
    assert there.retrain.cooldown == timedelta(days=10)
    assert there.triggers.performance is not None
    assert (there.triggers.performance.n, there.triggers.performance.of) == (1, 3)
    assert [sources[name] for name in ("retrain.cooldown", "triggers.performance.n", "triggers.performance.of")] == [
        "bundle, environment prod",
        "bundle, environment prod",
        "defaults",
    ]


def test_a_project_may_say_below_which_floor_its_champion_gives_way() -> None:
    platform = ControlConfig(fallback=FallbackConfig(floor={"brier": 0.3}))
    policy = {"fallback": {"floor": {"auc": 0.7}}, "environments": {"dev": {"fallback": {"windows": None}}}}
    config, sources = resolve_policy(platform, policy, "prod", source="bundle")
    assert (config.fallback.floor, config.fallback.versions) == ({"brier": 0.3, "auc": 0.7}, 3)
    told = ("fallback.floor.auc", "fallback.floor.brier", "fallback.versions")
    assert [sources[name] for name in told] == ["bundle", "platform.yaml", "defaults"]
    assert resolve_policy(platform, policy, "dev").config.fallback.windows is None
    assert check_policy({"fallback": {"floor": {"speed": 1.0}}}) != []


def test_what_the_platform_switched_off_can_be_switched_on() -> None:
    platform = ControlConfig(triggers=TriggersConfig(drift=None))
    config, sources = resolve_policy(platform, {"triggers": {"drift": {"n": 1}}}, "dev")
    assert config.triggers.drift == DriftCount(n=1)
    assert sources["triggers.drift.of"] == "defaults"
    assert resolve_policy(platform, None, "dev").sources["triggers.drift"] == "platform.yaml"


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        ({"retrain": {"cooldown": 3}}, "project.yaml: policy.retrain.cooldown must carry its unit.*got 3"),
        ({"retrain": {"budget": 3}}, r"policy\.retrain\.budget is not a setting; known here: .*budget_runs"),
        ({"enabled": True}, "policy.enabled is not a setting; known here: fallback, health, retrain, trial, triggers"),
        ({"trial": {"weight": "0.2"}}, "policy.trial.weight must be a valid number, got '0.2'"),
        ({"triggers": {"drift": {"n": 4}}}, "policy.triggers.drift n must not exceed of, which is 3"),
        ({"trial": {"tolerance": 1}}, "policy.trial.tolerance is now margin"),
        ({"trial": []}, "policy.trial must be an object"),
        ({"environments": ["prod"]}, "policy.environments must map names to sections"),
        ({"environments": {"prod": 1}}, "policy.environments.prod must be a mapping of sections, got 1"),
        ({"environments": {"Prod": {}}}, "policy.environments: .*'Prod'"),
        (
            {"environments": {"prod": {"trial": {"weight": 2.0}}}},
            "project.yaml, environment prod: policy.trial.weight must be less than or equal to 1, got 2.0",
        ),
    ],
)
def test_every_fault_names_its_setting(policy: dict[str, Any], fault: str) -> None:
    (found,) = check_policy(policy)
    with pytest.raises(ConfigError, match=fault):
        raise ConfigError(found)


def test_a_policy_may_be_sound_by_itself_and_not_over_a_platform() -> None:
    policy = {"trial": {"weight": 0.4}}
    assert check_policy(policy) == []
    platform = resolve_policy(ControlConfig(), {"trial": {"ramp": [0.3]}}, "dev").config
    (fault,) = check_policy(policy, platform)
    assert "ramp must be ascending shares above 0.4" in fault


def test_all_faults_are_told_once() -> None:
    policy = {
        "trial": {"weight": 2.0},
        "retrain": {"cooldown": 1},
        "environments": {"prod": {"health": {"min_rows": 0}}},
    }
    assert len(check_policy(policy)) == 3
