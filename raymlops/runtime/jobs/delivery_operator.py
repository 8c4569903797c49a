"""What users do with bundles and environments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from raymlops import runtime
from raymlops.building import build_project
from raymlops.clock import Clock
from raymlops.config.platform import PlatformConfig
from raymlops.config.reading.policy import resolve_policy
from raymlops.delivery.admission.approval import approve_bundle
from raymlops.delivery.admission.changes import BundleChanges
from raymlops.delivery.environment import rollback_target, verify_here
from raymlops.delivery.verify import verify_bundle
from raymlops.errors import ConfigError
from raymlops.metadata import Metadata
from raymlops.records.bundles import BundleManifest, Deployment
from raymlops.records.delivering.pushes import SourceStatus
from raymlops.records.ledger import LedgerEntry
from raymlops.records.names import check_digest
from raymlops.records.serving.keys import ENVIRONMENT
from raymlops.records.shown import Listed
from raymlops.runtime.cluster.names import RECONCILER
from raymlops.runtime.cluster.people import acting_user
from raymlops.serving.protocol.access import Access

if TYPE_CHECKING:
    from raymlops.runtime.deploying.deployer import Deployer

__all__ = ["DeliveryOperator"]

_STATUS_S = 15.0
"""Deadline of what only tells what is known."""


class DeliveryOperator:
    """Bundles and environments."""

    def __init__(self, config: PlatformConfig, metadata: Metadata, clock: Clock) -> None:
        self._config = config
        self._metadata = metadata
        self._clock = clock
        self._root = config.home / "bundles"

    def build(
        self,
        project: Path | str,
        *,
        allow_dirty: bool = False,
        key: Path | None = None,
        wheels: bool = False,
        offline: bool = False,
    ) -> BundleManifest:
        """Check and test a project, build its immutable bundle, and record it; see ``building.build_project``.

        Args:
            project: Its directory.
            allow_dirty: Whether files of a git checkout may differ from its commit.
            key: File with the private key that the bundle is signed with; by default ``delivery.signing_key``.
            wheels: Whether the bundle carries the wheels of its lock.
            offline: Ask no index for the hashes of the lock.
        """
        built = build_project(
            self._config,
            self._clock,
            project,
            by=acting_user(),
            allow_dirty=allow_dirty,
            key=key,
            wheels=wheels,
            offline=offline,
        )
        return self._metadata.deployments.put_bundle(built)

    def verify(self, bundle: str) -> BundleManifest:
        """Check every hash of a bundle, and its packages against what is installed here."""
        return verify_here(self._root, bundle)

    def changes(self, bundle: str, environment: str | None = None) -> BundleChanges:
        """What deploying a bundle would change in an environment; nothing is."""
        return self._deployer.changes(self.verify(bundle), environment or self._config.environment)

    def deploy(
        self, bundle: str, environment: str | None = None, *, reason: str = "", rehearse: bool = False
    ) -> Deployment:
        """Make a bundle what an environment runs, and its policy the one of its model there.

        Args:
            bundle: Its digest.
            environment: Where; the platform's own by default.
            reason: Why, for the ledger.
            rehearse: Whether the bundle must first show there that it works, and its model is then served, also where
                the rules of the environment do not ask for it.

        Raises:
            ConfigError: The bundle's policy does not go with the platform's; the message says why.
            ConflictError: Another deployment is under way in the environment.
            DeploymentError: It was altered, lacks approvals, cannot run there, or failed its rehearsal: what was live
                before still is.
        """
        manifest = self.verify(bundle)
        where = environment or self._config.environment
        resolve_policy(self._config.control, manifest.project.policy, where, source=f"project.yaml of {bundle}")
        rules = self._config.delivery.rules(where)
        if rules.rehearse or rehearse:
            return self._deployer.deploy(manifest, where, reason)
        return self._deployer.record(manifest, where, reason)

    def rollback(
        self, environment: str | None = None, pipeline: str | None = None, *, reason: str = "rolled back"
    ) -> Deployment:
        """Deploy the bundle that was live before the present one, and serve what was served before.

        Args:
            environment: Where; the platform's own by default.
            pipeline: Of which pipeline; may be left out where the environment has one.
            reason: Why, for the ledger.
        """
        former = rollback_target(environment or self._config.environment, pipeline, self._metadata)
        manifest = self.verify(former.bundle)
        live = self._metadata.deployments.find_deployment(former.environment, manifest.project.name)
        assert live is not None  # it is what there is something before
        if live.version is not None and live.replaced is not None:
            return self._deployer.roll_back(live, manifest, reason)
        return self._deployer.record(manifest, live.environment, reason)

    def approve(
        self, bundle: str, environment: str | None = None, *, by: str | None = None, key: str | None = None
    ) -> LedgerEntry:
        """Record that somebody approves a bundle for an environment.

        Args:
            bundle: Its digest.
            environment: Where; the platform's own by default.
            by: Who approves, where no key is shown: a word in the ledger, which no rule counts.
            key: The text of their API key, which must have ``operate`` over the environment; its owner approves.

        Raises:
            ConfigError: Nobody is named.
            Unauthenticated: There is no such key, or it opens nothing any more.
            Forbidden: It does not cover the environment.
        """
        where = environment or self._config.environment
        check_digest("bundle", bundle)
        manifest, ledger = verify_bundle(self._root / bundle), self._metadata.ledger
        if key is None:
            return approve_bundle(manifest, where, by or "", ledger)
        access = Access(self._metadata.keys.list_keys())
        shown = access.authenticate(key)
        access.allow(shown, "operate", f"{ENVIRONMENT}{where}")
        return approve_bundle(manifest, where, shown.name, ledger, key_id=shown.id)

    def remove_environment(self, environment: str, *, reason: str = "its branch is gone") -> None:
        """End all that an environment has: its models are served no more, and no bundle is live in it.

        Versions and history stay; may be called again.

        Raises:
            ConfigError: It is the platform's own.
        """
        if environment == self._config.environment:
            raise ConfigError(f"environment {environment!r} is the platform's own, and cannot be removed")
        self._deployer.remove(environment, reason)

    def source(self) -> SourceStatus | None:
        """How it stands with the repository that is watched; ``None`` where none is."""
        status: SourceStatus | None = runtime.ActorProxy(RECONCILER, _STATUS_S, "source").status()
        return status

    def settle(self) -> None:
        """Finish or undo what deployments left that were killed; those that go on are left alone."""
        self._deployer.settle()

    @property
    def _deployer(self) -> Deployer:
        return runtime.Deployer(self._config, self._metadata, self._clock)

    def environments(self) -> Listed[Deployment]:
        """The newest deployment of every pipeline in every environment that has one."""
        return Listed(self._metadata.deployments.list_live_deployments())
