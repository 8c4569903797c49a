from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.config import ControlConfig, RetrainConfig, TriggersConfig, WindowCount
from raymlops.control.triggering.policies import RetrainOutcome, RetrainPolicy, RetrainRequest, RetrainVerdict
from raymlops.testing.control_examples import DAY, START, example_window

BAD = example_window(9, degraded=True)
LIMITS = RetrainConfig(
    cooldown=3 * DAY, min_labelled_rows=400, budget_runs=2, budget_period=20 * DAY, backoff_max=10 * DAY
)
TRIGGERS = TriggersConfig(performance=WindowCount(n=1, of=1), drift=None)


def evaluate(limits: RetrainConfig = LIMITS, triggers: TriggersConfig = TRIGGERS, **changes: Any) -> RetrainVerdict:
    values = {"now": BAD.end, "champion_since": START, "windows": [BAD], **changes}
    return RetrainPolicy(ControlConfig(triggers=triggers, retrain=limits)).evaluate(RetrainRequest(**values))


def ago(*days: int) -> list[object]:
    return [BAD.end - day * DAY for day in days]


@pytest.mark.parametrize(
    ("changes", "outcome", "reason"),
    [
        ({}, "retrain", "champion degraded in 1 of the last 1 windows"),
        ({"windows": []}, "quiet", "no trigger fired"),
        ({"windows": [example_window(9)]}, "quiet", "no trigger fired"),
        ({"windows": [BAD, example_window(10, quality="block")]}, "block", "column wind is missing"),
        ({"windows": [example_window(9, degraded=True, quality="block")]}, "block", "column wind is missing"),
        ({"windows": [example_window(9, quality="block")]}, "quiet", "no trigger fired"),
        ({"used": frozenset({"20130314T000000Z"})}, "quiet", "decided on 20130314T000000Z before"),
        ({"started": ago(2)}, "hold", "cooling down until 2013-03-15"),
        ({"started": ago(3)}, "retrain", "degraded"),
        ({"started": ago(5), "rejections": 1}, "hold", "cooling down until 2013-03-15"),
        ({"started": ago(6), "rejections": 1}, "retrain", "degraded"),
        ({"started": ago(9), "rejections": 50}, "hold", "cooling down"),
        ({"started": ago(10), "rejections": 5000}, "retrain", "degraded"),
        ({"started": ago(19, 8)}, "hold", "budget of 2 runs is spent"),
        ({"started": ago(20, 8)}, "retrain", "degraded"),
        ({"windows": [example_window(9, degraded=True, labelled=399)]}, "hold", "399 labelled rows, 400 are needed"),
    ],
)
def test_policy(changes: dict[str, Any], outcome: str, reason: str) -> None:
    verdict = evaluate(**changes)
    assert verdict.outcome == outcome
    assert reason in verdict.reason


def test_the_occasion_is_the_end_of_the_newest_window() -> None:
    assert evaluate().occasion == "20130314T000000Z"


def test_without_windows_the_schedule_gives_the_occasion() -> None:
    triggers = TriggersConfig(performance=None, drift=None, max_age=7 * DAY)
    limits = RetrainConfig(min_labelled_rows=0)
    occasions = [
        evaluate(limits, triggers, windows=[], now=START + day * DAY).occasion for day in (7, 10, 13, 14, 20, 21)
    ]
    assert occasions == ["20130311T000000Z"] * 3 + ["20130318T000000Z"] * 2 + ["20130325T000000Z"]


@given(
    cooldown=st.timedeltas(min_value=timedelta(), max_value=timedelta(days=10_000)),
    factor=st.floats(1, 100),
    longest=st.timedeltas(min_value=timedelta(microseconds=1), max_value=timedelta(days=10_000)),
    rejections=st.integers(0, 10_000),
)
def test_back_off_grows_and_stays_within_its_bounds(
    cooldown: timedelta, factor: float, longest: timedelta, rejections: int
) -> None:
    policy = RetrainPolicy(
        ControlConfig(retrain=RetrainConfig(cooldown=cooldown, backoff_factor=factor, backoff_max=longest))
    )
    now, then = policy.cooldown(rejections), policy.cooldown(rejections + 1)
    assert cooldown <= now <= then <= max(cooldown, longest)
    assert policy.cooldown(0) == cooldown


def test_outcomes_are_what_the_ledger_may_hold() -> None:
    assert {outcome.value for outcome in RetrainOutcome} == {"retrain", "block", "hold", "quiet"}
