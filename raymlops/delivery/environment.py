"""Making a bundle live in an environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from raymlops.clock import Clock
from raymlops.delivery.approval import APPROVALS_REQUIRED, approvers, ledger_subject
from raymlops.delivery.lock import installed_lock
from raymlops.delivery.verify import bundle_digest
from raymlops.errors import DeploymentError
from raymlops.records.bundles import BundleManifest, Deployment, DeploymentStore
from raymlops.records.ledger import Ledger
from raymlops.records.names import check_name
from raymlops.records.record import sha256_of

__all__ = ["DeliveryStore", "deploy_bundle"]


class DeliveryStore(Protocol):
    """The stores of bundles and deployments, and of approvals."""

    deployments: DeploymentStore
    ledger: Ledger


def deploy_bundle(
    manifest: BundleManifest,
    environment: str,
    store: DeliveryStore,
    clock: Clock,
    reason: str = "",
    *,
    by: str | None = None,
    approvals_required: Mapping[str, int] = APPROVALS_REQUIRED,
) -> Deployment:
    """Make a verified bundle the one that its pipeline's runs use in an environment; recorded in the ledger first.

    May be repeated: what is live already is answered as it is.

    Args:
        manifest: As ``verify_bundle`` gave it.
        environment: ``dev``, ``staging``, ``prod`` or another name of lower-case letters, digits, ``-`` and ``_``.
        store: Where it is recorded.
        clock: Tells when.
        reason: Why, for people.
        by: Who deploys it, for the ledger.
        approvals_required: Environment -> number of people who must have approved the bundle for it.

    Raises:
        ConfigError: The environment has no proper name.
        DeploymentError: The manifest does not hold together, the bundle was tested with other packages than are
            installed here, or approvals are missing.
    """
    check_name("environment", environment)
    digest = manifest.digest
    if bundle_digest(manifest.archive_sha256, manifest.project, manifest.lock_sha256) != digest:
        raise DeploymentError(f"bundle {digest}: its manifest was altered", digest=digest)
    if sha256_of(installed_lock()) != manifest.lock_sha256:
        raise DeploymentError(
            f"bundle {digest}: was tested with other packages than are installed here; build it again", digest=digest
        )
    _check_approvals(digest, environment, store.ledger, approvals_required.get(environment, 0))
    store.deployments.put_bundle(manifest)
    live = store.deployments.find_deployment(environment, manifest.project.name)
    if live is not None and live.bundle == digest:
        return live
    # The key tells a repeat after a crash from a later return to the same bundle.
    replaced = "nothing" if live is None else f"{live.bundle}@{live.at.isoformat()}"
    store.ledger.append_entry(
        ledger_subject(digest),
        "deploy_bundle",
        reason or f"deployed to {environment}",
        {
            "bundle": digest,
            "environment": environment,
            "pipeline": manifest.project.name,
            "replaced": None if live is None else live.bundle,
            "by": by,
        },
        key=f"deploy_bundle:{environment}:{manifest.project.name}:{digest}:after:{replaced}",
    )
    return store.deployments.put_deployment(
        Deployment(environment=environment, bundle=digest, at=clock.now(), reason=reason)
    )


def _check_approvals(digest: str, environment: str, ledger: Ledger, required: int) -> None:
    approved_by = approvers(digest, environment, ledger) if required else []
    if len(approved_by) < required:
        raise DeploymentError(
            f"bundle {digest}: must be approved for {environment!r} by {required}, is by {len(approved_by)}: "
            f"{', '.join(approved_by) or 'nobody'}",
            digest=digest,
            environment=environment,
            required=required,
            approved_by=approved_by,
        )
