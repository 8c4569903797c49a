"""What users do with bundles and environments."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from raymlops import steps
from raymlops.clock import Clock
from raymlops.config.platform import PlatformConfig
from raymlops.config.policy import resolve_policy
from raymlops.delivery import (
    approve_bundle,
    build_bundle,
    deploy_bundle,
    read_key,
    rollback_target,
    verify_bundle,
)
from raymlops.features.catalog.catalog_file import Catalog
from raymlops.features.catalog.layout import catalog_path
from raymlops.metadata import Metadata
from raymlops.records.bundles import BundleManifest, Deployment
from raymlops.records.ledger import LedgerEntry
from raymlops.records.names import check_digest
from raymlops.runtime.cluster.people import acting_user
from raymlops.tables.files import parse_root

__all__ = ["DeliveryOperator"]


class DeliveryOperator:
    """Bundles and environments."""

    def __init__(self, config: PlatformConfig, metadata: Metadata, clock: Clock) -> None:
        self._config = config
        self._metadata = metadata
        self._clock = clock
        self._root = config.home / "bundles"

    def build(self, project: Path | str, *, allow_dirty: bool = False, key: Path | None = None) -> BundleManifest:
        """Check and test a project, build its immutable bundle, and record it.

        Args:
            project: Its directory.
            allow_dirty: Whether files of a git checkout may differ from its commit.
            key: File with the private key that the bundle is signed with; by default ``delivery.signing_key``.
        """
        root = parse_root(self._config.features.root_in(self._config.home))
        applied = Catalog(catalog_path(root), self._config.features.storage_options).state()
        check = partial(steps.check_project, applied=applied)
        key = key or self._config.delivery.signing_key
        signer = None if key is None else read_key(key)
        built = build_bundle(
            project, self._root, self._clock, check=check, allow_dirty=allow_dirty, signer=signer, by=acting_user()
        )
        return self._metadata.deployments.put_bundle(built)

    def verify(self, bundle: str) -> BundleManifest:
        """Check every hash of a bundle."""
        check_digest("bundle", bundle)
        return verify_bundle(self._root / bundle)

    def deploy(self, bundle: str, environment: str | None = None, *, reason: str = "") -> Deployment:
        """Make a bundle what an environment runs, and its policy the one of its model there.

        Raises:
            ConfigError: The bundle's policy does not go with the platform's; the message says why.
            DeploymentError: It was altered, or lacks approvals.
        """
        manifest = self.verify(bundle)
        where = environment or self._config.environment
        if where == self._config.environment:  # what the platforms of others say is not known here
            resolve_policy(self._config.control, manifest.project.policy, where, source=f"project.yaml of {bundle}")
        rules, by, place = self._config.delivery.rules(where), acting_user(), self._root / bundle
        return deploy_bundle(manifest, where, self._metadata, self._clock, reason, by=by, rules=rules, place=place)

    def rollback(
        self, environment: str | None = None, pipeline: str | None = None, *, reason: str = "rolled back"
    ) -> Deployment:
        """Deploy the bundle that was live before the present one.

        Args:
            environment: Where; the platform's own by default.
            pipeline: Of which pipeline; may be left out where the environment has one.
            reason: Why, for the ledger.
        """
        former = rollback_target(environment or self._config.environment, pipeline, self._metadata)
        return self.deploy(former.bundle, former.environment, reason=reason)

    def approve(self, bundle: str, environment: str | None = None, *, by: str) -> LedgerEntry:
        """Record that somebody approves a bundle for an environment."""
        where = environment or self._config.environment
        return approve_bundle(self.verify(bundle), where, by, self._metadata.ledger)

    def environments(self) -> list[Deployment]:
        """The newest deployment of every pipeline in every environment that has one."""
        return self._metadata.deployments.list_live_deployments()
