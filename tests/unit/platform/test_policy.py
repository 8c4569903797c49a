"""The policy of a model, orders and deployments, over a real metadata store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from raymlops.cli import control as control_commands
from raymlops.clock import ManualClock
from raymlops.config import ControlConfig, PlatformConfig, RetrainConfig
from raymlops.errors import ConfigError, DeploymentNotFound
from raymlops.laboratory.probed import Probed
from raymlops.metadata import MetadataService
from raymlops.platform.operations import Control
from raymlops.records.bundles import BundleManifest, Deployment, ProjectSpec
from raymlops.runtime.jobs.delivery_operator import DeliveryOperator
from raymlops.testing.control_examples import DAY, START, example_plan, example_window

BUNDLE = "a" * 64
POLICY: dict[str, Any] = {"triggers": {"drift": {"n": 1, "of": 1}}, "retrain": {"min_labelled_rows": 0}}


@dataclass
class World:
    metadata: MetadataService
    config: PlatformConfig

    @property
    def control(self) -> Control:
        return Control(cast("Any", SimpleNamespace(config=self.config, metadata=self.metadata)))

    def deploy(self, policy: dict[str, Any] | None, digest: str = BUNDLE) -> BundleManifest:
        project = ProjectSpec(name="p", model="m", definitions="d:d", service="s", spine="d:s", policy=policy)
        manifest = BundleManifest(
            digest=digest, project=project, archive_sha256="", files={}, lock_sha256="", tests={}, built_at=START
        )
        self.metadata.deployments.put_bundle(manifest)
        self.metadata.deployments.put_deployment(Deployment(environment="dev", bundle=digest, at=START))
        return manifest


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    control = ControlConfig(retrain=RetrainConfig(cooldown=timedelta(), budget_runs=3))
    config = PlatformConfig(home=tmp_path, control=control)
    with closing(MetadataService(tmp_path / "metadata.db", clock=ManualClock(START))) as metadata:
        yield World(metadata, config)


def test_the_policy_in_force_follows_the_live_bundle(world: World) -> None:
    assert world.control.policy("m").config == world.config.control
    world.deploy(POLICY)
    found = world.control.policy("m")
    assert (found.bundle, found.config.retrain.min_labelled_rows, found.config.retrain.budget_runs) == (BUNDLE, 0, 3)
    assert found.sources["retrain.budget_runs"] == "platform.yaml"
    world.deploy(None, "b" * 64)
    assert world.control.policy("m").config == world.config.control


def test_a_backtest_asks_the_policy_of_the_model(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    controller = SimpleNamespace(probed=lambda model: Probed())  # nothing was probed
    monkeypatch.setattr(Control, "_controller", property(lambda self: controller))
    for day in range(4):
        world.metadata.windows.put_window(example_window(day, drifted=day == 2), b"")
    assert world.control.backtest("m") == []
    world.deploy(POLICY)
    (decided,) = world.control.backtest("m")
    assert (decided.at, decided.triggers) == (START + 3 * DAY + world.config.monitoring.label_delay, ("drift",))


def test_an_order_counts_once_and_needs_a_model_that_is_served(world: World) -> None:
    with pytest.raises(DeploymentNotFound):
        world.control.retrain("m")
    world.metadata.plans.put_plan(example_plan())
    first = world.control.retrain("m", reason="why not", key="k")
    assert world.control.retrain("m", reason="again", key="k") == first
    assert (first.action, first.reason, first.evidence["via"]) == ("order_retraining", "why not", "platform")
    assert world.control.retrain("m").sequence != world.control.retrain("m").sequence


def test_a_bundle_whose_policy_does_not_go_with_the_platform_is_not_deployed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = world.config.control.model_copy(
        update={"trial": world.config.control.trial.model_copy(update={"ramp": (0.3,)})}
    )
    config = world.config.model_copy(update={"control": strict})
    operator = DeliveryOperator(config, world.metadata, ManualClock(START))  # type: ignore[arg-type]
    manifest = world.deploy({"trial": {"weight": 0.4}})
    monkeypatch.setattr(operator, "verify", lambda bundle: manifest)
    with pytest.raises(ConfigError, match=r"policy\.trial ramp must be ascending shares above 0\.4"):
        operator.deploy(BUNDLE)


def test_the_command_line_tells_who_gave_each_value(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.deploy(POLICY)

    @contextmanager
    def connected(config: object) -> Iterator[Any]:
        del config
        yield SimpleNamespace(control=world.control)

    monkeypatch.setattr(control_commands, "platform", connected)
    done = CliRunner().invoke(control_commands.app, ["policy", "m", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert (told["bundle"], told["policy"]["retrain"]["budget_runs"]) == (BUNDLE, 3)
    said = {each["name"]: each["source"] for each in told["settings"]}
    assert said["triggers.drift.n"] == f"project.yaml of bundle {BUNDLE[:12]}"
    assert said["retrain.budget_runs"] == "platform.yaml"
    assert said["trial.weight"] == "defaults"
    short = CliRunner().invoke(control_commands.app, ["policy", "m"])
    assert "retrain.budget_runs" in short.output
    assert "trial.weight" not in short.output
    assert "trial.weight" in CliRunner().invoke(control_commands.app, ["policy", "m", "--all"]).output
