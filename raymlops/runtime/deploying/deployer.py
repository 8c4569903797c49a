"""Deploying a bundle: compare, verify the target, install, run once, ask, and only then switch."""

from __future__ import annotations

import math
import uuid
from functools import cached_property
from pathlib import Path

from raymlops import runtime
from raymlops.clock import Clock
from raymlops.config.delivery import EnvironmentRules
from raymlops.config.platform import PlatformConfig
from raymlops.control.triggering.news import code_digest
from raymlops.delivery.admission.changes import BundleChanges, bundle_changes
from raymlops.delivery.attempts import Attempt, Switch
from raymlops.delivery.environment import require_deployable
from raymlops.delivery.load_test import LoadReport
from raymlops.delivery.provenance import read_signed
from raymlops.errors import ConflictError, NotFoundError
from raymlops.metadata import Metadata
from raymlops.records.bundles import BundleManifest, Deployment, ServedBefore
from raymlops.records.delivering.environments import name_in
from raymlops.records.names import check_name
from raymlops.runtime.cluster.people import acting_user
from raymlops.runtime.deploying.grounds import Grounds
from raymlops.runtime.deploying.settling import Settling, live_bundle

__all__ = ["Deployer"]


class Deployer:
    """Makes bundles live, one at a time in each environment.

    What one is about to do is in the ledger before it is done, and ``Settling`` comes after one that was killed.

    Args:
        config: The platform's configuration.
        metadata: All stores.
        clock: Dates the records.
        grounds: Where bundles are deployed; the cluster of this process by default.
    """

    def __init__(
        self, config: PlatformConfig, metadata: Metadata, clock: Clock, grounds: Grounds | None = None
    ) -> None:
        self._config = config
        self._metadata = metadata
        self._clock = clock
        self._given = grounds
        self._settling = Settling(config, metadata, clock, lambda: self._grounds)

    @cached_property
    def _grounds(self) -> Grounds:
        """The cluster is asked where it is needed: what may not be deployed is refused without one."""
        return self._given or runtime.ClusterGrounds(self._config, self._metadata, self._clock)

    def changes(self, manifest: BundleManifest, environment: str) -> BundleChanges:
        """What deploying a bundle would change there; nothing is.

        Raises:
            DeploymentError: The environment trusts none of its builders: not even its definitions are imported.
        """
        if builders := self._config.delivery.rules(environment).builders:
            read_signed(self._place(manifest), manifest, builders)
        live, grounds = live_bundle(self._metadata.deployments, manifest, environment), self._grounds
        locks = (b"" if live is None else grounds.lock(live), grounds.lock(manifest))
        told = grounds.store(environment).apply(*grounds.definitions(manifest), dry_run=True)
        return bundle_changes(live, manifest, locks, told)

    def deploy(self, manifest: BundleManifest, environment: str, reason: str) -> Deployment:
        """Make a bundle live once it has shown that it works there; its model is then served.

        Raises:
            DeploymentError: It may not be deployed there, cannot run there, or failed its rehearsal.
            ConflictError: Another deployment is under way in the environment.
            RaymlopsError: What else a part of it raised; whatever it is, what was served before is served.
        """
        rules = self._config.delivery.rules(environment)
        with self._settling.turn(environment):
            self._require_deployable(manifest, environment)
            live = live_bundle(self._metadata.deployments, manifest, environment)
            # what differs in its policy alone has nothing to show
            if live is not None and code_digest(live) == code_digest(manifest):
                return self._made_live(manifest, live, environment, reason)
            project, own = manifest.project, self._config.environment
            pipeline, model = name_in(environment, own, project.name), name_in(environment, own, project.model)
            check_name("project", pipeline)
            check_name("model", model)
            self._metadata.deployments.put_bundle(manifest)
            attempt = self._new("deploy", manifest, environment, reason).model_copy(update={"model": model})
            with self._settling.refusals_told(attempt):
                self._grounds.require_fit(manifest)
                attempt = self._settling.begin(self._with_definitions(attempt, manifest))
                return self._settling.carry_out(
                    attempt, manifest, lambda: self._rehearsed(attempt, manifest, pipeline, rules)
                )

    def record(self, manifest: BundleManifest, environment: str, reason: str) -> Deployment:
        """Apply what a bundle defines, make it live, and leave what is served alone; raises as ``deploy``."""
        with self._settling.turn(environment):
            self._require_deployable(manifest, environment)
            live = live_bundle(self._metadata.deployments, manifest, environment)
            return self._made_live(manifest, live, environment, reason)

    def roll_back(self, live: Deployment, former: BundleManifest, reason: str) -> Deployment:
        """Put a former bundle in the place of the one that is live, and back in service what that one replaced.

        Raises:
            DeploymentError: The former bundle may not be deployed any more.
            ConflictError: What was live when this was asked for is not any more.
        """
        environment = live.environment
        with self._settling.turn(environment):
            self._require_deployable(former, environment)
            if self._metadata.deployments.find_deployment(environment, former.project.name) != live:
                raise ConflictError(
                    f"another bundle than {live.bundle} is live in {environment!r} by now: roll back again"
                )
            before = live.replaced
            if before is None:
                raise NotFoundError(f"nothing was served in {environment!r} before bundle {live.bundle}")
            replaced_of = self._metadata.deployments.get_bundle(live.bundle).project.model
            model = name_in(environment, self._config.environment, replaced_of)
            attempt = self._new("roll_back", former, environment, reason).model_copy(update={"model": model})
            return self._settling.carry_out(
                self._settling.begin(attempt), former, lambda: self._switch_to(model, before.version, before.service)
            )

    def remove(self, environment: str, reason: str) -> None:
        """End all that an environment has, its features too."""
        with self._settling.turn(environment):
            tables = self._grounds.tables_in(environment)
            if tables is None and not self._settling.lives_of(environment):
                return
            attempt = Attempt(
                id=uuid.uuid4().hex,
                kind="end_environment",
                environment=environment,
                by=acting_user(),
                reason=reason,
                tables=tables or (),
            )
            self._settling.end_environment(self._settling.begin(attempt))

    def settle(self) -> None:
        """Finish or undo the deployments that were killed; see ``Settling``."""
        self._settling.settle()

    def _made_live(
        self, manifest: BundleManifest, live: BundleManifest | None, environment: str, reason: str
    ) -> Deployment:
        """Make a bundle live without a rehearsal; ``live`` is the bundle of its project that was."""
        known = self._metadata.deployments.find_deployment(environment, manifest.project.name)
        if known is not None and known.bundle == manifest.digest:
            return known
        self._metadata.deployments.put_bundle(manifest)
        attempt = self._new("deploy", manifest, environment, reason)
        if live is not None and code_digest(live) == code_digest(manifest):  # nor does it define anything else
            return self._settling.finish(self._settling.begin(attempt), manifest)
        with self._settling.refusals_told(attempt):
            attempt = self._settling.begin(self._with_definitions(attempt, manifest))
            return self._settling.install(attempt, manifest)

    def _rehearsed(self, attempt: Attempt, manifest: BundleManifest, pipeline: str, rules: EnvironmentRules) -> Switch:
        environment, grounds = attempt.environment, self._grounds
        self._settling.apply(attempt, manifest)
        if rules.rows_from is not None:
            grounds.fill(environment, rules.rows_from)
        run = grounds.run(manifest, pipeline, environment, rules)
        assert attempt.model is not None
        version = self._metadata.models.get_version(attempt.model, run.result["version"])
        service = grounds.service_of(version)
        report = grounds.ask(version, manifest.project, service, rules, attempt.rehearsal_order)
        switch = self._switch_to(attempt.model, version.version, service)
        facts = {"run": run.id, "load": None if report is None else _figures(report)}
        return switch.model_copy(update={"facts": facts})

    def _switch_to(self, model: str, version: int, service: str | None) -> Switch:
        """Serving a version in place of what is served."""
        plan = self._metadata.plans.find_plan(model)
        before = plan if plan is not None and plan.served else None
        return Switch(
            version=version,
            service=service,
            replicas=None if before is None else before.replicas,
            replaced=None if before is None else ServedBefore(version=before.champion, service=before.service),
            plan=0 if plan is None else plan.number,
        )

    def _with_definitions(self, attempt: Attempt, manifest: BundleManifest) -> Attempt:
        """What it does to the definitions of its environment."""
        store = self._grounds.store(attempt.environment)
        told = store.apply(*self._grounds.definitions(manifest), dry_run=True)
        return attempt.model_copy(update={"added": told.added, "changed": bool(told.changed)})

    def _new(self, kind: str, manifest: BundleManifest, environment: str, reason: str) -> Attempt:
        facts = {"kind": kind, "environment": environment, "reason": reason, "bundle": manifest.digest}
        return Attempt.model_validate({"id": uuid.uuid4().hex, "by": acting_user(), **facts})

    def _require_deployable(self, manifest: BundleManifest, environment: str) -> None:
        own, place, delivery = self._config.environment, self._place(manifest), self._config.delivery
        rules, others = delivery.rules(environment), delivery.environments
        require_deployable(manifest, environment, self._metadata, rules=rules, place=place, own=own, others=others)

    def _place(self, manifest: BundleManifest) -> Path:
        return self._config.home / "bundles" / manifest.digest


def _figures(report: LoadReport) -> dict[str, object]:
    finite = {"p50_ms": report.p50_ms, "p99_ms": report.p99_ms}
    times = {name: round(value, 3) for name, value in finite.items() if math.isfinite(value)}
    return {"requests": len(report.latencies_s), "failed": report.failed, **times}
