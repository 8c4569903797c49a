from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, cast

import pytest

from raymlops.config import ControlConfig, RetrainConfig
from raymlops.control import ModelPolicies
from raymlops.errors import NotFoundError
from raymlops.records.bundles import BundleManifest, Deployment, DeploymentStore, ProjectSpec
from raymlops.testing.control_examples import DAY, START

PLATFORM = ControlConfig(retrain=RetrainConfig(cooldown=5 * DAY))


class Deployments:
    """The newest deployments, and how often bundles were read."""

    def __init__(self) -> None:
        self.live: list[Deployment] = []
        self.bundles: dict[str, BundleManifest] = {}
        self.read: list[str] = []

    def deploy(
        self, digest: str, policy: Any = None, *, day: int = 0, pipeline: str = "p", model: str = "m", env: str = "prod"
    ) -> None:
        project = ProjectSpec(name=pipeline, model=model, definitions="d:d", service="s", spine="d:s", policy=policy)
        self.bundles[digest] = BundleManifest(
            digest=digest, project=project, archive_sha256="", files={}, lock_sha256="", tests={}, built_at=START
        )
        kept = [
            each for each in self.live if (each.environment, self.bundles[each.bundle].project.name) != (env, pipeline)
        ]
        self.live = [*kept, Deployment(environment=env, bundle=digest, at=START + day * DAY)]

    def list_live_deployments(self) -> list[Deployment]:
        return self.live

    def get_bundle(self, digest: str) -> BundleManifest:
        self.read.append(digest)
        if digest not in self.bundles:
            raise NotFoundError(digest)
        return self.bundles[digest]


@pytest.fixture
def deployments() -> Deployments:
    return Deployments()


@pytest.fixture
def policies(deployments: Deployments) -> ModelPolicies:
    return ModelPolicies(cast("DeploymentStore", deployments), PLATFORM, "prod")


def test_the_policy_of_the_live_bundle_is_in_force(deployments: Deployments, policies: ModelPolicies) -> None:
    assert policies.of("m").config == PLATFORM
    assert policies.pipeline_of("m") is None
    said = {"retrain": {"cooldown": "1d"}, "environments": {"prod": {"trial": {"weight": 0.2}}}}
    deployments.deploy("a" * 64, said)
    assert policies.of("m").config == PLATFORM, "nothing changes in between"
    policies.refresh()
    found = policies.of("m")
    assert (found.config.retrain.cooldown, found.config.trial.weight) == (timedelta(days=1), 0.2)
    assert (found.bundle, found.since, policies.pipeline_of("m")) == ("a" * 64, START, "p")
    told = {each.name: (each.value, each.source) for each in found.settings}
    assert told["retrain.cooldown"] == ("1d", f"project.yaml of bundle {'a' * 12}")
    assert told["trial.weight"] == (0.2, f"project.yaml of bundle {'a' * 12}, environment prod")
    assert told["retrain.budget_runs"] == (10, "defaults")
    assert found.digest != policies.of("other").digest == policies.of("another").digest


def test_another_bundle_another_environment_another_model(deployments: Deployments, policies: ModelPolicies) -> None:
    deployments.deploy("a" * 64, {"retrain": {"cooldown": "1d"}})
    deployments.deploy("b" * 64, {"retrain": {"cooldown": "2d"}}, env="dev", day=1)
    deployments.deploy("c" * 64, {"retrain": {"cooldown": "3d"}}, model="other", pipeline="q")
    policies.refresh()
    assert [policies.of(name).config.retrain.cooldown.days for name in ("m", "other", "none")] == [1, 3, 5]
    deployments.deploy("d" * 64, day=2)
    policies.refresh()
    policies.refresh()
    assert policies.of("m").config == PLATFORM
    assert sorted(deployments.read) == [each * 64 for each in "abcd"], "each bundle is read once"


def test_a_model_of_another_environment_is_named_by_it_and_has_its_policy_there(
    deployments: Deployments, policies: ModelPolicies
) -> None:
    said = {"retrain": {"cooldown": "1d"}, "environments": {"dev": {"retrain": {"cooldown": "2d"}}}}
    deployments.deploy("a" * 64, said)
    deployments.deploy("b" * 64, said, env="dev", day=1)
    policies.refresh()
    assert policies.pipeline_of("dev.m") == f"dev.{policies.pipeline_of('m')}"
    assert [policies.of(name).config.retrain.cooldown.days for name in ("m", "dev.m")] == [1, 2]
    assert (policies.of("dev.m").environment, policies.of("dev.m").bundle) == ("dev", "b" * 64)


def test_the_newest_of_several_pipelines_of_a_model(deployments: Deployments, policies: ModelPolicies) -> None:
    deployments.deploy("a" * 64, {"retrain": {"cooldown": "1d"}}, pipeline="z", day=1)
    deployments.deploy("b" * 64, {"retrain": {"cooldown": "2d"}}, pipeline="a", day=2)
    policies.refresh()
    assert (policies.pipeline_of("m"), policies.of("m").config.retrain.cooldown.days) == ("a", 2)


def test_a_policy_that_cannot_be_read_any_more_gives_way_to_the_platforms(
    deployments: Deployments, policies: ModelPolicies, caplog: pytest.LogCaptureFixture
) -> None:
    deployments.deploy("a" * 64, {"retrain": {"gone": 1}})
    with caplog.at_level(logging.ERROR):
        policies.refresh()
        found = policies.of("m")
    assert found.config == PLATFORM
    assert "policy.retrain.gone is not a setting" in found.problem
    assert "the platform's is" in caplog.text
