"""What becomes of a deployment: done to its end, or undone; also after it was killed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from raymlops.clock import Clock
from raymlops.config.platform import PlatformConfig
from raymlops.delivery.admission.approval import ledger_subject
from raymlops.delivery.attempts import Attempt, Attempts, Switch
from raymlops.delivery.environment import Switched, alone, record_deployment
from raymlops.errors import ConflictError, RaymlopsError, StorageError, UnavailableError
from raymlops.metadata import Metadata
from raymlops.records.bundles import BundleManifest, Deployment, DeploymentStore
from raymlops.records.delivering.environments import name_in, rehearsal_name
from raymlops.runtime.by_hand import ByHand
from raymlops.runtime.deploying.grounds import Grounds

__all__ = ["Settling", "live_bundle"]

_log = logging.getLogger(__name__)


class Settling:
    """Carries deployments out, and comes after those that were killed.

    What a deployment is about to do is in the ledger before it is done. One that was cut off is finished where its
    model is in service already, and undone where it is not: what is served and what is live agree.

    Args:
        config: The platform's configuration.
        metadata: All stores.
        clock: Dates the records.
        grounds: Gives the place where bundles are deployed.
    """

    def __init__(
        self, config: PlatformConfig, metadata: Metadata, clock: Clock, grounds: Callable[[], Grounds]
    ) -> None:
        self._config = config
        self._metadata = metadata
        self._clock = clock
        self._grounds = grounds
        self._attempts = Attempts(metadata.ledger)

    def begin(self, attempt: Attempt) -> Attempt:
        """Record a deployment before it changes anything."""
        return self._attempts.begin(attempt)

    def settle(self) -> None:
        """Finish or undo what deployments left that were killed; those that go on are left alone.

        Raises:
            UnavailableError: What is served, or a store, cannot be reached; to be called again.
        """
        for environment in sorted({attempt.environment for attempt in self._attempts.open()}):
            try:
                with alone(self._config.home, environment):
                    self._settle_left(environment)
            except ConflictError:  # it goes on
                continue

    @contextmanager
    def turn(self, environment: str) -> Iterator[None]:
        """Have an environment to oneself, and nothing left in it that was cut off.

        Raises:
            ConflictError: Another deployment is under way in it.
        """
        self.settle()  # of all, since another environment may need a definition that is about to be taken back
        with alone(self._config.home, environment):
            self._settle_left(environment)
            yield

    def _settle_left(self, environment: str) -> None:
        """Settle what was left in an environment that is this process's alone: nobody works on it any more."""
        for attempt in self._attempts.open(environment):
            _log.warning("%s of bundle %s in %s was cut off", attempt.kind, attempt.bundle[:12], environment)
            if attempt.kind == "end_environment":
                self.end_environment(attempt)
            else:
                self._settled(attempt, "it was cut off before its model was in service")

    def carry_out(self, attempt: Attempt, manifest: BundleManifest, prepare: Callable[[], Switch]) -> Deployment:
        """Do what is begun, to its end, or back to where it was before.

        Args:
            attempt: As it was begun.
            manifest: Of its bundle.
            prepare: Does what comes before the switch, and tells what is to be served.
        """
        try:
            switch = prepare()
            attempt = self._attempts.decide(attempt, switch)
            assert attempt.model is not None
            self._grounds().endpoints.serve(
                attempt.order, attempt.model, switch.version, features=switch.service, replicas=switch.replicas
            )
        except BaseException as error:
            live = self._settled_after(attempt, error)
            if live is not None and isinstance(error, RaymlopsError):  # it was put in service, and nobody heard of it
                return live
            raise
        return self.finish(attempt, manifest)

    def install(self, attempt: Attempt, manifest: BundleManifest) -> Deployment:
        """Do what is begun where what is served stays: apply what the bundle defines, and record that it is live."""
        try:
            self.apply(attempt, manifest)
        except RaymlopsError as error:
            live = self._settled_after(attempt, error)
            if live is not None:  # it was applied, and nobody heard of it
                return live
            raise
        return self.finish(attempt, manifest)

    def apply(self, attempt: Attempt, manifest: BundleManifest) -> None:
        """Apply what a bundle defines in the environment of its deployment; in the ledger first."""
        grounds, where = self._grounds(), attempt.environment
        hands = ByHand(self._config, self._metadata, grounds.store(where), self._clock, where)
        hands.apply(grounds.definitions(manifest), dry_run=False, reason=f"bundle {manifest.digest[:12]} for {where}")

    def _settled_after(self, attempt: Attempt, error: BaseException) -> Deployment | None:
        try:
            return self._settled(attempt, str(error) or type(error).__name__)
        except RaymlopsError as later:
            _log.warning("what is left of a deployment in %s is settled later: %s", attempt.environment, later)
            return None

    def _settled(self, attempt: Attempt, why: str) -> Deployment | None:
        """Finish what is in service, and undo what is not; ``None`` where it is undone."""
        if attempt.model is None:
            return self._installed_again(attempt)
        if attempt.switch is not None and self._grounds().endpoints.withdraw(attempt.order, attempt.model):
            return self.finish(attempt, self._metadata.deployments.get_bundle(attempt.bundle))
        self._stop_rehearsal(attempt, attempt.model)
        self._undo(attempt, why)
        return None

    def _installed_again(self, attempt: Attempt) -> Deployment | None:
        """Finish a deployment that needs no model in service, and undo it where its definitions are refused."""
        manifest = self._metadata.deployments.get_bundle(attempt.bundle)
        try:
            self.apply(attempt, manifest)
        except (StorageError, UnavailableError):  # which may pass
            raise
        except RaymlopsError as error:
            self._undo(attempt, str(error))
            return None
        return self.finish(attempt, manifest)

    def _undo(self, attempt: Attempt, why: str) -> None:
        self._take_back(attempt)
        if attempt.kind == "deploy":
            self._tell_refusal(attempt, why)
        self._attempts.end(attempt, "undone", f"what was live in {attempt.environment} still is: {why}")

    def finish(self, attempt: Attempt, manifest: BundleManifest) -> Deployment:
        """Record that the bundle is live, with what it put in service."""
        switch = attempt.switch
        served = None if switch is None else Switched(switch.version, switch.replaced, switch.facts)
        environment, by = attempt.environment, attempt.by
        live = record_deployment(
            manifest, environment, self._metadata, self._clock, attempt.reason, by=by, served=served
        )
        self._attempts.end(attempt, "done", f"bundle {attempt.bundle[:12]} is live in {environment}")
        return live

    def end_environment(self, attempt: Attempt) -> None:
        """Serve nothing more of an environment, record that nothing is live in it, and remove its features.

        May be repeated: one that was cut off is taken up where it was.
        """
        for live in self.lives_of(attempt.environment):
            project = self._metadata.deployments.get_bundle(live.bundle).project
            model = name_in(attempt.environment, self._config.environment, project.model)
            plan = self._metadata.plans.find_plan(model)
            if plan is not None and plan.served:
                self._grounds().endpoints.undeploy(model, reason=attempt.reason)
            ended = {"ended": True, "at": self._clock.now(), "reason": attempt.reason}
            self._metadata.deployments.put_deployment(live.model_copy(update=ended))
        self._grounds().stop_runs(attempt.environment, attempt.reason)
        self._grounds().remove_features(attempt.environment)
        told = f"tables {', '.join(attempt.tables)}" if attempt.tables else "no table had rows"
        self._attempts.end(
            attempt, "done", f"nothing is live in {attempt.environment}, and its features are removed: {told}"
        )

    def lives_of(self, environment: str) -> list[Deployment]:
        """What is live in an environment."""
        found = self._metadata.deployments.list_live_deployments()
        return [live for live in found if live.environment == environment]

    def _take_back(self, attempt: Attempt) -> None:
        """Have definitions as the bundle that is live has them."""
        store = self._grounds().store(attempt.environment)
        if attempt.added:
            store.apply(withdraw=attempt.added)
        manifest = self._metadata.deployments.get_bundle(attempt.bundle)
        live = live_bundle(self._metadata.deployments, manifest, attempt.environment)
        if attempt.changed and live is not None:
            definitions = self._grounds().definitions(live)
            if not store.apply(*definitions, dry_run=True).faults:  # some bundle of before was never applied
                store.apply(*definitions)

    def _stop_rehearsal(self, attempt: Attempt, model: str) -> None:
        if attempt.kind != "deploy":
            return
        name = rehearsal_name(model)
        self._grounds().endpoints.withdraw(attempt.rehearsal_order, name)
        plan = self._metadata.plans.find_plan(name)
        if plan is not None and plan.served:
            self._grounds().endpoints.undeploy(name, reason="the rehearsal was cut off")

    @contextmanager
    def refusals_told(self, attempt: Attempt) -> Iterator[None]:
        """Record why a bundle was refused, once."""
        try:
            yield
        except RaymlopsError as error:
            self._tell_refusal(attempt, str(error))
            raise

    def _tell_refusal(self, attempt: Attempt, why: str) -> None:
        facts = {"bundle": attempt.bundle, "environment": attempt.environment, "by": attempt.by}
        key = f"refuse_bundle:{attempt.environment}:{attempt.bundle}:{attempt.id}"
        self._metadata.ledger.append_entry(ledger_subject(attempt.bundle), "refuse_bundle", why, facts, key=key)


def live_bundle(deployments: DeploymentStore, manifest: BundleManifest, environment: str) -> BundleManifest | None:
    """The bundle of a project that is live in an environment."""
    found = deployments.find_deployment(environment, manifest.project.name)
    return None if found is None else deployments.get_bundle(found.bundle)
