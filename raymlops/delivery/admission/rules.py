"""Whether a bundle may be deployed in an environment."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from raymlops.config.delivery import EnvironmentRules
from raymlops.delivery.admission.approval import require_approvals
from raymlops.delivery.provenance import read_signed
from raymlops.errors import DeploymentError
from raymlops.records.bundles import BundleManifest, DeploymentStore, Source
from raymlops.records.delivering.environments import name_in
from raymlops.records.ledger import Ledger
from raymlops.records.runs import RunStatus, RunStore
from raymlops.records.serving.keys import KeyStore

__all__ = ["DeliveryStore", "check_rules"]

_GREEN = {None, "candidate", "skipped"}
"""Outcomes of runs that count: a model was registered, or there was nothing to learn."""


class DeliveryStore(Protocol):
    """The stores of bundles and deployments, of approvals and the keys that they were given by, and of runs."""

    deployments: DeploymentStore
    keys: KeyStore
    ledger: Ledger
    runs: RunStore


def check_rules(
    manifest: BundleManifest,
    environment: str,
    rules: EnvironmentRules,
    store: DeliveryStore,
    place: Path | None,
    own: str | None = None,
) -> None:
    """Hold a bundle against the rules of an environment.

    Args:
        manifest: As ``verify_bundle`` gave it.
        environment: Where it is to be deployed.
        rules: Of that environment.
        store: Tells approvals, deployments and runs.
        place: Directory of the bundle.
        own: Environment of the platform, whose pipelines have no environment in front of their names.

    Raises:
        DeploymentError: A rule is broken; the message says which, and by what.
    """
    source = manifest.source
    if rules.builders:
        if place is None:
            raise DeploymentError(f"bundle {manifest.digest}: {environment!r} asks for a signature, there is none")
        source = read_signed(place, manifest, rules.builders).source
    _check_source(manifest.digest, environment, rules, source)
    _check_history(manifest, environment, rules, store, own)
    keys = store.keys.list_keys() if rules.approvals else []
    require_approvals(manifest, source, environment, rules.approvals, ledger=store.ledger, keys=keys)


def _check_source(digest: str, environment: str, rules: EnvironmentRules, source: Source | None) -> None:
    if rules.clean and (source is None or source.dirty):
        found = "no commit" if source is None else f"files that differ from commit {source.commit[:12]}"
        raise DeploymentError(f"bundle {digest}: {environment!r} takes what a commit holds, it was built from {found}")
    branch = None if source is None else source.branch
    if rules.branch is not None and branch != rules.branch:
        rule = f"{environment!r} takes bundles of branch {rules.branch!r}"
        raise DeploymentError(f"bundle {digest}: {rule}, this is of {'none' if branch is None else repr(branch)}")


def _check_history(
    manifest: BundleManifest, environment: str, rules: EnvironmentRules, store: DeliveryStore, own: str | None
) -> None:
    digest, name = manifest.digest, manifest.project.name
    if rules.after is not None:
        before = store.deployments.list_deployments(rules.after, name)
        if digest not in {deployment.bundle for deployment in before}:
            rule = f"must be deployed in {rules.after!r} before {environment!r}"
            raise DeploymentError(f"bundle {digest}: {rule}, and never was", digest=digest)
    if rules.green_runs:
        where = rules.after or own
        pipeline = name if where is None or own is None else name_in(where, own, name)
        runs = store.runs.list_runs(pipeline, RunStatus.SUCCEEDED)
        green = sum(run.bundle == digest and run.result.get("outcome") in _GREEN for run in runs)
        if green < rules.green_runs:
            within = "" if pipeline == name else f" in {where!r}"
            rule = f"must have {rules.green_runs} runs that succeeded{within} before {environment!r}"
            raise DeploymentError(f"bundle {digest}: {rule}, has {green}", digest=digest)
