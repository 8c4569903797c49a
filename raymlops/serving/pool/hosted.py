"""One model of a pool: its endpoint, which stays, and its versions, which come into memory and leave it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from raymlops.errors import UnavailableError
from raymlops.records.plans import ServingPlan
from raymlops.records.serving.endpoints import Hosting
from raymlops.serving.plans.loader import Serving
from raymlops.serving.plans.slot import Slot
from raymlops.serving.pool.watched import Work

if TYPE_CHECKING:
    from raymlops.serving.endpoint import Endpoint

__all__ = ["Held", "Hosted"]

_log = logging.getLogger(__name__)

_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0


class Held(NamedTuple):
    """A loaded plan, and the memory that it takes."""

    serving: Serving
    nbytes: int
    loaded_s: float
    """When it was loaded, monotonic seconds."""


class Hosted:
    """A model of the pool; it is its endpoint's ``OnDemand``. Belongs to one event loop.

    Args:
        model: The model's name.
        work: Counts its calls.
        make: Makes its endpoint, at the first use.
        load: Brings its plan into memory.
        time_s: Monotonic seconds.

    Attributes:
        made: Its endpoint; ``None`` before the first use.
        plan: The newest plan that is known; ``None`` while one is prepared for the first time.
        used: Grows with each use of any model of the pool.
        nbytes: Memory of what is loaded, or was.
        prepared: Loaded, and not served yet.
        leaves_s: When it is dropped, where it is on its way out; monotonic seconds.
        suspected: Why it is not loaded in this process.
    """

    def __init__(
        self,
        model: str,
        work: Work,
        make: Callable[[Hosted], Endpoint],
        load: Callable[[Hosted], Awaitable[Serving]],
        time_s: Callable[[], float],
    ) -> None:
        self.model = model
        self.work = work
        self.made: Endpoint | None = None
        self._make = make
        self.plan: ServingPlan | None = None
        self.used = 0
        self.nbytes = 0
        self.prepared: Held | None = None
        self.leaves_s: float | None = None
        self.suspected: str | None = None
        self._load = load
        self._time_s = time_s
        self._loading: asyncio.Task[Serving] | None = None
        self._failure: str | None = None
        self._retry_s = float("-inf")
        self._wait_s = 0.0

    @property
    def endpoint(self) -> Endpoint:
        """Answers; made now where it was not."""
        if self.made is None:
            self.made = self._make(self)
        return self.made

    @property
    def slot(self) -> Slot:
        """Holds what is in memory."""
        return self.endpoint.slot

    @property
    def current(self) -> Serving | None:
        """What is in memory."""
        return None if self.made is None else self.made.slot.current

    def follow(self, plan: ServingPlan, leaves_s: float | None = None) -> None:
        """Take note of a newer plan; that an older one could not be loaded says nothing of it.

        Args:
            plan: The plan.
            leaves_s: When the model is dropped, where it is on its way out.
        """
        self.plan, self.leaves_s = plan, leaves_s
        self.loads_again()

    def loads_again(self) -> None:
        """Forget that it could not be loaded."""
        self._failure, self._wait_s, self._retry_s = None, 0.0, float("-inf")

    @property
    def rests(self) -> bool:
        """Whether a plan that failed to load is left alone for now."""
        return self._time_s() < self._retry_s

    async def serving(self) -> Serving:
        """What is served, loaded now where it is not: whoever waits for it, it is loaded once."""
        current = self.current
        if current is not None:
            return current
        if (problem := self.problem()) is not None and (self.rests or self.suspected is not None):
            raise UnavailableError(f"model {self.model!r} is not ready: {problem}")
        return await asyncio.shield(self.begin())

    def begin(self) -> asyncio.Task[Serving]:
        """Load the newest plan, if that is not under way."""
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._loaded())
            self._loading.add_done_callback(self._ended)
        return self._loading

    def problem(self) -> str | None:
        """Why it could not be loaded the last time."""
        return self.suspected or self._failure

    def hosting(self, leaves: str | None) -> Hosting:
        """How it stands, for whoever asks the replica."""
        current = self.current
        if current is not None:
            return Hosting(current.plan.number, None, leaves)
        problem = self.problem()
        number = 0 if self.plan is None or problem is not None else self.plan.number
        return Hosting(number, problem, self.suspected or leaves)

    async def _loaded(self) -> Serving:
        plan = self.plan
        try:
            serving = await self._load(self)
        except Exception as error:
            problem = str(error) or type(error).__name__
            number = 0 if plan is None else plan.number
            _log.warning("plan %d of %s cannot be loaded, next try follows: %s", number, self.model, problem)
            if self.plan is plan:  # a plan that came meanwhile is tried at once
                self._wait_s = min(max(2 * self._wait_s, _FIRST_WAIT_S), _LONGEST_WAIT_S)
                self._retry_s, self._failure = self._time_s() + self._wait_s, problem
            raise UnavailableError(f"model {self.model!r} cannot be loaded: {problem}") from error
        self.loads_again()
        return serving

    def _ended(self, task: asyncio.Task[Serving]) -> None:
        self._loading = None
        if not task.cancelled():
            task.exception()  # logged, and told to whoever waited; nobody may have
