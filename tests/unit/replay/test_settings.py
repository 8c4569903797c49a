"""The platform of a replay follows from the windows, where the project's platform.yaml says nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from raymlops.errors import ConfigError, NotEnoughRows
from raymlops.replay.plan import Sample, Wishes
from raymlops.replay.settings import free_port, plan_replay, platform_config, read_policy
from raymlops.replay.source import load_project

Make = Callable[..., Path]
DAY = timedelta(days=1)


def test_windows_delay_and_guards_follow_from_the_table(make_project: Make, tmp_path: Path) -> None:
    planned = plan_replay(load_project(make_project()), Wishes())
    assert planned.plan.window == 28 * DAY
    assert planned.label_delay == timedelta(hours=6)
    config = platform_config(planned, tmp_path / "home", 23399, None)
    assert (config.home, config.serving.port, config.clock.kind) == (tmp_path / "home", 23399, "replay")
    assert config.monitoring.window == planned.plan.window
    assert config.monitoring.anchor == planned.plan.origin
    assert config.monitoring.label_delay == timedelta(hours=6)
    assert config.control.retrain.cooldown == planned.plan.window, "of the few windows that there are"
    assert config.features.history >= max(planned.plan.steps)
    assert config.monitoring.performance.min_labelled_rows <= planned.rows


def test_what_the_projects_platform_says_wins(make_project: Make, tmp_path: Path) -> None:
    directory = make_project(replay={"source": "MODULE:tables", "steps": ["4d", "6d"], "sample": 50})
    (directory / "platform.yaml").write_text(
        "monitoring: {window: 10d, anchor: 2026-01-01T03:00:00Z, label_delay: 1d}\n"
        "control: {trial: {weight: 0.5}}\nhome: /elsewhere\nserving: {port: 1}\n"
    )
    planned = plan_replay(load_project(directory), Wishes())
    assert (planned.plan.window, planned.plan.steps) == (10 * DAY, (4 * DAY, 6 * DAY))
    assert planned.plan.origin == datetime(2025, 12, 22, 3, tzinfo=UTC)
    assert planned.plan.sample == Sample(rows=50)
    config = platform_config(planned, tmp_path / "home", 23399, {"trial": {"margin": 0.3}})
    assert (config.control.trial.weight, config.control.trial.margin) == (0.5, 0.3)
    assert config.control.trial.max_duration == 30 * DAY, "derived, since the project does not say"
    assert (config.home, config.serving.port) == (tmp_path / "home", 23399), "the replay's own"


def test_variables_of_the_environment_are_for_other_platforms(
    make_project: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYMLOPS_HOME", "/production")
    monkeypatch.setenv("RAYMLOPS_METADATA__URL", "postgresql://production")
    planned = plan_replay(load_project(make_project()), Wishes())
    config = platform_config(planned, tmp_path / "home", 23399, None)
    assert config.home == tmp_path / "home"
    assert config.metadata.url is None


def test_settings_that_are_asked_for_win_but_for_home_and_clock(make_project: Make, tmp_path: Path) -> None:
    planned = plan_replay(load_project(make_project()), Wishes())
    settings = {
        "features": {"root": "s3://bucket/rows"},
        "control": {"trial": {"weight": 0.4}},
        "clock": {"kind": "system"},
    }
    config = platform_config(planned, tmp_path / "home", 23399, {"trial": {"margin": 0.3}}, settings)
    assert (config.features.root, config.clock.kind) == ("s3://bucket/rows", "replay")
    assert (config.control.trial.weight, config.control.trial.margin) == (0.4, 0.3)
    assert config.features.history >= max(planned.plan.steps), "what is not asked for stays"


def test_a_setting_that_is_wrong_is_refused_by_name(make_project: Make, tmp_path: Path) -> None:
    planned = plan_replay(load_project(make_project()), Wishes())
    with pytest.raises(ConfigError, match=r"control\.trial\.wait is not a setting"):
        platform_config(planned, tmp_path / "home", 23399, {"trial": {"wait": 1}})


def test_rules_of_the_training_say_what_is_too_small(make_project: Make) -> None:
    training = {"quality": {"min_rows": 100_000}}
    with pytest.raises(NotEnoughRows, match="training needs 100000"):
        plan_replay(load_project(make_project(training=training)), Wishes())


@pytest.mark.parametrize(
    "document", ["policy: {trial: {weight: 0.2}}", "control: {trial: {weight: 0.2}}", "trial: {weight: 0.2}"]
)
def test_a_policy_is_read_plain_or_from_its_section(document: str, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(document)
    assert read_policy(tmp_path / "policy.yaml") == {"trial": {"weight": 0.2}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        ("a: [", "is not YAML"),
        ("- 1", "must hold a mapping of settings, got list"),
    ],
)
def test_a_policy_that_is_none_is_refused(content: str | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "policy.yaml").write_text(content)
    with pytest.raises(ConfigError, match=said) as refused:
        read_policy(tmp_path / "policy.yaml")
    assert "\n" not in str(refused.value)


def test_a_free_port_can_be_listened_on() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port()))
