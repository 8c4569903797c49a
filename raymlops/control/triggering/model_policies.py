"""Which policy is in force for each model, by the bundle that trains it and the environment it is live in."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from raymlops.config.control import ControlConfig, PolicyConfig
from raymlops.config.reading.policy import resolve_policy
from raymlops.errors import ConfigError
from raymlops.records.bundles import BundleManifest, Deployment, DeploymentStore
from raymlops.records.delivering.environments import name_in
from raymlops.records.record import Instant, Record, sha256_of
from raymlops.records.shown import shown

__all__ = ["LiveBundle", "ModelPolicies", "ModelPolicy", "PolicySetting"]

_log = logging.getLogger(__name__)

_SECTIONS = set(PolicyConfig.model_fields)


class PolicySetting(Record):
    """One setting of a policy."""

    name: str
    """Dotted, as in ``triggers.drift.n``."""
    value: Any
    source: str
    """``defaults``, ``platform.yaml``, or the project of a bundle, and the environment it says it for."""


class ModelPolicy(Record):
    """The policy in force for a model."""

    model: str
    environment: str
    bundle: str | None = None
    """Digest of the bundle that trains it; ``None`` where none does, and the platform's policy is in force."""
    since: Instant | None = None
    """When the bundle was deployed."""
    config: ControlConfig
    """The platform's control loop, with the sections that are the model's own."""
    sources: dict[str, str]
    """Dotted name of each setting -> the source of its value."""
    problem: str = ""
    """Why the bundle's policy is not in force, but the platform's is."""

    @property
    def sections(self) -> dict[str, Any]:
        """Triggers, limits and levels, as JSON values."""
        return self.config.model_dump(mode="json", include=_SECTIONS)

    @property
    def digest(self) -> str:
        """Equal exactly where triggers, limits and levels are."""
        return sha256_of(self.sections)

    @property
    def settings(self) -> list[PolicySetting]:
        """Every setting by name."""
        found = []
        for name, source in sorted(self.sources.items()):
            value: Any = self.sections
            for part in name.split("."):
                value = value[part]
            found.append(PolicySetting(name=name, value=value, source=source))
        return found


@shown()
class LiveBundle(NamedTuple):
    """A deployed bundle."""

    deployment: Deployment
    manifest: BundleManifest


class ModelPolicies:
    """Looks up policies by the bundles that are live. Thread-safe.

    Args:
        deployments: Bundles, and which are live.
        platform: The platform's configuration.
        environment: The platform's own: models of other environments are called ``ENVIRONMENT.NAME``.
    """

    def __init__(self, deployments: DeploymentStore, platform: ControlConfig, environment: str) -> None:
        self._deployments = deployments
        self._platform = platform
        self._environment = environment
        self._manifests: dict[str, BundleManifest] = {}
        self._live: Mapping[str, LiveBundle] = {}
        self._policies: dict[tuple[str, Instant | None], ModelPolicy] = {}

    def refresh(self) -> None:
        """Read which bundles are live now: one call, and one more for each bundle never seen before.

        Raises:
            StorageError: The policies cannot be read; those that were read before stay in force.
            UnavailableError: Likewise.
        """
        live: dict[str, LiveBundle] = {}
        for deployment in sorted(self._deployments.list_live_deployments(), key=lambda each: each.at):
            digest = deployment.bundle
            manifest = self._manifests.get(digest) or self._deployments.get_bundle(digest)
            self._manifests[digest] = manifest
            model = name_in(deployment.environment, self._environment, manifest.project.model)
            live[model] = LiveBundle(deployment, manifest)
        self._live = live

    def bundle_of(self, model: str) -> LiveBundle | None:
        """The live bundle that trains a model, the one deployed last where there are several."""
        return self._live.get(model)

    def pipeline_of(self, model: str) -> str | None:
        """The pipeline that trains a model."""
        live = self._live.get(model)
        if live is None:
            return None
        return name_in(live.deployment.environment, self._environment, live.manifest.project.name)

    def of(self, model: str) -> ModelPolicy:
        """The policy in force for a model."""
        live = self._live.get(model)
        key = (model, None) if live is None else (f"{model}/{live.manifest.digest}", live.deployment.at)
        if key not in self._policies:
            self._policies[key] = self._resolve(model, live)
        return self._policies[key]

    def _resolve(self, model: str, live: LiveBundle | None) -> ModelPolicy:
        project, source, problem, environment = None, "", "", self._environment
        if live is not None:
            environment = live.deployment.environment
            project = live.manifest.project.policy
            source = f"project.yaml of bundle {live.manifest.digest[:12]}"
        try:
            config, sources = resolve_policy(self._platform, project, environment, source=source)
        except ConfigError as error:
            # A bundle of another release, or for another platform: its model must not go without any policy.
            problem = str(error)
            _log.error("the policy of %r is not in force, the platform's is: %s", model, problem)
            config, sources = resolve_policy(self._platform, None, environment)
        return ModelPolicy(
            model=model,
            environment=environment,
            bundle=None if live is None else live.manifest.digest,
            since=None if live is None else live.deployment.at,
            config=config,
            sources=sources,
            problem=problem,
        )
