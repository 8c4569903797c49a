"""Which models of a pool are in memory: loaded when they are asked for, gone by least use under a limit."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping

from raymlops.errors import UnavailableError
from raymlops.records.plans import ServingPlan
from raymlops.serving.plans.loader import Loaded, Serving
from raymlops.serving.pool.footprint import Footprints
from raymlops.serving.pool.hosted import Held, Hosted
from raymlops.serving.pool.loading import Loading, Machine
from raymlops.serving.pool.watched import Work

__all__ = ["Residency"]

_MIB = 1 << 20
_LOADS_AT_ONCE = 4
_LEAST_BYTES = 64 << 10
"""What a loaded model takes at least: its schema, and what its endpoint knows of it."""


class Residency:
    """Brings models into memory and lets them go. All methods belong to one event loop.

    Args:
        hosted: All models of the pool, by name.
        limit_bytes: Memory that loaded models may take.
        loading: Runs loads.
        machine: Tells the time, and the memory of the process.

    Attributes:
        uses: How many uses there were, of any model.
        busy: How many models are being loaded.
    """

    def __init__(
        self,
        hosted: Mapping[str, Hosted],
        limit_bytes: int,
        loading: Loading,
        machine: Machine,
    ) -> None:
        self._hosted = hosted
        self._limit_bytes = limit_bytes
        self._loading = loading
        self._footprints = Footprints()
        self._machine = machine
        self._turns = asyncio.Semaphore(_LOADS_AT_ONCE)
        self.uses = 0
        self.busy = 0

    @property
    def loaded(self) -> list[Hosted]:
        """The models in memory."""
        return [hosted for hosted in self._hosted.values() if hosted.current is not None]

    @property
    def loaded_bytes(self) -> int:
        """Memory of the models that are loaded, as it was measured."""
        return sum(hosted.nbytes for hosted in self.loaded)

    def use(self, hosted: Hosted) -> None:
        """Note that a model is used."""
        self.uses += 1
        hosted.used = self.uses

    async def bring(self, hosted: Hosted) -> Serving:
        """Load the newest plan of a model, and serve it.

        Raises:
            RaymlopsError: It cannot be loaded.
        """
        plan = hosted.plan
        if plan is None:
            raise UnavailableError("no plan is known yet")
        held = await self.load(hosted, plan)
        self.take(hosted, held)
        return held.serving

    async def load(self, hosted: Hosted, plan: ServingPlan) -> Held:
        """Load a plan, and measure what it takes; nothing changes for callers.

        Raises:
            RaymlopsError: It cannot be loaded.
        """
        async with self._turns:
            self._make_room(hosted, hosted.nbytes)
            current = hosted.current
            quiet, before, modules = self._quiet(hosted), self._machine.held_bytes(), len(sys.modules)
            load = hosted.slot.load  # here, as an endpoint is made on the event loop
            self.busy += 1
            try:
                serving = await self._loading.run(hosted.model, lambda: _marked(hosted.work, load, plan))
            finally:
                self.busy -= 1
        # what else ran, and libraries that were imported, are part of what the process grew by
        alone = quiet is not None and quiet == self._quiet(hosted) and len(sys.modules) == modules
        grown = self._machine.held_bytes() - before if alone else None
        kept = {} if current is None else current.versions
        new = [each for number, each in serving.versions.items() if kept.get(number) is not each]
        nbytes = _kept_bytes(hosted, current, serving)
        if new:
            left = self._limit_bytes - nbytes
            nbytes += self._footprints.taken_bytes(hosted.model, _files_bytes(new), grown, left)
        return Held(serving, max(nbytes, _LEAST_BYTES), self._machine.time_s())

    def take(self, hosted: Hosted, held: Held) -> None:
        """Serve what was loaded."""
        plan = held.serving.plan
        if hosted.prepared is not None and hosted.prepared.serving.plan.number <= plan.number:
            hosted.prepared = None
        if hosted.plan is None or hosted.plan.number < plan.number:
            hosted.follow(plan)
        hosted.loads_again()
        self.use(hosted)
        if hosted.slot.swap(held.serving):  # a load that began before a swap may end after it
            hosted.nbytes = held.nbytes
        self._make_room(hosted, hosted.nbytes)

    def too_large(self) -> dict[str, str]:
        """Models that take more than all may -> the reason, in words."""
        most = self._limit_bytes
        return {
            model: f"it takes {hosted.nbytes // _MIB} MiB of memory, more than the pool's {most // _MIB} MiB"
            for model, hosted in self._hosted.items()
            if hosted.nbytes > most
        }

    def forget(self, model: str) -> None:
        """Forget what was measured of a model that the pool answers for no more."""
        self._footprints.forget(model)

    def _quiet(self, loads: Hosted) -> tuple[int, int] | None:
        """Counts of other loads and requests begun so far beside the load of a model; ``None`` while one runs.

        Two equal answers say that nothing ran between them, so that the memory measured then is the model's. Requests
        count, since they take memory before and after the model's own code runs.
        """
        others = loads.work.mark.others_begun()
        # whoever asks for a model that is not in memory waits for the load
        answer = (one for one in self._hosted.values() if one is not loads or one.current is not None)
        asked = any(one.made is not None and one.made.in_flight for one in answer)
        return None if others is None or asked else (others, self.uses)

    def _make_room(self, keep: Hosted, nbytes: int) -> None:
        """Have models leave memory until so much fits; those used longest ago first, those under way last."""
        others = [hosted for hosted in self.loaded if hosted is not keep]
        total = nbytes + sum(hosted.nbytes for hosted in others)
        for hosted in sorted(others, key=lambda one: (one.endpoint.in_flight > 0, one.used)):
            if total <= self._limit_bytes:
                return
            hosted.slot.release()
            total -= hosted.nbytes


def _marked(work: Work, load: Callable[[ServingPlan], Serving], plan: ServingPlan) -> Serving:
    with work.mark:  # until it ends, however long that takes
        return load(plan)


def _files_bytes(versions: Iterable[Loaded]) -> int:
    return sum(each.nbytes for each in versions)


def _kept_bytes(hosted: Hosted, current: Serving | None, serving: Serving) -> int:
    """What a model takes already of what it will take: the process does not grow by versions that are loaded."""
    loaded = {} if current is None else current.versions
    files = _files_bytes(loaded.values())
    kept = _files_bytes(each for number, each in serving.versions.items() if loaded.get(number) is each)
    return hosted.nbytes * kept // files if files else 0
