"""Deploying a bundle: compare, verify the target, install, run once, ask, and only then switch."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from raymlops.clock import Clock
from raymlops.config.delivery import EnvironmentRules
from raymlops.config.platform import PlatformConfig
from raymlops.control.triggering.news import code_digest
from raymlops.delivery.approval import ledger_subject
from raymlops.delivery.changes import BundleChanges, bundle_changes
from raymlops.delivery.environment import Switched, alone, record_deployment, require_deployable
from raymlops.delivery.load_test import LoadReport
from raymlops.delivery.provenance import read_signed
from raymlops.delivery.target import check_target
from raymlops.delivery.verify import lock_file, read_sources
from raymlops.errors import ConflictError, DeploymentError, NotFoundError, RaymlopsError
from raymlops.features.offline.training_set import TrainingSets
from raymlops.metadata import Metadata
from raymlops.records.bundles import BundleManifest, Deployment, ServedBefore
from raymlops.records.delivering.environments import name_in
from raymlops.records.features import ApplyReport
from raymlops.records.ledger import Ledger
from raymlops.records.names import check_name
from raymlops.records.runs import Run, RunStatus
from raymlops.runtime.by_hand import ByHand
from raymlops.runtime.cluster.clients import ActorProxy
from raymlops.runtime.cluster.names import FEATURES
from raymlops.runtime.cluster.people import acting_user
from raymlops.runtime.deploying.offer import needs_of, target_of
from raymlops.runtime.deploying.rehearsal import Rehearsal
from raymlops.runtime.jobs.bundle_definitions import bundle_definitions
from raymlops.runtime.jobs.operators import RunOperator
from raymlops.runtime.jobs.run_jobs import JobRunner
from raymlops.runtime.serve.endpoint_orders import EndpointOrders
from raymlops.tables.files import parse_root

if TYPE_CHECKING:
    from raymlops.features import Definition, FeatureStore

__all__ = ["Deployer"]


class Deployer:
    """Makes bundles live, one at a time in each environment.

    Args:
        config: The platform's configuration.
        metadata: All stores.
        clock: Dates the records.
    """

    def __init__(self, config: PlatformConfig, metadata: Metadata, clock: Clock) -> None:
        self._config = config
        self._metadata = metadata
        self._clock = clock

    def changes(self, manifest: BundleManifest, environment: str) -> BundleChanges:
        """What deploying a bundle would change there; nothing is.

        Raises:
            DeploymentError: The environment trusts none of its builders: not even its definitions are imported.
        """
        if builders := self._config.delivery.rules(environment).builders:
            read_signed(self._place(manifest), manifest, builders)
        live = self._live(manifest, environment)
        locks = (b"" if live is None else self._lock(live), self._lock(manifest))
        return bundle_changes(live, manifest, locks, self._store.apply(*self._definitions(manifest), dry_run=True))

    def deploy(self, manifest: BundleManifest, environment: str, reason: str) -> Deployment:
        """Make a bundle live once it has shown that it works there; its model is then served.

        Raises:
            DeploymentError: It may not be deployed there, cannot run there, or failed its rehearsal.
            ConflictError: Another deployment is under way in the environment.
            RaymlopsError: What else a part of it raised; whatever it is, what was served before is served.
        """
        rules = self._config.delivery.rules(environment)
        with alone(self._config.home, environment):
            self._require_deployable(manifest, environment, rules)
            live = self._live(manifest, environment)
            served = None
            # what differs in its policy alone has nothing to show
            if live is None or code_digest(live) != code_digest(manifest):
                self._metadata.deployments.put_bundle(manifest)
                with _refusals_told(self._metadata.ledger, manifest, environment):
                    served = self._rehearsed(manifest, environment, rules, reason)
            return record_deployment(
                manifest, environment, self._metadata, self._clock, reason, by=acting_user(), served=served
            )

    def roll_back(self, live: Deployment, former: BundleManifest, reason: str) -> Deployment:
        """Put a former bundle in the place of the one that is live, and back in service what that one replaced.

        Raises:
            DeploymentError: The former bundle may not be deployed any more.
            ConflictError: What was live when this was asked for is not any more.
        """
        environment = live.environment
        with alone(self._config.home, environment):
            self._require_deployable(former, environment, self._config.delivery.rules(environment))
            if self._metadata.deployments.find_deployment(environment, former.project.name) != live:
                raise ConflictError(
                    f"another bundle than {live.bundle} is live in {environment!r} by now: roll back again"
                )
            if live.replaced is None:
                raise NotFoundError(f"nothing was served in {environment!r} before bundle {live.bundle}")
            replaced_of = self._metadata.deployments.get_bundle(live.bundle).project.model
            model = name_in(environment, self._config.environment, replaced_of)
            served = self._switched(model, live.replaced.version, live.replaced.service, reason, {})
            return record_deployment(
                former, environment, self._metadata, self._clock, reason, by=acting_user(), served=served
            )

    def remove(self, environment: str, reason: str) -> None:
        """End all that an environment has."""
        with alone(self._config.home, environment):
            for live in self._metadata.deployments.list_live_deployments():
                if live.environment != environment:
                    continue
                project = self._metadata.deployments.get_bundle(live.bundle).project
                model = name_in(environment, self._config.environment, project.model)
                plan = self._metadata.plans.find_plan(model)
                if plan is not None and plan.served:
                    self._endpoints.undeploy(model, reason=reason)
                ended = {"ended": True, "at": self._clock.now(), "reason": reason}
                self._metadata.deployments.put_deployment(live.model_copy(update=ended))

    def _require_deployable(self, manifest: BundleManifest, environment: str, rules: EnvironmentRules) -> None:
        own, place = self._config.environment, self._place(manifest)
        others = self._config.delivery.environments
        require_deployable(manifest, environment, self._metadata, rules=rules, place=place, own=own, others=others)

    def _rehearsed(self, manifest: BundleManifest, environment: str, rules: EnvironmentRules, reason: str) -> Switched:
        project, own = manifest.project, self._config.environment
        pipeline, model = name_in(environment, own, project.name), name_in(environment, own, project.model)
        check_name("project", pipeline)
        check_name("model", model)
        check_target(
            manifest, needs_of(self._config, manifest, self._lock(manifest)), target_of(self._config, self._metadata)
        )
        installed = self._install(manifest, environment)
        try:
            run = self._run(manifest, pipeline, environment, rules)
            version = self._metadata.models.get_version(model, run.result["version"])
            service = None if version.training_set is None else self._service(version.training_set)
            report = Rehearsal(self._config, self._metadata, self._endpoints).ask(version, project, service, rules)
            facts = {"run": run.id, "load": None if report is None else _figures(report)}
            return self._switched(model, version.version, service, f"bundle {manifest.digest[:12]}: {reason}", facts)
        except BaseException:
            if installed.added:
                self._store.apply(withdraw=installed.added)
            raise

    def _switched(
        self, model: str, version: int, service: str | None, reason: str, facts: Mapping[str, object]
    ) -> Switched:
        """Serve a version in place of what is served."""
        plan = self._metadata.plans.find_plan(model)
        before = plan if plan is not None and plan.served else None
        replicas = None if before is None else before.replicas
        self._endpoints.deploy(model, version, features=service, replicas=replicas, reason=reason)
        replaced = None if before is None else ServedBefore(version=before.champion, service=before.service)
        return Switched(version, replaced, facts)

    def _run(self, manifest: BundleManifest, pipeline: str, environment: str, rules: EnvironmentRules) -> Run:
        """Run the bundle's pipeline once.

        Raises:
            DeploymentError: It came to no version.
        """
        jobs = JobRunner(self._config.home, self._metadata.runs, self._clock)
        run = RunOperator(self._config, self._metadata, jobs, self._clock).start(
            pipeline,
            parameters={"skip_unchanged": False, **rules.parameters},
            reason=f"rehearsal of bundle {manifest.digest[:12]} for {environment}",
            timeout_s=self._config.cluster.run_deadline.total_seconds(),
            bundle=manifest.digest,
        )
        if run.status is not RunStatus.SUCCEEDED or run.result.get("version") is None:
            why = run.error or f"{run.result.get('outcome')}: {run.result.get('reason')}"
            raise DeploymentError(f"bundle {manifest.digest}: its run {run.id} came to no model: {why}", run=run.id)
        return run

    def _install(self, manifest: BundleManifest, environment: str) -> ApplyReport:
        """Apply a bundle's definitions; another environment than the platform's own only adds some."""
        definitions = self._definitions(manifest)
        told = self._store.apply(*definitions, dry_run=True)
        if told.changed and environment != self._config.environment and not told.faults:
            names = ", ".join(change.name for change in told.changed)
            raise DeploymentError(
                f"bundle {manifest.digest}: {environment!r} may only add definitions, and this one changes {names} in "
                f"place, which other environments use: give the changed ones new versions"
            )
        why = f"bundle {manifest.digest[:12]} for {environment}"
        return ByHand(self._config, self._metadata, self._store, self._clock).apply(
            definitions, dry_run=False, reason=why
        )

    def _service(self, training_set: str) -> str:
        root = parse_root(self._config.features.root_in(self._config.home))
        return TrainingSets(root, self._config.features.storage_options).manifest(training_set).service

    def _definitions(self, manifest: BundleManifest) -> Sequence[Definition]:
        return bundle_definitions(manifest.project, read_sources(self._place(manifest)))

    def _live(self, manifest: BundleManifest, environment: str) -> BundleManifest | None:
        found = self._metadata.deployments.find_deployment(environment, manifest.project.name)
        return None if found is None else self._metadata.deployments.get_bundle(found.bundle)

    def _place(self, manifest: BundleManifest) -> Path:
        return self._config.home / "bundles" / manifest.digest

    def _lock(self, manifest: BundleManifest) -> bytes:
        lock = lock_file(self._place(manifest), manifest)
        try:
            return lock.read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(f"bundle {manifest.digest} has no {lock.name} in {lock.parent}") from error

    @cached_property
    def _store(self) -> FeatureStore:
        return cast("FeatureStore", ActorProxy(FEATURES, self._config.cluster.call_timeout.total_seconds()))

    @cached_property
    def _endpoints(self) -> EndpointOrders:
        return EndpointOrders(self._config, self._metadata)


def _figures(report: LoadReport) -> dict[str, object]:
    finite = {"p50_ms": report.p50_ms, "p99_ms": report.p99_ms}
    times = {name: round(value, 3) for name, value in finite.items() if math.isfinite(value)}
    return {"requests": len(report.latencies_s), "failed": report.failed, **times}


@contextmanager
def _refusals_told(ledger: Ledger, manifest: BundleManifest, environment: str) -> Iterator[None]:
    """Record why a bundle was refused by its rehearsal."""
    try:
        yield
    except RaymlopsError as error:
        facts = {"bundle": manifest.digest, "environment": environment, "by": acting_user()}
        key = f"refuse_bundle:{environment}:{manifest.digest}:{uuid.uuid4().hex}"
        ledger.append_entry(ledger_subject(manifest.digest), "refuse_bundle", str(error), facts, key=key)
        raise
