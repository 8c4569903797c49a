"""Keeps what runs as it is planned: looks, compares, acts, at the start and for ever."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from raymlops.config.serving import ServingConfig
from raymlops.control.reconciling.reconcile import (
    Action,
    Observed,
    Phase,
    Retries,
    Start,
    Wanted,
    diff,
    free_after,
    numbers_of,
    pool_to_keep,
    status_of,
    to_move_out,
    wanted_of,
)
from raymlops.errors import DeploymentError, RaymlopsError, UnavailableError
from raymlops.records.plans import PlanStore, ServingPlan
from raymlops.records.serving.endpoints import EndpointStatus

__all__ = ["Cluster", "Reconciler"]

_log = logging.getLogger(__name__)

_CALM_S = 1.0
"""Between two looks while all is as planned."""
_BUSY_S = 0.2
"""Seconds between two looks while something differs from the plans, or a caller waits."""
_ROOM_S = 10.0
"""How long room is waited for: what was just ended gives its CPUs back a moment later."""
_HOLDERS_S = 5.0
"""Seconds for which the list of holders of CPUs is used again."""


class Cluster(Protocol):
    """The running applications. Thread-safe; every call has a deadline."""

    def look(self) -> Sequence[Observed] | None:
        """All applications; ``None`` where nothing can run yet."""
        ...

    def start(self, wanted: Wanted) -> None:
        """Have an application run, in place of one of that name."""
        ...

    def remove(self, name: str) -> None:
        """Have an application removed."""
        ...

    def free_cpus(self) -> Mapping[str, float]:
        """Node -> free logical CPUs."""
        ...

    def holders(self) -> str:
        """Holders of CPUs and their numbers, in words."""
        ...


class Reconciler:
    """Brings applications to what plans name, one action per application at a time.

    An action that hangs or fails holds up its own application only, which is tried again later and later. Thread-safe:
    one thread takes turns, any other may ask and wait.

    Args:
        plans: The store of serving plans.
        cluster: The running applications.
        config: Resources and deadlines.
        time_s: Monotonic seconds.
    """

    def __init__(
        self,
        plans: PlanStore,
        cluster: Cluster,
        config: ServingConfig,
        time_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plans = plans
        self._cluster = cluster
        self._config = config
        self._time_s = time_s
        self._retries = Retries()
        self._held: list[Wanted] = []
        self._acting: set[str] = set()
        self._errors: dict[str, str] = {}
        self._statuses: dict[str, EndpointStatus] = {}
        self._seen: dict[str, Observed] = {}
        self._planned: Mapping[str, ServingPlan] = {}
        self._looks = 0
        self._waiting = 0
        self._changed = threading.Condition()
        self._asked = threading.Event()
        self._resting = False
        self._holders = (float("-inf"), "")

    def rest(self) -> None:
        """Take no further turn, since the platform is being stopped; waiting callers get an error that says so."""
        with self._changed:
            self._resting = True
            self._changed.notify_all()
        self.wake()

    def run(self) -> None:
        """Take turns until ``rest``; whatever goes wrong in one, another follows."""
        while not self._resting:
            try:
                self.turn()
            except RaymlopsError as error:
                _log.warning("what runs could not be compared with what is planned, next try follows: %s", error)
            except Exception:  # the thread must outlive it: without it nothing ever comes back
                _log.exception("a turn of the reconciler failed, next try follows")
            calm = not self._waiting and all(status.as_planned for status in self._statuses.values())
            self._asked.wait(_CALM_S if calm else _BUSY_S)
            self._asked.clear()

    def turn(self) -> list[Action]:
        """Look once, and begin what is to be done.

        Returns:
            The actions that were begun.

        Raises:
            RaymlopsError: Plans or applications could not be read; nothing was done.
        """
        # before the plans are read: an application is released only after a plan names it
        held = {want.name: want for want in list(self._held)}
        plans = self._plans.served_plans()
        seen = self._cluster.look()
        if seen is None:
            self._note(plans, (), "Serve does not run yet", {})
            return []
        wanted = {want.name: want for want in wanted_of(plans.values(), self._config)} | held
        if (pool := pool_to_keep(plans, seen, self._config)) is not None:
            wanted.setdefault(pool.name, pool)
        actions = diff(list(wanted.values()), seen, self._config.deploy_timeout.total_seconds())
        self._retries.settle({action.name for action in actions})
        now_s = self._time_s()
        due = [one for one in actions if self._retries.may(one.name, now_s) and one.name not in self._acting]
        begun, lack = self._begin(due, wanted, seen, now_s)
        self._note(plans, seen, None, lack)
        return begun

    def statuses(self) -> list[EndpointStatus]:
        """How each planned endpoint was at the last look, by model."""
        with self._changed:
            return [status for _, status in sorted(self._statuses.items())]

    def to_move_out(self) -> dict[str, str]:
        """Model -> why it should leave the pool, of pooled models, as replicas said at the last look."""
        with self._changed:
            return to_move_out(self._planned, list(self._seen.values()))

    def wake(self) -> None:
        """Have the next turn come now."""
        self._asked.set()

    def is_up(self, name: str) -> bool:
        """Whether an application had replicas at the last look, be they able to answer or not.

        Raises:
            UnavailableError: Nobody could look so far.
        """
        if not self._looks:
            self._await_look(self._time_s() + _ROOM_S)
        with self._changed:
            if not self._looks:
                raise UnavailableError(f"what runs could not be looked at within {_ROOM_S:g} s")
            found = self._seen.get(name)
        return found is not None and found.running > 0 and found.phase is not Phase.REMOVING

    @contextmanager
    def hold(self, wanted: Wanted) -> Iterator[None]:
        """Have an application run that no plan names yet."""
        self._held.append(wanted)
        self.wake()
        try:
            yield
        finally:
            self._held.remove(wanted)
            self.wake()

    def require_room(self, what: str, needs: Sequence[float]) -> None:
        """Refuse what does not fit, before it is started.

        Args:
            what: For the message.
            needs: Logical CPUs of each process that is to be started.

        Raises:
            UnavailableError: It does not fit; the message says what it needs, what there is and who holds it.
        """
        if not needs:
            return
        deadline = self._time_s() + _ROOM_S
        while free_after(self._free(), needs) is None:
            if self._time_s() > deadline:
                raise UnavailableError(f"{what} does not fit: {self._lack(needs)}", needs=list(needs))
            self._await_look(deadline)

    def await_up(self, wanted: Wanted, plan: int | None = None) -> None:
        """Wait until an application answers as it should.

        Args:
            wanted: As it should be.
            plan: Number of the plan that every replica has to serve, or a later one.

        Raises:
            DeploymentError: Serve gave it up.
            UnavailableError: It did not answer in time; the message says how far it came.
        """
        self._retries.forget(wanted.name)  # a caller waits for it: try now
        began, timeout_s = self._time_s(), self._config.deploy_timeout.total_seconds()
        while True:
            self._await_look(began + timeout_s)
            found = self._seen.get(wanted.name)
            if found is not None and _answers(found, wanted, plan):
                return
            waited_s = self._time_s() - began
            if found is not None and found.phase is Phase.FAILED and found.age_s <= waited_s:
                raise DeploymentError(f"{wanted.name} did not come up: {found.message}", name=wanted.name)
            if waited_s > timeout_s:
                far = "it is not there" if found is None else f"it is {found.phase}, {found.reply or 'nobody answers'}"
                failed = self._errors.get(wanted.name)
                why = f"; {failed}" if failed else ""
                raise UnavailableError(f"{wanted.name} did not answer within {timeout_s:g} s: {far}{why}")

    def _await_look(self, deadline_s: float) -> None:
        """Wait for the end of a look that begins from now on, or for the deadline.

        Raises:
            UnavailableError: There will be no further look.
        """
        with self._changed:
            goal = self._looks + 2
            self._waiting += 1
            self._asked.set()
            try:
                within_s = max(deadline_s - self._time_s(), 0.0)
                self._changed.wait_for(lambda: self._resting or self._looks >= goal, within_s)
            finally:
                self._waiting -= 1
            if self._resting:
                raise UnavailableError("the platform is being stopped")

    def _begin(
        self, actions: Sequence[Action], wanted: Mapping[str, Wanted], seen: Sequence[Observed], now_s: float
    ) -> tuple[list[Action], dict[str, str]]:
        """Begin the actions that free CPUs allow.

        Returns:
            The actions begun; and for each application that is not up, which CPUs it lacks.
        """
        found = {one.name: one for one in seen}
        missing = [want for name, want in wanted.items() if _lacks_replicas(want, found.get(name))]
        free = dict(self._cluster.free_cpus()) if missing else {}
        lack: dict[str, str] = {}
        for want in missing:
            if free_after(free, [want.cpus]) is None:
                lack[want.name] = self._lack([want.cpus])
        begun: list[Action] = []
        for action in actions:
            if isinstance(action, Start) and action.name not in found:
                left = free_after(free, [action.wanted.cpus])
                if left is None:
                    continue  # callers of an application that cannot start would wait; now they get an error
                free = left
            self._retries.acted(action.name, now_s)
            self._acting.add(action.name)
            threading.Thread(target=self._act, args=(action,), name=f"act-{action.name}", daemon=True).start()
            begun.append(action)
        return begun, lack

    def _act(self, action: Action) -> None:
        try:
            if isinstance(action, Start):
                self._cluster.start(action.wanted)
            else:
                self._cluster.remove(action.name)
            self._errors.pop(action.name, None)
        except Exception as error:  # the status of the application shows the error, and the action is tried again
            self._errors[action.name] = f"{type(error).__name__}: {error}"
            failed = "%s of %s failed, next try follows: %s", type(action).__name__, action.name, error
            _log.warning(*failed, exc_info=not isinstance(error, RaymlopsError))
        finally:
            self._acting.discard(action.name)
            self.wake()

    def _free(self) -> dict[str, float]:
        """Free CPUs without those that what is planned and not up will take."""
        free = dict(self._cluster.free_cpus())
        for want in wanted_of(self._plans.served_plans().values(), self._config):
            missing = want.replicas - (self._seen[want.name].running if want.name in self._seen else 0)
            free = free_after(free, [want.cpus] * max(missing, 0)) or free
        return free

    def _lack(self, needs: Sequence[float]) -> str:
        if self._time_s() - self._holders[0] > _HOLDERS_S:
            self._holders = (self._time_s(), self._cluster.holders())
        what = f"{sum(needs):g} CPU" if len(needs) == 1 else f"{len(needs)} times {needs[0]:g} CPU"
        return f"it needs {what}, {self._holders[1]}"

    def _note(
        self,
        plans: Mapping[str, ServingPlan],
        seen: Sequence[Observed],
        nothing: str | None,
        lack: Mapping[str, str],
    ) -> None:
        """Keep the state that was seen, and wake the waiting callers."""
        statuses = {}
        for model, plan in plans.items():
            of_plan = [want for want in wanted_of([plan], self._config)]
            why = next((lack[want.name] for want in of_plan if want.name in lack), None)
            why = (
                nothing or why or next((self._errors[want.name] for want in of_plan if want.name in self._errors), None)
            )
            statuses[model] = status_of(plan, of_plan, seen, why, time.time())
        with self._changed:
            self._statuses = statuses
            self._seen = {one.name: one for one in seen}
            self._planned = plans
            self._looks += 1
            self._changed.notify_all()


def _lacks_replicas(want: Wanted, found: Observed | None) -> bool:
    return found is None or (found.phase is not Phase.REMOVING and found.running < want.replicas)


def _answers(found: Observed, wanted: Wanted, plan: int | None) -> bool:
    if found.phase not in {Phase.RUNNING, Phase.STARTING} or found.shape not in {None, wanted.shape}:
        return False
    if wanted.pooled and plan is None:  # the pool itself, whatever it has to answer for
        return found.running >= wanted.replicas
    numbers = numbers_of(wanted, found)
    served = sum(plan is None or number >= plan for number in numbers)
    return served >= wanted.replicas and served == len(numbers) and found.reply is None
