"""The one reference to what is served."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from raymlops.errors import ConflictError
from raymlops.records.plans import ServingPlan
from raymlops.serving.plans.rehearsal import RecordedRequests
from raymlops.serving.protocol.protocols import Columns

if TYPE_CHECKING:
    from raymlops.serving.plans.loader import Loader, Serving

__all__ = ["Slot"]


class Slot:
    """Holds what one model's endpoint serves: read once by a request, replaced as a whole. Thread-safe.

    Args:
        model: The model's name.
        loader: Builds servings.
        recorded: Requests that a new version must answer.

    Attributes:
        current: What is served; ``None`` before the first swap.
        on_swap: Told what will be served, and what was, before it is.
        swaps: How many plans were taken.
        load_s: How long the last load took.
    """

    def __init__(self, model: str, loader: Loader, recorded: RecordedRequests) -> None:
        self.model = model
        self._loader = loader
        self._recorded = recorded
        self._load_lock = threading.Lock()
        self._swap_lock = threading.Lock()
        self.current: Serving | None = None
        self.on_swap: Callable[[Serving, Serving | None], None] | None = None
        self.swaps = 0
        self.load_s = 0.0

    @property
    def number(self) -> int:
        """Number of the plan that is served; 0 where none is."""
        serving = self.current
        return 0 if serving is None else serving.plan.number

    def load(self, plan: ServingPlan) -> Serving:
        """Build what serves a plan; nothing changes for callers. Blocks: one load at a time.

        Raises:
            ConflictError: The plan is another model's.
            ModelVersionNotFound: It names a version that does not exist.
            ModelLoadFailed: The champion cannot be loaded, and what is served now goes on.
        """
        self._require_own(plan)
        with self._load_lock:
            current = self.current
            if current is not None and current.plan == plan:
                return current
            started = time.perf_counter()
            serving = self._loader.load(plan, current, self._recorded.sample())
            self.load_s = time.perf_counter() - started
            return serving

    def swap(self, serving: Serving) -> bool:
        """Serve it from the next request on; requests under way end with what they began with.

        Returns:
            Whether it was taken: not where its plan's number is not above the present one.
        """
        self._require_own(serving.plan)
        with self._swap_lock:
            if serving.plan.number <= self.number:
                return False
            if self.on_swap is not None:
                self.on_swap(serving, self.current)
            self.current = serving
            self.swaps += 1
            return True

    def mend(self, serving: Serving, version: int, recorded: Sequence[Columns]) -> str | None:
        """Load a broken version of a serving again, and serve it if nothing else is served by now. Blocks.

        Returns:
            What is still wrong with it; ``None`` where it is whole.

        Raises:
            RaymlopsError: It cannot be loaded.
        """
        with self._load_lock:
            fresh = self._loader.load(serving.plan, serving, recorded)
        mended = fresh.versions[version]
        if mended.broken:
            return mended.problem()
        with self._swap_lock:
            if self.current is serving:
                self.current = fresh
        return None

    def _require_own(self, plan: ServingPlan) -> None:
        if plan.model != self.model:
            raise ConflictError(f"plan must be for model {self.model!r}, got {plan.model!r}")
