"""Which models of a pool are in memory: loaded when they are asked for, gone by least use under a limit."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping

from raymlops.errors import UnavailableError
from raymlops.records.plans import ServingPlan
from raymlops.serving.plans.loader import Serving
from raymlops.serving.pool.hosted import Held, Hosted

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
        time_s: Monotonic seconds.
        held_bytes: Tells how much memory this process holds.

    Attributes:
        uses: How many uses there were, of any model.
        busy: How many models are being loaded.
    """

    def __init__(
        self,
        hosted: Mapping[str, Hosted],
        limit_bytes: int,
        time_s: Callable[[], float],
        held_bytes: Callable[[], int],
    ) -> None:
        self._hosted = hosted
        self._limit_bytes = limit_bytes
        self._time_s = time_s
        self._held_bytes = held_bytes
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
            self.busy += 1
            alone = self.busy == 1
            current = hosted.current
            before, modules = self._held_bytes(), len(sys.modules)
            try:
                with hosted.work.mark:
                    serving = await asyncio.to_thread(hosted.slot.load, plan)
            finally:
                alone = alone and self.busy == 1
                self.busy -= 1
        # where a library was imported, or another model loaded meanwhile, what the process grew by is not the model's
        grown = self._held_bytes() - before if alone and len(sys.modules) == modules else 0
        files = sum(loaded.nbytes for loaded in serving.versions.values())
        nbytes = max(files, _kept_bytes(hosted, current, serving) + grown, _LEAST_BYTES)
        return Held(serving, nbytes, self._time_s())

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

    def _make_room(self, keep: Hosted, nbytes: int) -> None:
        """Have models leave memory until so much fits; those used longest ago first, those under way last."""
        others = [hosted for hosted in self.loaded if hosted is not keep]
        total = nbytes + sum(hosted.nbytes for hosted in others)
        for hosted in sorted(others, key=lambda one: (one.endpoint.in_flight > 0, one.used)):
            if total <= self._limit_bytes:
                return
            hosted.slot.release()
            total -= hosted.nbytes


def _kept_bytes(hosted: Hosted, current: Serving | None, serving: Serving) -> int:
    """What a model takes already of what it will take: the process does not grow by versions that are loaded."""
    loaded = {} if current is None else current.versions
    files = sum(each.nbytes for each in loaded.values())
    kept = sum(each.nbytes for number, each in serving.versions.items() if loaded.get(number) is each)
    return hosted.nbytes * kept // files if files else 0
