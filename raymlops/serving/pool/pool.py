"""Many models in one process: each has its own endpoint, and is in memory while it is asked for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from raymlops.config.serving import PoolConfig
from raymlops.errors import ModelLoadFailed, RaymlopsError, UnavailableError
from raymlops.records.plans import PlanStore, ServingPlan
from raymlops.records.serving.endpoints import Hosting
from raymlops.serving.answering.metrics import Family
from raymlops.serving.endpoint import Endpoint
from raymlops.serving.pool.hosted import Hosted
from raymlops.serving.pool.loading import THIS_MACHINE, Loading, Machine
from raymlops.serving.pool.moving import MovingRule
from raymlops.serving.pool.residency import Residency
from raymlops.serving.pool.running_note import RunningNote, Suspects
from raymlops.serving.pool.watched import Work
from raymlops.serving.protocol.access import Access
from raymlops.serving.protocol.http import HttpReply, HttpRequest

__all__ = ["Core", "MakeEndpoint", "Pool"]

_PREFIX = "/v2/models/"
_MISS_S = 0.25
"""At most one look for plans in this time for requests for models that are not known."""
_LOOK_S = 1.0
"""A request for a model that is not known waits for a look for so long at most, where the store does not answer."""
_LEAVES_S = 120.0
"""For so long after its last request a model goes on here that is to have an application of its own: callers are sent
there as soon as that has a replica, however long it takes."""
_PREPARED_S = 120.0
"""For so long a prepared plan is kept that nobody has made the newest."""
_MOVED = "it is to have an application of its own"


class Core(Protocol):
    """Answers requests."""

    async def handle(self, request: HttpRequest) -> HttpReply:
        """Answer one request; every fault becomes a reply."""
        ...

    def admit(self, access: Access) -> None:
        """Replace the keys that may call."""
        ...


MakeEndpoint = Callable[[Hosted], Endpoint]
"""Makes a model's endpoint, which loads on demand and whose models count their calls by ``Hosted.work``."""


class Pool:
    """Answers for every pooled model. All methods belong to one event loop.

    A model is loaded at its first request. Where the loaded models take more than the limit, the one that was used
    longest ago leaves memory; its endpoint, with its figures, breakers and events, stays. A model larger than the limit
    has the memory alone. Requests under way end with what they began with.

    Args:
        plans: What is planned.
        make: Makes endpoints.
        others: Answers what no pooled model is asked.
        config: Limits.
        notes: Where processes of the pool note whose code they run.
        access: Who may ask; ``admit`` replaces it.
        machine: Tells the time, and the memory of the process.
    """

    def __init__(
        self,
        plans: PlanStore,
        make: MakeEndpoint,
        others: Core,
        config: PoolConfig,
        notes: Path,
        *,
        access: Access,
        machine: Machine = THIS_MACHINE,
    ) -> None:
        self._plans = plans
        self._make = make
        self._others = others
        self._machine, self._time_s = machine, machine.time_s
        self._access = access
        self._suspects = Suspects(notes)
        self._note = RunningNote(notes)
        self._rule = MovingRule(config)
        self._leaves: dict[str, str] = {}
        self._hosted: dict[str, Hosted] = {}
        self._known: dict[str, int] = {}
        self._loading = Loading(config.load_timeout.total_seconds(), machine)
        self._residency = Residency(self._hosted, config.memory_bytes, self._loading, machine)
        self._looking: asyncio.Task[None] | None = None
        self._looked_s = float("-inf")
        self._base_bytes = machine.held_bytes()
        self._ending: set[asyncio.Task[int]] = set()

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """Model -> its endpoint, of models that were used."""
        return {model: hosted.made for model, hosted in self._hosted.items() if hosted.made is not None}

    @property
    def loaded(self) -> list[str]:
        """The models in memory."""
        return [hosted.model for hosted in self._residency.loaded]

    async def handle(self, request: HttpRequest) -> HttpReply:
        """Answer one request; every fault becomes a reply of the interface."""
        model = request.path[len(_PREFIX) :].partition("/")[0] if request.path.startswith(_PREFIX) else ""
        hosted = self._hosted.get(model)
        if hosted is None and model and self._time_s() - self._looked_s > _MISS_S:
            # who answers for the others says what is wrong
            with contextlib.suppress(RaymlopsError, TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self.look()
            hosted = self._hosted.get(model)
        if hosted is None or hosted.plan is None:
            return await self._others.handle(request)
        self._residency.use(hosted)
        if hosted.leaves_s is not None:
            hosted.leaves_s = self._time_s() + _LEAVES_S
        return await hosted.endpoint.handle(request)

    async def prepare(self, plan: ServingPlan) -> int:
        """Load and warm what a plan needs; nothing changes for callers.

        Raises:
            ModelLoadFailed: Its champion cannot be loaded, or does not answer what the present one answers.
            UnavailableError: This process does not load the model.
        """
        hosted = self._host(plan.model)
        if hosted.suspected is not None:
            raise UnavailableError(f"model {plan.model!r} is not loaded by the pool: {hosted.suspected}")
        current = None
        if hosted.plan is not None:
            with contextlib.suppress(RaymlopsError):  # what cannot be loaded has nothing to compare with
                current = await hosted.serving()
        held = await self._residency.load(hosted, plan)
        new = current is None or current.plan.champion != plan.champion
        if new and held.serving.champion.broken:
            raise ModelLoadFailed(f"version {plan.champion} of {plan.model} cannot be loaded")
        hosted.prepared = held
        return plan.number

    async def swap(self, model: str, number: int) -> int:
        """Serve a prepared plan; one that was not prepared is taken from the store. Returns what is served."""
        hosted = self._host(model)
        if hosted.prepared is not None and hosted.prepared.serving.plan.number == number:
            self._residency.take(hosted, hosted.prepared)
            return number
        for _ in range(2):  # a look under way may have read the plans before this one was made
            if hosted.plan is not None and hosted.plan.number >= number:
                break
            await self.look()
            hosted = self._host(model)
        for _ in range(2):  # a load under way may be that of the plan before
            if (current := hosted.current) is None or current.plan.number >= number:
                break
            with contextlib.suppress(RaymlopsError):  # it is in the log, and tried again
                await asyncio.shield(hosted.begin())
        current = hosted.current
        if current is not None:
            return current.plan.number
        return 0 if hosted.plan is None else hosted.plan.number

    async def look(self) -> None:
        """Follow the newest plans: those that are pooled are answered for, the others are let go.

        Raises:
            RaymlopsError: Plans could not be read; what is served goes on.
        """
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())
            self._looking.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._looking)

    def hostings(self) -> dict[str, Hosting]:
        """Model -> how it stands here, of pooled models and of those on their way out."""
        return {
            model: hosted.hosting(self._leaves.get(model) if hosted.plan.pooled else _MOVED)
            for model, hosted in self._hosted.items()
            if hosted.plan is not None
        }

    def admit(self, access: Access) -> None:
        """Replace the keys that may call, from the next request on."""
        self._access = access
        self._others.admit(access)
        for endpoint in self.endpoints.values():
            endpoint.admit(access)

    def families(self, since: int) -> tuple[int, list[tuple[str, list[Family]]]]:
        """Figures of the models that were used since some use; also which use was the last."""
        told = [
            (model, hosted.made.families())
            for model, hosted in self._hosted.items()
            if hosted.made is not None and hosted.used > since
        ]
        return self._residency.uses, told

    async def flush(self, model: str | None = None) -> int:
        """Send prediction events, of one model or of all; returns how many rows still wait."""
        some = [endpoint for name, endpoint in self.endpoints.items() if model in (None, name)]
        return sum(await asyncio.gather(*(endpoint.flush() for endpoint in some)))

    async def stop(self) -> None:
        """End the background work of all endpoints; events are sent first."""
        await asyncio.gather(*(endpoint.stop() for endpoint in self.endpoints.values()), *self._ending)
        self._note.close()

    async def _look(self) -> None:
        known = dict(self._known)
        changed, numbers = await asyncio.to_thread(_changes, self._plans, known)
        for plan in changed:
            self._follow(plan)
        for model, number in numbers.items():
            self._known[model] = max(number, self._known.get(model, 0))
        self._looked_s = self._time_s()
        for hosted in list(self._hosted.values()):
            self._keep(hosted)
        self._suspects.keep({model for model, one in self._hosted.items() if one.plan and one.plan.pooled})
        worked = {model: hosted.work.worked for model, hosted in self._hosted.items()}
        beyond_bytes = self._machine.held_bytes() - self._base_bytes - self._residency.loaded_bytes
        burdens = self._rule.look(self._looked_s, worked) | self._rule.leaker(worked, beyond_bytes)
        idle = {model for model, hosted in self._hosted.items() if hosted.current is None}
        hanging = {model: why for model, why in self._loading.to_blame().items() if model in idle}
        self._leaves = burdens | self._residency.too_large() | hanging

    def _follow(self, plan: ServingPlan) -> None:
        """Take note of a newest plan."""
        model = plan.model
        if plan.served and plan.pooled:
            hosted = self._host(model)
            if hosted.prepared is not None and hosted.prepared.serving.plan == plan:
                self._residency.take(hosted, hosted.prepared)
            elif hosted.plan is None or hosted.plan.number < plan.number:
                hosted.follow(plan)
            return
        gone = self._hosted.get(model)
        if gone is None:
            return
        if plan.served and gone.plan is not None and gone.suspected is None:
            gone.follow(plan, gone.leaves_s or self._time_s() + _LEAVES_S)
        else:
            self._drop(gone)

    def _keep(self, hosted: Hosted) -> None:
        """Bring one model to its plan, and let it go where its time is over."""
        now_s = self._time_s()
        if hosted.prepared is not None and now_s - hosted.prepared.loaded_s > _PREPARED_S:
            hosted.prepared = None
        abandoned = hosted.plan is None and hosted.prepared is None and not self._residency.busy
        if abandoned or (hosted.leaves_s is not None and now_s > hosted.leaves_s):
            self._drop(hosted)
            return
        current = hosted.current
        lags = current is not None and hosted.plan is not None and current.plan.number < hosted.plan.number
        if lags and not hosted.rests:
            hosted.begin()

    def _host(self, model: str) -> Hosted:
        hosted = self._hosted.get(model)
        if hosted is None:
            hosted = Hosted(model, Work(self._note.mark(model)), self._made, self._residency.bring, self._time_s)
            if model in self._suspects.models:
                hosted.suspected = "its code ran when a process of the pool ended: it gets a process of its own"
            self._hosted[model] = hosted
        return hosted

    def _made(self, hosted: Hosted) -> Endpoint:
        endpoint = self._make(hosted)
        endpoint.admit(self._access)
        endpoint.start()
        return endpoint

    def _drop(self, hosted: Hosted) -> None:
        del self._hosted[hosted.model]
        self._residency.forget(hosted.model)
        if hosted.made is None:
            return
        task = asyncio.get_running_loop().create_task(hosted.made.stop())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def _changes(plans: PlanStore, known: Mapping[str, int]) -> tuple[Iterable[ServingPlan], Mapping[str, int]]:
    """The newest plans that are newer than what is known, and the number of every model's newest."""
    numbers = plans.plan_numbers()
    newer = [model for model, number in numbers.items() if number > known.get(model, 0)]
    if known:
        return [plans.get_plan(model) for model in newer], numbers
    return list(plans.served_plans().values()), numbers
