"""Moves endpoints between plans: prepare everywhere, write down why, commit, swap everywhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from raymlops.clock import Clock
from raymlops.config.serving import ServingConfig
from raymlops.control.endpoints.name_locks import NameLocks
from raymlops.control.endpoints.operator_ports import Replicas, Runtime
from raymlops.control.endpoints.placing import is_pooled, place
from raymlops.control.endpoints.plan_records import (
    PlanRecords,
    completed,
    intent_of,
    preview_plan,
    record_swap,
    require_served,
    require_unblocked,
    settle,
    withdraw_order,
    write_down,
)
from raymlops.control.reconciling.reconcile import wanted_candidate
from raymlops.errors import (
    DeploymentError,
    DeploymentNotFound,
    InvalidTransition,
    RaymlopsError,
    StaleWrite,
    UnavailableError,
)
from raymlops.records.ledger import LedgerEntry
from raymlops.records.models import ModelState
from raymlops.records.plans import Baseline, ServingPlan, Trial
from raymlops.records.serving.orders import Order

__all__ = ["EndpointOperator"]

_log = logging.getLogger(__name__)


class EndpointOperator:
    """Carries out what people and the controller decide about endpoints. Thread-safe; one change of a model at a time.

    A plan is committed only when every replica has loaded and warmed what is new in it, so a model that does not load
    changes nothing. What a person asked for is in the ledger before its plan is committed, and the plan is in that
    entry: whoever comes after a crash finishes it. From the commit on, whatever lags behind follows by itself.

    Args:
        config: Resources and deadlines.
        metadata: Versions, plans, aliases and the ledger.
        clock: Stamps new plans.
        runtime: Has applications run.
        replicas: Has replicas swap.
        settled: Called once aliases and states follow a plan.
    """

    def __init__(
        self,
        config: ServingConfig,
        metadata: PlanRecords,
        clock: Clock,
        runtime: Runtime,
        replicas: Replicas,
        settled: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._metadata = metadata
        self._clock = clock
        self._runtime = runtime
        self._replicas = replicas
        self._tell_settled = settled
        self._turns = NameLocks()
        self._settled: dict[str, int] = {}
        self._read = 0

    def deploy(
        self,
        order: Order,
        name: str,
        version: int,
        service: str | None = None,
        replicas: int | None = None,
        baseline: Baseline | None = None,
        pooled: bool | None = None,
    ) -> ServingPlan:
        """Serve ``version`` as champion; returns when every replica answers with it.

        Args:
            order: The person or program that asked, and the reason.
            name: The model.
            version: Its champion from now on.
            service: Feature service that ``predict`` joins; ``None`` for infer only.
            replicas: How many; as configured where left out.
            baseline: The constant answer where no version can; ``None`` keeps what was declared before.
            pooled: Whether the pool answers for it; ``None``: as it does now, or else by its size.

        Raises:
            ModelVersionNotFound: There is no such version.
            InvalidTransition: It is blocked, or retired.
            UnavailableError: It does not fit, or did not answer in time: then what was planned before is planned again.
            DeploymentError: The endpoint did not come up; likewise.
            SwapFailed: A replica could not load the version; the old plan stays.
        """

        def plan(current: ServingPlan | None) -> ServingPlan:
            served = current if current is not None and current.served else None
            if current is not None:
                require_unblocked(current, version)
            same = served is not None and served.champion == version
            return ServingPlan(
                model=name,
                number=1 if current is None else current.number + 1,
                champion=version,
                backup=None if served is None else (served.backup if same else served.champion),
                trial=served.trial if served is not None and same else None,
                blocked=() if current is None else current.blocked,
                baseline=baseline or (None if current is None else current.baseline),
                service=service,
                replicas=replicas or self._config.replicas,
                pooled=is_pooled(pooled, self._metadata.models.get_version(name, version), served, self._config),
                reason=order.reason,
                created_at=self._clock.now(),
            )

        return self._on_order(order, name, "deploy", plan)

    def withdraw(self, order: Order, name: str) -> bool:
        """See to it that an order to deploy is carried out no more.

        Returns:
            Whether it was carried out before: then its plan stays.
        """
        with self._turn(name):
            return withdraw_order(self._metadata, order, name)

    def start_trial(self, order: Order, name: str, trial: Trial) -> ServingPlan:
        """Put a version beside the champion, in a process of its own, and give it its share of the traffic.

        Raises:
            InvalidTransition: It is the champion already, or blocked, or another version is on trial.
            UnavailableError: Its process does not fit, or did not answer in time; nothing was changed.
            DeploymentError: Its process did not come up; nothing was changed.
        """

        def plan(current: ServingPlan | None) -> ServingPlan:
            served = require_served(name, current)
            self._metadata.models.get_version(name, trial.version)
            require_unblocked(served, trial.version)
            if served.champion == trial.version:
                raise InvalidTransition(f"version {trial.version} of {name} is the champion already")
            if served.trial is not None and served.trial.version != trial.version:
                raise InvalidTransition(
                    f"version {served.trial.version} of {name} is on trial, {trial.version} has to wait"
                )
            return self._next(served, order, trial=trial)

        return self._on_order(order, name, "start_trial", plan)

    def promote(self, order: Order, name: str, version: int) -> ServingPlan:
        """Make ``version`` the champion and the present champion its backup."""

        def plan(current: ServingPlan | None) -> ServingPlan:
            served = require_served(name, current)
            self._metadata.models.get_version(name, version)
            require_unblocked(served, version)
            if served.champion == version:
                return served
            return self._next(served, order, champion=version, backup=served.champion, trial=None)

        return self._on_order(order, name, "promote", plan)

    def rollback(self, order: Order, name: str, *, trial_only: bool = False) -> ServingPlan:
        """End a trial; without one, put the backup back in the champion's place, or with ``trial_only`` refuse.

        Raises:
            InvalidTransition: There is neither a trial nor a backup; or no trial, where only that may end.
        """

        def plan(current: ServingPlan | None) -> ServingPlan:
            served = require_served(name, current)
            if served.trial is not None:
                return self._next(served, order, trial=None)
            if trial_only:
                raise InvalidTransition(f"no version of {name} is on trial")
            if served.backup is None:
                raise InvalidTransition(f"{name} has neither a trial to end nor a backup to fall back to")
            require_unblocked(served, served.backup)
            return self._next(served, order, champion=served.backup, backup=None)

        return self._on_order(order, name, "roll_back", plan)

    def block(self, order: Order, name: str, version: int) -> ServingPlan:
        """Block ``version``: the backup or the baseline answers in its place. A trial of it ends."""

        def plan(current: ServingPlan | None) -> ServingPlan:
            served = require_served(name, current)
            self._metadata.models.get_version(name, version)
            if version in served.blocked:
                return served
            ends = served.trial is not None and served.trial.version == version
            blocked = tuple(sorted({*served.blocked, version}))
            return self._next(served, order, blocked=blocked, trial=None if ends else served.trial)

        return self._on_order(order, name, "block_version", plan)

    def unblock(self, order: Order, name: str, version: int) -> ServingPlan:
        """Let ``version`` answer again.

        Raises:
            InvalidTransition: It is not blocked.
        """

        def plan(current: ServingPlan | None) -> ServingPlan:
            if current is None:
                raise DeploymentNotFound.of(name)
            if version not in current.blocked:
                raise InvalidTransition(f"version {version} of {name} is not blocked")
            blocked = tuple(other for other in current.blocked if other != version)
            return self._next(current, order, blocked=blocked)

        return self._on_order(order, name, "unblock_version", plan)

    def move_out(self, order: Order, name: str) -> ServingPlan:
        """Have a pooled model answered by an application of its own."""

        def plan(current: ServingPlan | None) -> ServingPlan:
            served = require_served(name, current)
            return self._next(served, order, pooled=False) if served.pooled else served

        return self._on_order(order, name, "move_out", plan)

    def undeploy(self, order: Order, name: str) -> ServingPlan:
        """Serve the model no more: its endpoint and its trial end, its plans and versions stay."""

        def plan(current: ServingPlan | None) -> ServingPlan:
            return self._next(require_served(name, current), order, served=False, backup=None, trial=None)

        return self._on_order(order, name, "undeploy", plan)

    def retire(self, order: Order, name: str, version: int) -> None:
        """See to it that a version is never served again.

        Raises:
            InvalidTransition: It is in service.
        """
        with self._turn(name):
            self._metadata.models.get_version(name, version)
            current = self._metadata.plans.find_plan(name)
            order.require_expected(name, current)
            if current is not None and version in current.versions:
                raise InvalidTransition(
                    f"version {version} of {name} is in service by plan {current.number}: "
                    "promote another one, end its trial or undeploy the model first"
                )
            if order.dry_run:
                return
            evidence = {"version": version, "by": order.by}
            key = order.key(name, "retire")
            self._metadata.ledger.append_entry(name, "retire", order.reason, evidence, key=key)
            self._metadata.models.set_state(name, version, ModelState.RETIRED, reason=order.reason)

    def carry_out(self, plan: ServingPlan) -> ServingPlan:
        """Commit ``plan``, and have replicas, candidates, aliases and states follow.

        Args:
            plan: The newest plan's successor, or the newest plan itself: then whatever lags behind follows.

        Raises:
            StaleWrite: Somebody else wrote a plan first.
            SwapFailed: A replica could not load what is new; nothing was committed.
            UnavailableError: A process does not fit or did not answer in time.
            DeploymentError: A process did not come up.
            InvalidTransition: A version that is new in it came out of a run that does not vouch for it.
        """
        with self._turn(plan.model):
            return self._bring_into_effect(plan, self._metadata.plans.find_plan(plan.model), None, "")

    def catch_up(self) -> None:
        """Finish what was written down and not done, and let aliases and states follow plans that they lag behind.

        Trouble with one model does not keep the others waiting.
        """
        for entry in self._metadata.ledger.entries(after=self._read):
            with self._turns.take(entry.subject) as mine:
                if not mine:
                    break  # another thread may be about to carry the entry out
                self._finish(entry)
            self._read = entry.sequence
        for model, number in self._metadata.plans.plan_numbers().items():
            with self._turns.take(model) as mine:
                if not mine or self._settled.get(model) == number:
                    continue
                try:
                    self._settle(self._metadata.plans.get_plan(model))
                except RaymlopsError as error:
                    _log.warning("aliases and states of %s lag behind plan %d: %s", model, number, error)

    def _on_order(
        self, order: Order, model: str, action: str, make: Callable[[ServingPlan | None], ServingPlan]
    ) -> ServingPlan:
        if order.dry_run:
            return preview_plan(self._metadata, order, model, make)
        with self._turn(model):
            key = order.key(model, action)
            given = next((entry for entry in self._metadata.ledger.entries(model) if entry.key == key), None)
            current = self._metadata.plans.find_plan(model)
            if given is not None:  # a caller that did not receive the answer gives the order again
                planned = intent_of(given)
                newer = current is not None and planned is not None and current.number > planned.number
                if planned is None or newer:
                    return self._metadata.plans.get_plan(model)
                return self._bring_into_effect(planned, current, None, "")
            order.require_expected(model, current)
            plan = make(current)
            try:
                return self._bring_into_effect(plan, current, order, action)
            except (DeploymentError, UnavailableError) as error:
                if action == "deploy" and self._metadata.plans.find_plan(model) == plan:
                    self._take_back(plan, current, order, error)
                raise

    def _bring_into_effect(
        self, plan: ServingPlan, before: ServingPlan | None, order: Order | None, action: str
    ) -> ServingPlan:
        plan = completed(self._metadata.models, plan, before)
        placing = place(plan, before, self._config, self._runtime)
        self._runtime.require_room(f"plan {plan.number} of {plan.model}", placing.needs)
        with ExitStack() as held:
            if placing.left is not None:
                held.enter_context(self._runtime.hold(placing.left))
            if plan.served and plan.trial is not None:
                candidate = wanted_candidate(plan.model, plan.trial, self._config)
                held.enter_context(self._runtime.hold(candidate))
                self._runtime.await_up(candidate)
            if placing.up and plan != before:
                self._replicas.prepare(plan)
            if order is not None and plan != before:
                write_down(self._metadata, plan, order, action)
            plan = self._metadata.plans.put_plan(plan)
            self._runtime.wake()
            if placing.up:
                record_swap(self._metadata, plan, self._replicas.swap(plan))
            self._settle(plan)
            # a pool whose only model was undeployed a moment ago may be about to end
            resized = before is None or not before.served or before.replicas != plan.replicas
            if placing.wanted is not None and (not placing.up or placing.left is not None or resized):
                self._runtime.await_up(placing.wanted, plan.number)
        return plan

    def _take_back(self, plan: ServingPlan, before: ServingPlan | None, order: Order, error: Exception) -> None:
        """Plan again what was planned before a plan that did not come up; where nothing was, nothing."""
        reason = f"plan {plan.number} is taken back: {error}"
        changes: Mapping[str, object] = {"number": plan.number + 1, "created_at": self._clock.now(), "reason": reason}
        base = plan.model_copy(update={"served": False, "trial": None, "backup": None}) if before is None else before
        restored = base.model_copy(update=dict(changes))
        write_down(self._metadata, restored, Order(request=order.request, by=order.by, reason=reason), "take_back")
        self._metadata.plans.put_plan(restored)
        self._runtime.wake()
        self._settle(restored)

    def _finish(self, entry: LedgerEntry) -> None:
        """Carry out an entry whose writer was killed before it had done so."""
        if not entry.key.startswith("user/"):
            return
        if entry.action == "retire":
            version = int(entry.evidence["version"])
            self._metadata.models.set_state(entry.subject, version, ModelState.RETIRED, reason=entry.reason)
            return
        plan = intent_of(entry)
        newest = self._metadata.plans.find_plan(entry.subject)
        if plan is None or plan.number != (0 if newest is None else newest.number) + 1:
            return
        _log.warning("plan %d of %s was written down and not made: it is made now", plan.number, plan.model)
        try:
            self._metadata.plans.put_plan(plan)
        except (InvalidTransition, StaleWrite) as error:
            _log.warning("plan %d of %s cannot be made: %s", plan.number, plan.model, error)
        self._runtime.wake()

    def _settle(self, plan: ServingPlan) -> None:
        settle(self._metadata, plan)
        self._settled[plan.model] = plan.number
        self._tell_settled()

    def _next(self, current: ServingPlan, order: Order, **changes: object) -> ServingPlan:
        following = {"number": current.number + 1, "created_at": self._clock.now(), "reason": order.reason}
        return current.model_copy(update={**following, **changes})

    @contextmanager
    def _turn(self, model: str) -> Iterator[None]:
        """One change of a model at a time."""
        timeout_s = self._config.deploy_timeout.total_seconds()
        with self._turns.take(model, timeout_s) as mine:
            if not mine:
                raise UnavailableError(f"another change of {model} has been under way for {timeout_s:g} s")
            yield
