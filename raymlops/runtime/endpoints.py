"""Brings endpoints from one serving plan to the next without losing a request."""

from __future__ import annotations

import time
from typing import Any, Literal, Protocol

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from raymlops.clock import Clock
from raymlops.config.platform import PlatformConfig
from raymlops.errors import DeploymentError, InvalidTransition, RaymlopsError, SwapFailed
from raymlops.records.ledger import LedgerEntry
from raymlops.records.models import AliasChange, ModelState, ModelVersion
from raymlops.records.plans import ServingPlan, Trial
from raymlops.runtime import replica

__all__ = ["EndpointOperator", "PlanRecords"]


class PlanRecords(Protocol):
    """What the operator needs of the metadata store."""

    def get_version(self, name: str, version: int) -> ModelVersion:
        """A version."""
        ...

    def find_plan(self, model: str) -> ServingPlan | None:
        """The newest plan, if there is one."""
        ...

    def get_plan(self, model: str) -> ServingPlan:
        """The newest plan."""
        ...

    def put_plan(self, plan: ServingPlan) -> ServingPlan:
        """Commit the next plan."""
        ...

    def aliases(self, name: str) -> dict[str, int]:
        """Alias -> version."""
        ...

    def set_alias(
        self, name: str, alias: str, version: int | None, *, expected: int | None, reason: str
    ) -> AliasChange:
        """Move an alias by compare-and-set."""
        ...

    def set_state(self, name: str, version: int, state: ModelState, *, reason: str) -> ModelVersion:
        """Change a version's state."""
        ...

    def append_entry(
        self, subject: str, action: str, reason: str, evidence: dict[str, Any], *, key: str
    ) -> LedgerEntry:
        """Append to the ledger."""
        ...


class EndpointOperator:
    """Moves endpoints between plans: prepare everywhere, commit, swap everywhere.

    A plan is committed only when every replica has loaded and warmed what is new in it, so a model that does not load
    changes nothing. After the commit the swap is one reference per replica; a replica that misses the broadcast finds
    the plan by its poll or at its start. Every method may be repeated after a crash: what is done already is found done.

    Args:
        config: The platform's configuration.
        metadata: Versions, plans, aliases and the ledger.
        clock: Stamps new plans.
    """

    def __init__(self, config: PlatformConfig, metadata: PlanRecords, clock: Clock) -> None:
        self._config = config
        self._metadata = metadata
        self._clock = clock
        self.last_swap_ms: float | None = None
        """Duration of the newest swap over all replicas, once everything was loaded."""

    def deploy(
        self, name: str, version: int, *, service: str | None, replicas: int, reason: str = "deployed"
    ) -> ServingPlan:
        """Serve ``version`` as champion; returns when every replica answers with it.

        Raises:
            ModelVersionNotFound: There is no such version.
            DeploymentError: The endpoint did not come up.
            SwapFailed: A replica could not load the version; the old plan stays.
        """
        self._metadata.get_version(name, version)
        current = self._metadata.find_plan(name)
        backup = None if current is None or current.champion == version else current.champion
        plan = self._next(
            name, current, champion=version, backup=backup, service=service, replicas=replicas, reason=reason
        )
        if current is None or not _is_running(name):
            plan = self._metadata.put_plan(plan)
            self._run_application(plan)
        elif replicas != current.replicas:
            plan = self._commit(plan)
            self._run_application(plan)
        else:
            plan = self._commit(plan)
        self._settle(plan, "deploy", reason)
        return plan

    def start_trial(
        self, name: str, version: int, *, mode: Literal["canary", "shadow"], weight: float, reason: str
    ) -> ServingPlan:
        """Put ``version`` beside the champion, in a deployment of its own, and give it its share of the traffic.

        Raises:
            InvalidTransition: It is the champion already, or another version is on trial.
            DeploymentError: The candidate did not come up.
        """
        current = self._metadata.get_plan(name)
        self._metadata.get_version(name, version)
        if current.champion == version:
            raise InvalidTransition(f"version {version} of {name} is the champion already")
        if current.trial is not None and current.trial.version != version:
            raise InvalidTransition(f"version {current.trial.version} of {name} is on trial, {version} has to wait")
        deadline_ms = self._config.control.trial.deadline.total_seconds() * 1000
        trial = Trial(version=version, mode=mode, weight=weight, deadline_ms=deadline_ms)
        self._run(replica.candidate_application(self._config, name, version), _candidate(name, version), None)
        if current.trial != trial:
            current = self._commit(self._next(name, current, trial=trial, reason=reason))
        self._metadata.set_state(name, version, ModelState.STAGING, reason=reason)
        self._record(current, "start_trial", reason)
        return current

    def promote(self, name: str, version: int, *, reason: str) -> ServingPlan:
        """Make ``version`` the champion and the present champion its backup."""
        current = self._metadata.get_plan(name)
        if current.champion != version:
            current = self._commit(
                self._next(name, current, champion=version, backup=current.champion, trial=None, reason=reason)
            )
        self._settle(current, "promote", reason)
        serve.delete(_candidate(name, version), _blocking=False)
        return current

    def rollback(self, name: str, *, reason: str) -> ServingPlan:
        """End a trial; without one, put the backup back in the champion's place.

        Raises:
            InvalidTransition: There is neither a trial nor a backup.
        """
        current = self._metadata.get_plan(name)
        if current.trial is not None:
            failed = current.trial.version
            plan = self._commit(self._next(name, current, trial=None, reason=reason))
            serve.delete(_candidate(name, failed), _blocking=False)
        elif current.backup is not None:
            failed = current.champion
            plan = self._commit(self._next(name, current, champion=current.backup, backup=None, reason=reason))
        else:
            raise InvalidTransition(f"{name} has neither a trial to end nor a backup to fall back to")
        self._metadata.set_state(name, failed, ModelState.ARCHIVED, reason=reason)
        self._settle(plan, "roll_back", reason)
        return plan

    def flush(self, name: str) -> int:
        """Have every replica hand its prediction events over; returns how many were handed over."""
        return sum(self._broadcast(name, "flush"))

    def _next(self, name: str, current: ServingPlan | None, **changes: object) -> ServingPlan:
        number = 1 if current is None else current.number + 1
        kept = {} if current is None else current.model_dump()
        return ServingPlan.model_validate(
            {**kept, "model": name, "number": number, "created_at": self._clock.now(), **changes}
        )

    def _commit(self, plan: ServingPlan) -> ServingPlan:
        """Prepare on every replica, write the plan down, swap on every replica."""
        self._broadcast(plan.model, "prepare", plan.model_dump_json())
        plan = self._metadata.put_plan(plan)
        started = time.perf_counter()
        self._broadcast(plan.model, "swap", plan.number)
        self.last_swap_ms = (time.perf_counter() - started) * 1000
        return plan

    def _broadcast(self, name: str, method: str, *args: object) -> list[Any]:
        try:
            return list(_handle(name).broadcast(method, *args).results(timeout_s=self._timeout_s))
        except RaymlopsError:
            raise
        except (RayError, RayServeException, TimeoutError) as error:
            cause = getattr(error, "cause", error)
            raise SwapFailed(f"{method} of {name} did not reach every replica: {cause}", name=name) from error

    @property
    def _timeout_s(self) -> float:
        return self._config.serving.swap_timeout.total_seconds()

    def _run_application(self, plan: ServingPlan) -> None:
        application = replica.model_application(self._config, plan.model, plan.replicas)
        self._run(application, _application(plan.model), f"/v2/models/{plan.model}")

    def _run(self, application: serve.Application, name: str, route_prefix: str | None) -> None:
        try:
            serve.run(application, name=name, route_prefix=route_prefix)
        except (RuntimeError, TimeoutError) as error:
            raise DeploymentError(f"application {name} did not come up: {error}", name=name) from error

    def _settle(self, plan: ServingPlan, action: str, reason: str) -> None:
        """Bring aliases, states and the ledger in line with the committed plan."""
        before = self._metadata.aliases(plan.model)
        for alias, version in (("champion", plan.champion), ("backup", plan.backup)):
            if before.get(alias) != version:
                self._metadata.set_alias(plan.model, alias, version, expected=before.get(alias), reason=reason)
        self._metadata.set_state(plan.model, plan.champion, ModelState.PRODUCTION, reason=reason)
        self._record(plan, action, reason)

    def _record(self, plan: ServingPlan, action: str, reason: str) -> None:
        evidence = plan.model_dump(mode="json", exclude={"created_at", "reason"})
        self._metadata.append_entry(
            plan.model, f"plan_{action}", reason, evidence, key=f"plan/{plan.model}/{plan.number}/{action}"
        )


def _application(model: str) -> str:
    return f"model-{model}"


def _candidate(model: str, version: int) -> str:
    return f"candidate-{model}-{version}"


def _handle(model: str) -> DeploymentHandle:
    return serve.get_app_handle(_application(model))


def _is_running(model: str) -> bool:
    return _application(model) in serve.status().applications
