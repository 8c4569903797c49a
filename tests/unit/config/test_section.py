from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from raymlops.config import ControlConfig, HealthConfig, PlatformConfig, RetrainConfig, TrialConfig, WindowCount
from raymlops.config.section import parse_duration, render_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7d", timedelta(days=7)),
        ("1h30m", timedelta(minutes=90)),
        ("250ms", timedelta(milliseconds=250)),
        ("13w", timedelta(weeks=13)),
        ("0s", timedelta()),
        ("5us", timedelta(microseconds=5)),
    ],
)
def test_reads_durations(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "7", "d", "-7d", "1.5h", "7 d", "7days", "7d ", "1h 30m"])
def test_refuses_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="whole numbers with a unit"):
        parse_duration(text)


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=100_000)))
def test_rendered_durations_read_back(duration: timedelta) -> None:
    assert parse_duration(render_duration(duration)) == duration


def test_sections_are_frozen_and_closed() -> None:
    config = ControlConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.enabled = False  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        ControlConfig.model_validate({"enabeld": True})


def test_sections_survive_json() -> None:
    config = ControlConfig(retrain=RetrainConfig(cooldown=timedelta(hours=36)))
    assert '"cooldown":"1d12h"' in config.model_dump_json()
    assert ControlConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("kind", "values", "rule"),
    [
        (WindowCount, {"n": 4, "of": 3}, "n must not exceed of"),
        (TrialConfig, {"mode": "canary", "weight": 1.0}, "below 1"),
        (TrialConfig, {"look_every": "0s"}, "longer than 0s"),
        (RetrainConfig, {"cooldown": timedelta(seconds=-1)}, "not be negative"),
        (RetrainConfig, {"cooldown": 3600}, "carry its unit"),
        (TrialConfig, {"weight": 0.5, "ramp": (0.3,)}, "ascending shares above 0.5"),
        (TrialConfig, {"ramp": (0.3, 1.0)}, "below 1"),
        (TrialConfig, {"min_labelled_rows": 300, "max_labelled_rows": 200}, "must not exceed max_labelled_rows"),
        (TrialConfig, {"answers_between": (1.0, 1.0)}, "a lower and a higher number"),
        (TrialConfig, {"correlated_within": "customer"}, "whole numbers with a unit"),
        (HealthConfig, {"max_fault_share": 1.5}, "between 0 and 1"),
    ],
)
def test_rules(kind: type, values: dict[str, object], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        kind(**values)


def test_a_trial_may_switch_its_probation_off_and_ramp() -> None:
    text = '{"probation": null, "ramp": [0.3, 0.5], "answers_between": [0, 9], "correlated_within": "1d"}'
    config = TrialConfig.model_validate_json(text, strict=True)
    assert (config.probation, config.ramp, config.answers_between) == (None, (0.3, 0.5), (0.0, 9.0))
    assert config.correlated_within == timedelta(days=1)
    assert TrialConfig(correlated_within="entity").correlated_within == "entity"


def test_a_shadow_may_see_everything() -> None:
    assert TrialConfig(mode="shadow", weight=1.0).weight == 1.0


def test_every_default_keeps_its_own_rules() -> None:
    config = PlatformConfig()
    assert PlatformConfig.model_validate(config.model_dump()) == config
    assert PlatformConfig.model_validate_json(config.model_dump_json(), strict=True) == config
