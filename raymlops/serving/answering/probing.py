"""Probes of versions whose breaker is open: beside the real work, on the example and on recorded requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from raymlops.errors import DeploymentError, RaymlopsError
from raymlops.flavors.protocol import Columns
from raymlops.serving.answering.breaker import Breakers
from raymlops.serving.plans.recorded_requests import RecordedRequests
from raymlops.serving.plans.trials import ask
from raymlops.serving.protocol.protocols import CandidateClient

if TYPE_CHECKING:
    from raymlops.serving.plans.loader import Serving
    from raymlops.serving.plans.slot import Slot

__all__ = ["Prober"]

_CANDIDATE_REQUESTS = 4
"""Recorded requests that a candidate is asked in one probe."""

_log = logging.getLogger(__name__)


class Prober:
    """Probes versions whose breaker is open, until it is closed. ``start`` and ``stop`` belong to one event loop.

    A version in process answers its example and the recorded requests again; one whose files could not be loaded is
    loaded again; a candidate is asked recorded requests, by its deadline.

    Args:
        breakers: Looked after.
        recorded: What was answered lately.
        slot: Holds what is served.
    """

    def __init__(self, breakers: Breakers, recorded: RecordedRequests, slot: Slot) -> None:
        self._breakers = breakers
        self._recorded = recorded
        self._slot = slot
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        breakers.on_open = self._look
        slot.on_swap = self._follow

    def start(self) -> None:
        """Begin; a repeat changes nothing."""
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._task = self._loop.create_task(self._run())

    async def stop(self) -> None:
        """Stop; a probe in a thread ends by itself."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _follow(self, serving: Serving, before: Serving | None) -> None:
        """Keep the breakers of versions that go on in the same process; what could not be loaded is not asked."""
        if before is not None:
            kept = {version for version, loaded in serving.versions.items() if before.versions.get(version) is loaded}
            if serving.plan.trial is not None and before.plan.trial is not None:
                kept |= {serving.plan.trial.version} & {before.plan.trial.version}
            self._breakers.keep(kept)
        for version, loaded in serving.versions.items():
            if loaded.broken and self._breakers.of(version).closed:
                self._breakers.trip(version, "its files could not be loaded")

    def _look(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake.set)  # a swap may come from any thread

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            for version in self._breakers.begin_probes():
                try:
                    problem = await self._probe(version)
                except Exception as error:
                    _log.exception("the probe of version %d failed", version)
                    problem = f"{type(error).__name__}: {str(error)[:200]}"
                self._breakers.end_probe(version, problem)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._breakers.wait_s()):
                    await self._wake.wait()

    async def _probe(self, version: int) -> str | None:
        serving, recorded = self._slot.current, self._recorded.sample()
        if serving is None:
            return "nothing is served"
        trial = serving.plan.trial
        if trial is not None and trial.version == version and serving.candidate is not None:
            return await _probe_candidate(serving.candidate, recorded, trial.deadline_ms / 1000)
        loaded = serving.versions.get(version)
        if loaded is None:
            return "it is not in service any more"
        try:
            if loaded.broken:
                return await asyncio.to_thread(self._slot.mend, serving, version, recorded)
            return await asyncio.to_thread(loaded.problem, recorded)
        except RaymlopsError as error:
            return str(error)


async def _probe_candidate(candidate: CandidateClient, recorded: Sequence[Columns], deadline_s: float) -> str | None:
    for columns in recorded[-_CANDIDATE_REQUESTS:]:
        rows = len(next(iter(columns.values())))
        try:
            await ask(candidate, columns, rows, deadline_s)
        except DeploymentError as error:
            return str(error)
    return None
