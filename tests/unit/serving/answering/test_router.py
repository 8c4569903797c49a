from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.records.plans import Trial
from raymlops.serving.answering.router import choose, fraction

KEYS = [f"caller-{number}" for number in range(5000)]


@given(st.text(), st.text())
def test_a_fraction_is_below_one_and_repeats(key: str, salt: str) -> None:
    assert 0 <= fraction(key, salt) < 1
    assert fraction(key, salt) == fraction(key, salt)


def test_a_fraction_is_the_same_everywhere_and_forever() -> None:
    assert fraction("caller-1", "flight-delay:2") == 0.16870498595319217


@pytest.mark.parametrize("weight", [0.05, 0.1, 0.5])
def test_a_share_lies_within_binomial_bounds(helpers: Any, weight: float) -> None:
    plan = helpers.make_plan(trial=Trial(version=2, weight=weight))
    share = sum(choose(plan, key) == "canary" for key in KEYS) / len(KEYS)
    assert abs(share - weight) < 4 * (weight * (1 - weight) / len(KEYS)) ** 0.5


def test_the_extremes_are_exact(helpers: Any) -> None:
    assert {choose(helpers.make_plan(trial=Trial(version=2, weight=0)), key) for key in KEYS} == {"champion"}
    assert {choose(helpers.make_plan(trial=Trial(version=2, weight=1)), key) for key in KEYS} == {"canary"}
    assert {choose(helpers.make_plan(), key) for key in KEYS} == {"champion"}


def test_a_growing_weight_keeps_those_already_drawn(helpers: Any) -> None:
    few, many = (
        {
            key
            for key in KEYS
            if choose(helpers.make_plan(number=n, trial=Trial(version=2, weight=weight)), key) == "canary"
        }
        for n, weight in enumerate((0.1, 0.3), 1)
    )
    assert few < many


def test_another_version_draws_others(helpers: Any) -> None:
    first, second = (
        {key for key in KEYS if choose(helpers.make_plan(trial=Trial(version=version, weight=0.1)), key) == "canary"}
        for version in (2, 3)
    )
    assert len(first & second) / len(first) < 0.2


def test_a_shadow_sees_its_share(helpers: Any) -> None:
    plan = helpers.make_plan(trial=Trial(version=2, weight=0.5, mode="shadow"))
    assert {choose(plan, key) for key in KEYS} == {"champion", "shadow"}


RESTARTED = """
import json, sys
from raymlops.records.plans import ServingPlan
from raymlops.serving.answering.router import choose

plan = ServingPlan.model_validate_json(sys.argv[1])
print(json.dumps([choose(plan, f"caller-{number}") for number in range(200)]))
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_a_caller_keeps_its_variant_in_another_process(helpers: Any, seed: str) -> None:
    """Another replica, or this one after a restart: an A/B test is a canary of weight 0.5 with sticky keys."""
    plan = helpers.make_plan(trial=Trial(version=2, weight=0.5))
    command = [sys.executable, "-c", RESTARTED, plan.model_dump_json()]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
    there = json.loads(done.stdout)
    assert there == [choose(plan, key) for key in KEYS[:200]]
    assert 60 < there.count("canary") < 140
    later = plan.model_copy(update={"number": 9, "reason": "backup replaced", "backup": 3})
    assert there == [choose(later, key) for key in KEYS[:200]]
