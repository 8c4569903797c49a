"""Versions on trial: ask a canary with a deadline, copy requests to a shadow without waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from raymlops.errors import DeploymentError
from raymlops.flavors.protocol import Columns, Outputs
from raymlops.serving.models.outputs import check_outputs
from raymlops.serving.protocol.protocols import CandidateClient

__all__ = ["ShadowJob", "ShadowQueue", "ask"]


async def ask(candidate: CandidateClient, columns: Columns, rows: int, deadline_s: float) -> Outputs:
    """A candidate's answer, checked.

    Raises:
        DeploymentError: It raised, did not answer in time, or answered something that is no answer; the message says
            which, in a few words.
    """
    try:
        async with asyncio.timeout(deadline_s):
            outputs = await candidate.infer(columns, deadline_s)
    except TimeoutError as error:
        raise DeploymentError(f"timeout: no answer within {deadline_s * 1000:g} ms") from error
    except Exception as error:
        raise DeploymentError(f"raised {type(error).__name__}: {str(error)[:200]}") from error
    check_outputs(outputs, rows)
    return outputs


class ShadowJob(NamedTuple):
    """A copy of a request for a shadow; ``done`` is told the outputs or the error, and the microseconds it took.

    ``nbytes`` is the memory that it takes, as ``memory_of`` estimates it.
    """

    candidate: CandidateClient
    columns: Columns
    rows: int
    nbytes: int
    deadline_s: float
    done: Callable[[Outputs | None, str | None, int], None]


class ShadowQueue:
    """Asks the shadow one request at a time, beside the real work. All methods belong to one event loop.

    Args:
        capacity_rows: Rows that may wait; beyond that jobs are dropped, and counted.
        capacity_bytes: Memory that they may take.
    """

    def __init__(self, capacity_rows: int, capacity_bytes: int) -> None:
        self._capacity_rows = capacity_rows
        self._capacity_bytes = capacity_bytes
        self._waiting_bytes = 0
        self._queue: asyncio.Queue[ShadowJob] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.waiting_rows = 0
        """Rows taken and not yet answered."""
        self.dropped_rows = 0
        """Rows that were not taken, or not answered at the stop."""

    def offer(self, job: ShadowJob) -> None:
        """Queue a job, or drop and count it if the queue is full. Returns at once."""
        too_many = self.waiting_rows + job.rows > self._capacity_rows
        if too_many or self._waiting_bytes + job.nbytes > self._capacity_bytes:
            self.dropped_rows += job.rows
            return
        self.waiting_rows += job.rows
        self._waiting_bytes += job.nbytes
        self._queue.put_nowait(job)

    def start(self) -> None:
        """Begin to work the queue off; a repeat changes nothing."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def drain(self) -> None:
        """Wait until nothing waits."""
        await self._queue.join()

    async def stop(self) -> None:
        """Stop at once; what waits is dropped, and counted."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self.dropped_rows += self.waiting_rows
        self.waiting_rows = self._waiting_bytes = 0
        self._queue = asyncio.Queue()

    async def _run(self) -> None:
        while True:
            job = await self._queue.get()
            started = time.perf_counter_ns()
            outputs, reason = None, None
            try:
                outputs = await ask(job.candidate, job.columns, job.rows, job.deadline_s)
            except DeploymentError as error:
                reason = str(error)
            job.done(outputs, reason, (time.perf_counter_ns() - started) // 1000)
            self.waiting_rows -= job.rows
            self._waiting_bytes -= job.nbytes
            self._queue.task_done()
