"""Prediction events on their way to the monitor: bounded, batched, sent again until acknowledged."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import NamedTuple
from uuid import uuid4

import pyarrow as pa

from raymlops.config.serving import EventLogConfig
from raymlops.errors import RaymlopsError
from raymlops.serving.answering.events import PredictionEvent, to_tables
from raymlops.serving.protocol.protocols import EventSink

__all__ = ["EventLog", "EventLogStats"]

SEND_TIMEOUT_S = 30.0
RETRY_S = (0.05, 0.2, 1.0, 2.0)
LARGEST_BATCH = 10
"""A batch after an outage holds at most so many times ``flush_rows``, and one event more."""
ATTEMPTS = 5
"""Tries of a batch that the sink refuses, rather than fails to take: sending it again cannot help for long."""

_log = logging.getLogger(__name__)


class EventLogStats(NamedTuple):
    """Rows of events since the start; ``recorded`` is the sum of the others."""

    recorded: int
    acknowledged: int
    waiting: int
    dropped: int


class _Batch:
    """Events under one id, which they keep until they are acknowledged."""

    __slots__ = ("attempts", "events", "id", "nbytes", "number", "rows", "tables")

    def __init__(self, name: str, number: int, events: list[PredictionEvent]) -> None:
        self.number = number
        self.id = f"{name}-{number}"
        self.events = events
        self.rows = sum(event.rows for event in events)
        self.nbytes = sum(event.nbytes for event in events)
        self.tables: list[tuple[str, pa.Table]] | None = None
        self.attempts = 0


class EventLog:
    """Buffers the prediction events of one model in one replica, and sends them in the background, in order.

    All methods belong to one event loop. ``record`` never waits: where the buffer is full, the event is dropped and
    counted. A batch that the sink fails to take, or is silent about, is sent again under the same id until it is
    acknowledged. One that it refuses, by an error that is not ``retryable``, is dropped after some tries, and counted.

    Args:
        model: Whose events they are.
        sink: Takes the batches.
        config: Sizes and times.
        name: Begins the batch ids; must never be used twice.
    """

    def __init__(
        self, model: str, sink: EventSink, config: EventLogConfig | None = None, *, name: str | None = None
    ) -> None:
        self._model = model
        self._sink = sink
        self._config = config or EventLogConfig()
        self._buffer_rows, self._flush_rows = self._config.buffer_rows, self._config.flush_rows
        self._name = name or uuid4().hex
        self._pending: list[PredictionEvent] = []
        self._pending_rows = 0
        self._buffer_bytes = self._config.buffer_bytes
        self._waiting_bytes = 0
        self._batches: deque[_Batch] = deque()
        self._next_number = 0
        self._recorded = self._acknowledged = self._dropped = 0
        self._wake = asyncio.Event()
        self._some = asyncio.Event()
        self._sending = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    @property
    def stats(self) -> EventLogStats:
        """What became of the rows so far."""
        waiting = self._recorded - self._acknowledged - self._dropped
        return EventLogStats(self._recorded, self._acknowledged, waiting, self._dropped)

    def record(self, event: PredictionEvent) -> None:
        """Take an event, or drop and count it; at once in either case."""
        rows, nbytes = event.rows, event.nbytes
        self._recorded += rows
        too_many = self._recorded - self._acknowledged - self._dropped > self._buffer_rows
        if too_many or self._waiting_bytes + nbytes > self._buffer_bytes:
            self._dropped += rows
            return
        self._waiting_bytes += nbytes
        if not self._pending:
            self._some.set()
        self._pending.append(event)
        self._pending_rows += rows
        if self._pending_rows >= self._flush_rows:
            self._wake.set()

    def start(self) -> None:
        """Begin to send in the background; a repeat changes nothing."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def flush(self, deadline_s: float = 30.0) -> int:
        """Send all that was recorded.

        Args:
            deadline_s: Longest real time to try.

        Returns:
            How many of them still wait: 0 where all are acknowledged or, refused, counted as dropped.
        """
        end = self._next_number + len(self._pending)
        try:
            async with asyncio.timeout(deadline_s):
                await self._send_waiting()
        except TimeoutError:
            _log.warning("events of %s still wait after %g s", self._model, deadline_s)
        return sum(batch.rows for batch in self._batches if batch.number < end)

    async def stop(self, deadline_s: float = 10.0) -> int:
        """End the background work, flush, and count as dropped what could not be sent.

        Returns:
            How many rows were lost that way.
        """
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await self.flush(deadline_s)
        lost = self.stats.waiting
        self._dropped += lost
        self._pending, self._pending_rows, self._waiting_bytes = [], 0, 0
        self._batches.clear()
        return lost

    async def _run(self) -> None:
        interval = self._config.flush_every.total_seconds()
        while True:
            await self._some.wait()  # a process may hold hundreds of logs, and most are idle
            self._some.clear()
            try:
                async with asyncio.timeout(interval):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            await self._send_waiting()

    async def _send_waiting(self) -> None:
        """Send what waits now; what is recorded meanwhile waits for the next turn."""
        self._cut()
        end, failures = self._next_number, 0
        while self._batches and self._batches[0].number < end:
            async with self._sending:
                sent = await self._send_first()
            failures = 0 if sent else failures + 1
            if not sent:
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S)) - 1])

    async def _send_first(self) -> bool:
        """Send the oldest batch; whether to go on at once."""
        if not self._batches:
            return True
        batch = self._batches[0]
        try:
            if batch.tables is None:
                tables = await asyncio.to_thread(to_tables, batch.events)
                batch.tables = [(f"{batch.id}-{part}", table) for part, table in enumerate(tables)]
            while batch.tables:
                batch_id, table = batch.tables[0]
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await self._sink.send(self._model, table, batch_id)
                batch.tables.pop(0)
                batch.rows -= table.num_rows
                self._acknowledged += table.num_rows
        except Exception as error:
            return self._failed(batch, error)
        self._forget_first()
        return True

    def _failed(self, batch: _Batch, error: Exception) -> bool:
        batch.attempts += 1
        failed = error.retryable if isinstance(error, RaymlopsError) else isinstance(error, OSError)
        if not failed and batch.attempts >= ATTEMPTS:
            _log.error("dropped %d rows of events of %s: %r", batch.rows, self._model, error)
            self._dropped += batch.rows
            self._forget_first()
            return True
        if batch.attempts == 1:
            _log.warning("batch %s of events of %s will be sent again: %r", batch.id, self._model, error)
        return False

    def _forget_first(self) -> None:
        self._waiting_bytes -= self._batches.popleft().nbytes

    def _cut(self) -> None:
        """Make batches of what is pending; from here on they have their ids."""
        limit = self._config.flush_rows * LARGEST_BATCH
        part: list[PredictionEvent] = []
        rows = 0
        for event in self._pending:
            part.append(event)
            rows += event.rows
            if rows >= limit:
                self._append(part)
                part, rows = [], 0
        if part:
            self._append(part)
        self._pending, self._pending_rows = [], 0

    def _append(self, events: list[PredictionEvent]) -> None:
        self._batches.append(_Batch(self._name, self._next_number, events))
        self._next_number += 1
