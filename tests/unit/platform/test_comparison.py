"""A loop beside other schedules, from plans, versions and what probes have shown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from raymlops.config.platform import PlatformConfig
from raymlops.errors import DeploymentNotFound
from raymlops.platform.operations import Control
from raymlops.testing.control_examples import DAY, START, example_plan, example_probed


class Stores:
    """Plans, versions and windows of model ``m``, whose version n was trained on day ``trained[n]``."""

    def __init__(self, *champions: tuple[int, int]) -> None:
        self.plans_ = [
            example_plan(number, champion, START + day * DAY) for number, (day, champion) in enumerate(champions, 1)
        ]
        self.trained = {1: 0, 2: 6}

    def list_plans(self, model: str) -> list[Any]:
        del model
        return self.plans_

    def get_version(self, model: str, version: int) -> Any:
        del model
        return SimpleNamespace(parameters={"as_of": (START + self.trained[version] * DAY).isoformat()})


def control(monkeypatch: pytest.MonkeyPatch, stores: Stores, tmp_path: Any) -> Control:
    deployments = SimpleNamespace(list_live_deployments=list)
    metadata = SimpleNamespace(plans=stores, models=stores, windows=stores, deployments=deployments)
    controller = SimpleNamespace(probed=lambda model: example_probed(12, slope=0.1))
    monkeypatch.setattr(Control, "_controller", property(lambda self: controller))
    platform: Any = SimpleNamespace(config=PlatformConfig(home=tmp_path), metadata=metadata)
    return Control(platform)


def test_only_changes_of_the_champion_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    # a trial begins and ends between the two champions: plans whose champion stays
    stores = Stores((0, 1), (4, 1), (5, 1), (7, 2), (9, 2))
    found = control(monkeypatch, stores, tmp_path).comparison("m")
    assert found is not None
    assert found.loop.retrainings == found.calendar.retrainings == 1
    # version 2, trained on day 6, serves from day 7 on
    expected = [1 + 0.1 * age for age in (*range(7), *range(1, 6))]
    assert found.loop.by_window == pytest.approx(expected)
    assert found.price == 0.05


def test_a_model_that_is_not_deployed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    with pytest.raises(DeploymentNotFound):
        control(monkeypatch, Stores(), tmp_path).comparison("m")
