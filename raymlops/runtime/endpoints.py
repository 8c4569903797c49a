"""Brings endpoints from one serving plan to the next without losing a request."""

from __future__ import annotations

import getpass
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, Protocol

from ray import serve
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus

from raymlops.clock import Clock
from raymlops.config.platform import PlatformConfig
from raymlops.errors import DeploymentError, InvalidTransition, RaymlopsError, SwapFailed
from raymlops.records.ledger import LedgerEntry
from raymlops.records.models import AliasChange, ModelState, ModelVersion
from raymlops.records.plans import ServingPlan, Trial
from raymlops.runtime import replica
from raymlops.runtime.model_fetching import model_files
from raymlops.serving.baseline import declare_baseline
from raymlops.serving.loader import load_version

__all__ = ["EndpointOperator", "PlanRecords"]

logging.getLogger("ray.serve").setLevel(logging.ERROR)
"""Who operates endpoints hears of what fails, and not of every application."""

_RETRY_S = 0.25


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
        self,
        name: str,
        alias: str,
        version: int | None,
        *,
        expected: int | None,
        reason: str,
        evidence: Mapping[str, object] | None = None,
    ) -> AliasChange:
        """Move an alias by compare-and-set."""
        ...

    def set_state(
        self,
        name: str,
        version: int,
        state: ModelState,
        *,
        reason: str,
        evidence: Mapping[str, object] | None = None,
    ) -> ModelVersion:
        """Change a version's state."""
        ...

    def append_entry(
        self, subject: str, action: str, reason: str, evidence: Mapping[str, Any], *, key: str
    ) -> LedgerEntry:
        """Append to the ledger."""
        ...


class EndpointOperator:
    """Moves endpoints between plans: prepare everywhere, commit, swap everywhere.

    A plan is committed only when every replica has loaded and warmed what is new in it, so a model that does not load
    changes nothing. After the commit the swap is one reference per replica; a replica that misses the broadcast finds
    the plan by its poll or at its start. Every method may be repeated after a crash: what is done is found done.

    Args:
        config: The platform's configuration.
        metadata: Versions, plans, aliases and the ledger.
        clock: Stamps new plans.
    """

    def __init__(self, config: PlatformConfig, metadata: PlanRecords, clock: Clock) -> None:
        self._config = config
        self._metadata = metadata
        self._clock = clock
        self._threads = ThreadPoolExecutor(2, "broadcast")

    def deploy(
        self,
        name: str,
        version: int,
        *,
        service: str | None,
        replicas: int,
        baseline: float | Sequence[float] | None = None,
        reason: str = "deployed",
    ) -> ServingPlan:
        """Serve ``version`` as champion; returns when every replica answers with it.

        Args:
            name: The model.
            version: Its champion from now on.
            service: Feature service that ``predict`` joins; ``None`` for infer only.
            replicas: How many.
            baseline: The constant answer where no version can; ``None`` keeps what was declared before.
            reason: For the ledger.

        Raises:
            ModelVersionNotFound: There is no such version.
            InvalidTransition: It is blocked.
            DataError: The baseline is no answer of the version.
            DeploymentError: The endpoint did not come up.
            SwapFailed: A replica could not load the version; the old plan stays.
        """
        signature = self._metadata.get_version(name, version).manifest.signature
        current = self._metadata.find_plan(name)
        declared = None if current is None else current.baseline
        if current is not None:
            _require_unblocked(current, version)
        backup = None if current is None or current.champion == version else current.champion
        trial = None if current is None or current.champion != version else current.trial
        plan = ServingPlan(
            model=name,
            number=1 if current is None else current.number + 1,
            champion=version,
            backup=backup,
            trial=trial,
            blocked=() if current is None else current.blocked,
            baseline=declared if baseline is None else declare_baseline(signature, baseline),
            service=service,
            replicas=replicas,
            reason=reason,
            created_at=self._clock.now(),
        )
        return self._on_demand(plan, "deploy")

    def start_trial(self, name: str, trial: Trial, *, reason: str) -> ServingPlan:
        """Put a version beside the champion, in a deployment of its own, and give it its share of the traffic.

        Raises:
            InvalidTransition: It is the champion already, or blocked, or another version is on trial.
            DeploymentError: The candidate did not come up.
        """
        current = self._metadata.get_plan(name)
        self._metadata.get_version(name, trial.version)
        _require_unblocked(current, trial.version)
        if current.champion == trial.version:
            raise InvalidTransition(f"version {trial.version} of {name} is the champion already")
        if current.trial is not None and current.trial.version != trial.version:
            raise InvalidTransition(
                f"version {current.trial.version} of {name} is on trial, {trial.version} has to wait"
            )
        return self._on_demand(self._next(current, reason, trial=trial), "start_trial")

    def promote(self, name: str, version: int, *, reason: str) -> ServingPlan:
        """Make ``version`` the champion and the present champion its backup."""
        current = self._metadata.get_plan(name)
        self._metadata.get_version(name, version)
        _require_unblocked(current, version)
        if current.champion == version:
            return self.carry_out(current)
        promoted = self._next(current, reason, champion=version, backup=current.champion, trial=None)
        return self._on_demand(promoted, "promote")

    def rollback(self, name: str, *, reason: str) -> ServingPlan:
        """End a trial; without one, put the backup back in the champion's place.

        Raises:
            InvalidTransition: There is neither a trial nor a backup.
        """
        current = self._metadata.get_plan(name)
        if current.trial is not None:
            return self._on_demand(self._next(current, reason, trial=None), "roll_back")
        if current.backup is None:
            raise InvalidTransition(f"{name} has neither a trial to end nor a backup to fall back to")
        _require_unblocked(current, current.backup)
        return self._on_demand(self._next(current, reason, champion=current.backup, backup=None), "roll_back")

    def block(self, name: str, version: int, *, reason: str) -> ServingPlan:
        """Have ``version`` answer nobody from now on: whoever comes after it does. A trial of it ends."""
        current = self._metadata.get_plan(name)
        self._metadata.get_version(name, version)
        if version in current.blocked:
            return self.carry_out(current)
        ends = current.trial is not None and current.trial.version == version
        trial = None if ends else current.trial
        blocked = tuple(sorted({*current.blocked, version}))
        return self._on_demand(self._next(current, reason, blocked=blocked, trial=trial), "block_version")

    def unblock(self, name: str, version: int, *, reason: str) -> ServingPlan:
        """Let ``version`` answer again.

        Raises:
            InvalidTransition: It is not blocked.
        """
        current = self._metadata.get_plan(name)
        if version not in current.blocked:
            raise InvalidTransition(f"version {version} of {name} is not blocked")
        blocked = tuple(other for other in current.blocked if other != version)
        return self._on_demand(self._next(current, reason, blocked=blocked), "unblock_version")

    def carry_out(self, plan: ServingPlan) -> ServingPlan:
        """Commit ``plan`` and bring replicas, candidates, aliases and states in line with it.

        Args:
            plan: The newest plan's successor, or the newest plan itself: then whatever lags behind follows.

        Raises:
            StaleWrite: Somebody else wrote a plan first.
            SwapFailed: A replica could not load what is new; nothing was committed.
            DeploymentError: An application did not come up.
            InvalidTransition: A version that is new in it came out of a run that does not vouch for it.
        """
        before = self._metadata.find_plan(plan.model)
        for version in sorted(plan.versions - _versions(before)):
            # the store refuses it too; here it is known before a process is started for it
            self._metadata.get_version(plan.model, version).require_blessed()
        running = _running_applications()
        if plan.trial is not None:
            candidate = _candidate(plan.model, plan.trial.version)
            if candidate not in running or _resources(plan) != _resources(before):
                self._run(replica.candidate_application(self._config, plan.model, plan.trial), candidate, None)
        if _application(plan.model) not in running:
            if before is None:  # there is no old plan to go on with, so nothing is written down before it is tried
                load_version(self._metadata, plan.model, plan.champion, model_files(self._config))
            plan = self._metadata.put_plan(plan)
            self._run_endpoint(plan)
        else:
            plan = self._swap(plan)
            if before is not None and before.replicas != plan.replicas:
                self._run_endpoint(plan)
        self._settle(plan, before)
        for name in running:
            if name.startswith(f"candidate-{plan.model}-") and name != _trial_application(plan):
                serve.delete(name, _blocking=False)
        return plan

    def flush(self, name: str) -> int:
        """Have every replica hand its prediction events over; returns how many rows still wait."""
        return sum(self._broadcast(name, "flush"))

    def _on_demand(self, plan: ServingPlan, action: str) -> ServingPlan:
        """Carry out what a user asked for, and write down that it was a user."""
        plan = self.carry_out(plan)
        evidence = {**plan.model_dump(mode="json", exclude={"created_at", "reason"}), "by": getpass.getuser()}
        asked = plan.champion if plan.trial is None else plan.trial.version
        version = self._metadata.get_version(plan.model, asked)
        evidence["blessings"] = [blessing.model_dump(mode="json") for blessing in version.blessings]
        evidence["registered_by_hand"] = version.run_id is None
        self._metadata.append_entry(
            plan.model, action, plan.reason, evidence, key=f"user/{plan.model}/{action}/{plan.number}"
        )
        return plan

    def _next(self, current: ServingPlan, reason: str, **changes: object) -> ServingPlan:
        following = {"number": current.number + 1, "created_at": self._clock.now(), "reason": reason}
        return current.model_copy(update={**following, **changes})

    def _swap(self, plan: ServingPlan) -> ServingPlan:
        """Prepare on every replica, write the plan down, swap on every replica."""
        handle = cache(partial(_handle, plan.model))  # one handle for both: a new one has to find the replicas first
        self._broadcast(plan.model, "prepare", plan.model_dump_json(), handle=handle)
        plan = self._metadata.put_plan(plan)
        started = time.perf_counter()
        self._broadcast(plan.model, "swap", plan.number, handle=handle)
        swap_ms = round((time.perf_counter() - started) * 1000, 3)
        self._metadata.append_entry(
            plan.model,
            "swap",
            f"plan {plan.number} is served by every replica",
            {"plan": plan.number, "champion": plan.champion, "swap_ms": swap_ms},
            key=f"swap/{plan.model}/{plan.number}",
        )
        return plan

    def _broadcast(
        self, name: str, method: str, *args: object, handle: Callable[[], DeploymentHandle] | None = None
    ) -> list[Any]:
        """Call a method of every replica; one that dies meanwhile is left to Serve, and the others are asked again."""
        timeout_s = self._config.serving.swap_timeout.total_seconds()
        deadline = time.monotonic() + timeout_s

        def broadcast() -> list[Any]:
            while True:
                try:
                    found = _handle(name) if handle is None else handle()
                    return list(found.broadcast(method, *args).results(timeout_s=timeout_s))
                except RayActorError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_RETRY_S)

        try:
            # in a thread, for Ray refuses to wait where an event loop runs, as it does in a notebook
            return self._threads.submit(broadcast).result()
        except (RayError, RayServeException, TimeoutError) as error:
            cause = getattr(error, "cause", error)
            if isinstance(cause, RaymlopsError):
                raise cause from error
            raise SwapFailed(f"{method} of {name} did not reach every replica: {cause}", name=name) from error

    def _run_endpoint(self, plan: ServingPlan) -> None:
        application = replica.model_application(self._config, plan.model, plan.replicas)
        self._run(application, _application(plan.model), f"/v2/models/{plan.model}")

    def _run(self, application: serve.Application, name: str, route_prefix: str | None) -> None:
        try:
            serve.run(application, name=name, route_prefix=route_prefix)
        except (RuntimeError, TimeoutError) as error:
            raise DeploymentError(f"application {name} did not come up: {error}", name=name) from error

    def _settle(self, plan: ServingPlan, before: ServingPlan | None) -> None:
        """Let aliases and version states follow the committed plan."""
        model = plan.model
        why: dict[str, Any] = {"reason": plan.reason, "evidence": {"plan": plan.number}}
        aliases = self._metadata.aliases(model)
        for alias, version in (("champion", plan.champion), ("backup", plan.backup)):
            if aliases.get(alias) != version:
                self._metadata.set_alias(model, alias, version, expected=aliases.get(alias), **why)
        self._metadata.set_state(model, plan.champion, ModelState.PRODUCTION, **why)
        if plan.trial is not None:
            self._metadata.set_state(model, plan.trial.version, ModelState.STAGING, **why)
        for version in _versions(before) - plan.versions:
            self._metadata.set_state(model, version, ModelState.ARCHIVED, **why)


def _versions(plan: ServingPlan | None) -> frozenset[int]:
    return frozenset() if plan is None else plan.versions


def _require_unblocked(plan: ServingPlan, version: int) -> None:
    if version in plan.blocked:
        raise InvalidTransition(f"version {version} of {plan.model} is blocked: unblock it first")


def _resources(plan: ServingPlan | None) -> tuple[float | None, int | None]:
    """What the trial asks for beyond the configured."""
    return (None, None) if plan is None or plan.trial is None else (plan.trial.cpus, plan.trial.memory_bytes)


def _application(model: str) -> str:
    return f"model-{model}"


def _candidate(model: str, version: int) -> str:
    return f"candidate-{model}-{version}"


def _trial_application(plan: ServingPlan) -> str | None:
    return None if plan.trial is None else _candidate(plan.model, plan.trial.version)


def _handle(model: str) -> DeploymentHandle:
    return serve.get_app_handle(_application(model))


def _running_applications() -> set[str]:
    """Applications that serve or start to; one that is being deleted is none of them."""
    gone = {ApplicationStatus.DELETING, ApplicationStatus.NOT_STARTED, ApplicationStatus.DEPLOY_FAILED}
    return {name for name, seen in serve.status().applications.items() if seen.status not in gone}
