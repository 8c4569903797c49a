"""Making a bundle live in an environment."""

from __future__ import annotations

import fcntl
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from raymlops.clock import Clock
from raymlops.config.delivery import DeliveryConfig, EnvironmentRules
from raymlops.delivery.admission.approval import ledger_subject
from raymlops.delivery.admission.rules import DeliveryStore, check_rules
from raymlops.delivery.lock import installed_lock, package_faults
from raymlops.delivery.packages.wheels import WHEELS, verify_installed, verify_wheels
from raymlops.delivery.verify import bundle_digest, lock_file, require_one_of_version, verify_bundle
from raymlops.errors import ConfigError, ConflictError, DeploymentError, NotFoundError
from raymlops.records.bundles import BundleManifest, Deployment, ProjectSpec, ServedBefore
from raymlops.records.delivering.environments import REHEARSAL, name_in
from raymlops.records.names import check_digest, check_name
from raymlops.records.record import sha256_of

__all__ = [
    "DeliveryStore",
    "Switched",
    "alone",
    "record_deployment",
    "require_deployable",
    "require_packages",
    "rollback_target",
    "verify_here",
]


class Switched(NamedTuple):
    """A model that a deployment put in service.

    Attributes:
        version: Of the model.
        replaced: The version that was served before; ``None`` where there was none.
        facts: Facts by which it was judged before.
    """

    version: int
    replaced: ServedBefore | None
    facts: Mapping[str, object]

    @property
    def evidence(self) -> dict[str, object]:
        """All of it as JSON values."""
        before = None if self.replaced is None else self.replaced.version
        return {"version": self.version, "replaced_version": before, **self.facts}


def record_deployment(
    manifest: BundleManifest,
    environment: str,
    store: DeliveryStore,
    clock: Clock,
    reason: str = "",
    *,
    by: str | None = None,
    served: Switched | None = None,
) -> Deployment:
    """Record that a bundle is live in an environment; in the ledger first.

    The caller has seen to it that it may be (``require_deployable``). A repeat changes nothing: the deployment that is
    live already is returned.

    Args:
        manifest: As ``verify_bundle`` gave it.
        environment: Its name.
        store: Where it is recorded.
        clock: Dates the deployment.
        reason: Why, for people.
        by: Who deploys it, for the ledger.
        served: The model that was put in service with it; ``None`` where what is served stays.
    """
    digest = manifest.digest
    store.deployments.put_bundle(manifest)
    last = next(iter(store.deployments.list_deployments(environment, manifest.project.name)), None)
    live = None if last is None or last.ended else last
    if live is not None and live.bundle == digest:
        return live
    # The key tells a repeat after a crash from a later return to the same bundle.
    replaced = "nothing" if last is None else f"{last.bundle}@{last.at.isoformat()}"
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
            "commit": None if manifest.source is None else manifest.source.commit,
            **({} if served is None else served.evidence),
        },
        key=f"deploy_bundle:{environment}:{manifest.project.name}:{digest}:after:{replaced}",
    )
    return store.deployments.put_deployment(
        Deployment(
            environment=environment,
            bundle=digest,
            at=clock.now(),
            reason=reason,
            version=None if served is None else served.version,
            replaced=None if served is None else served.replaced,
        )
    )


def require_deployable(
    manifest: BundleManifest,
    environment: str,
    store: DeliveryStore,
    *,
    rules: EnvironmentRules | None = None,
    place: Path | None = None,
    own: str | None = None,
    others: Collection[str] = (),
) -> None:
    """Refuse a bundle that may not be deployed.

    Args:
        manifest: As ``verify_bundle`` gave it.
        environment: Where it is to be deployed.
        store: Tells approvals, deployments and runs.
        rules: What the environment asks for; those of an unchanged configuration by default.
        place: Directory of the bundle.
        own: Environment of the platform, whose pipelines have no environment in front of their names.
        others: Environments that the configuration names.

    Raises:
        ConfigError: The environment has no proper name.
        DeploymentError: The manifest does not hold together, the bundle was tested with other packages than are
            installed here, or it breaks a rule of the environment.
    """
    check_name("environment", environment)
    _require_whole(manifest, store)
    if own is not None:
        _require_own_names(manifest, environment, store, own, others)
    rules = DeliveryConfig().rules(environment) if rules is None else rules
    check_rules(manifest, environment, rules, store, place, own)


def _require_whole(manifest: BundleManifest, store: DeliveryStore) -> None:
    digest = manifest.digest
    if bundle_digest(manifest.archive_sha256, manifest.project, manifest.lock_sha256) != digest:
        raise DeploymentError(f"bundle {digest}: its manifest was altered", digest=digest)
    require_packages(manifest)
    for other in store.deployments.list_bundles(manifest.project.name):
        if manifest.project.version is not None and other.digest != digest:
            require_one_of_version(manifest, other)


def _require_own_names(
    manifest: BundleManifest, environment: str, store: DeliveryStore, own: str, others: Collection[str]
) -> None:
    """Refuse a bundle whose pipeline or model is called as one of another environment: its rules would not hold."""
    project, digest = manifest.project, manifest.digest
    if environment == own:
        reserved = {REHEARSAL, *others} - {own}
        for kind, name in (("pipeline", project.name), ("model", project.model)):
            if "." in name and name.partition(".")[0] in reserved:
                rule = f"its {kind} must not be called as one of another environment"
                raise DeploymentError(f"bundle {digest}: {rule}, got {name!r}", digest=digest)
    for live in store.deployments.list_live_deployments():
        if live.environment != environment:
            theirs = _names(store.deployments.get_bundle(live.bundle).project, live.environment, own)
            for kind, name in sorted(_names(project, environment, own) & theirs):
                rule = f"the {kind} {name!r} is that of environment {live.environment!r}"
                raise DeploymentError(f"bundle {digest}: {rule}, not of {environment!r}", digest=digest)


def _names(project: ProjectSpec, environment: str, own: str) -> set[tuple[str, str]]:
    named = (("pipeline", project.name), ("model", project.model))
    return {(kind, name_in(environment, own, name)) for kind, name in named}


def require_packages(manifest: BundleManifest) -> None:
    """Refuse a bundle that was tested with other packages than are installed here.

    Raises:
        DeploymentError: It was; the message names them.
    """
    if manifest.packages:
        faults = package_faults(manifest.packages)
    else:  # a bundle of release 0.1
        faults = [] if sha256_of(installed_lock()) == manifest.lock_sha256 else ["its lock names other ones"]
    if faults:
        told = f"was tested with other packages than are installed here: {'; '.join(faults)}"
        remedy = f"install its lock (raymlops delivery install {manifest.digest}), or build it again"
        raise DeploymentError(f"bundle {manifest.digest}: {told}; {remedy}", digest=manifest.digest)


def verify_here(root: Path, bundle: str) -> BundleManifest:
    """Compute every hash of a bundle again, its wheels' too, and hold its packages against what is installed here.

    Args:
        root: Holds the bundles.
        bundle: The digest.

    Raises:
        DeploymentError: Something was altered, or other packages are installed.
    """
    check_digest("bundle", bundle)
    manifest = verify_bundle(root / bundle)
    wheels = root / bundle / WHEELS
    if wheels.exists():
        verify_wheels(wheels, lock_file(root / bundle, manifest))
    require_packages(manifest)
    if wheels.exists():
        verify_installed(wheels)
    return manifest


def rollback_target(environment: str, pipeline: str | None, store: DeliveryStore) -> Deployment:
    """The deployment that was live before the present bundle.

    Args:
        environment: Where.
        pipeline: Of which pipeline; may be left out where the environment has one.
        store: Where deployments are recorded.

    Raises:
        ConfigError: The environment has several pipelines, and none is named.
        NotFoundError: Nothing, or nothing else, was deployed there.
    """
    check_name("environment", environment)
    live = [found for found in store.deployments.list_live_deployments() if found.environment == environment]
    names = {found.bundle: store.deployments.get_bundle(found.bundle).project.name for found in live}
    if pipeline is None and len(live) > 1:
        raise ConfigError(f"{environment!r} has several pipelines, name one of {', '.join(sorted(names.values()))}")
    now = next((found for found in live if pipeline in {None, names[found.bundle]}), None)
    if now is None:
        raise NotFoundError(f"no bundle is deployed in {environment!r}", environment=environment)
    for former in store.deployments.list_deployments(environment, names[now.bundle]):
        if former.bundle != now.bundle:
            return former
    raise NotFoundError(f"no other bundle than {now.bundle} was ever deployed in {environment!r}")


@contextmanager
def alone(home: Path, environment: str) -> Iterator[None]:
    """See to it that one deployment at a time goes on in an environment.

    Args:
        home: Of the platform.
        environment: Where.

    Raises:
        ConflictError: Another one is under way there.
    """
    check_name("environment", environment)
    place = home / "bundles"
    place.mkdir(parents=True, exist_ok=True)
    with (place / f".{environment}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(f"another deployment is under way in {environment!r}: wait for its end") from None
        yield
