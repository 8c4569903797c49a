"""Rows that arrive together are predicted together: one call of a model costs far more than one more row.

Nothing waits for a batch to fill. Requests of one turn of the event loop are put on a list, and the loop's next turn
predicts the list: under light load that is one request, under heavy load all that came in meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from raymlops.config.serving import BatchingConfig
from raymlops.flavors.protocol import Columns, Outputs
from raymlops.serving.models.model import Model
from raymlops.serving.models.outputs import check_outputs

__all__ = ["Batcher"]

_WEIGHT = 0.2
"""Weight of a new measurement in the running mean."""
_UNSEEN_ROWS = 64
"""A model whose speed is unknown predicts at most so many rows on the event loop."""

_log = logging.getLogger(__name__)


class _Part(NamedTuple):
    """One request's share of a batch."""

    inputs: Any
    rows: int
    answer: asyncio.Future[Outputs]


class _Queue:
    """What waits for one model."""

    __slots__ = ("busy", "model", "parts", "rows", "scheduled")

    def __init__(self, model: Model) -> None:
        self.model = model
        self.parts: list[_Part] = []
        self.rows = 0
        self.scheduled: asyncio.Handle | None = None
        self.busy = False


class _Costs:
    """How long a model's calls take, by the power of two their rows lie under."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def add(self, rows: int, seconds: float) -> None:
        size = rows.bit_length()
        known = self._seconds.get(size)
        self._seconds[size] = seconds if known is None else known + _WEIGHT * (seconds - known)

    def expected_s(self, rows: int) -> float | None:
        """What a call is expected to take, from the nearest smaller size in proportion; ``None`` if none is known."""
        size = rows.bit_length()
        for smaller in range(size, 0, -1):
            seconds = self._seconds.get(smaller)
            if seconds is not None:
                return seconds * float(1 << (size - smaller))
        return None


class Batcher:
    """Predicts requests together, each checked, split and failed by itself. All methods belong to one event loop.

    A batch that is expected to take long is predicted in a thread, one at a time for each model, so that the event loop
    goes on; what arrives meanwhile makes the next batch. A request larger than a batch is a call by itself, in a thread
    of its own and one at a time, so that who sends many rows keeps nobody waiting who sends few.

    Args:
        config: Largest batch, and how long one waits to fill.
        observe: Told the rows of each call of a model.
    """

    def __init__(self, config: BatchingConfig | None = None, observe: Callable[[int], None] | None = None) -> None:
        config = config or BatchingConfig()
        self._max_rows = config.max_rows
        self._wait_s = config.max_wait.total_seconds()
        self._loop_s = config.in_thread_above.total_seconds()
        self._observe = observe
        self._queues: dict[int, _Queue] = {}
        self._costs: WeakKeyDictionary[Model, _Costs] = WeakKeyDictionary()
        self._threads: ThreadPoolExecutor | None = None
        self._large_turn = asyncio.Lock()
        self._large_thread: ThreadPoolExecutor | None = None
        self.waiting_rows = 0
        """Rows that were taken and are not predicted yet, but for those of large requests."""
        self.waiting_large_rows = 0
        """Rows of large requests that were taken and are not predicted yet."""

    async def predict(self, model: Model, columns: Columns, rows: int) -> Outputs:
        """Predict N rows, with whatever else arrives now.

        Args:
            model: Its answer is another model's never.
            columns: Each of length N.
            rows: N.

        Returns:
            The model's outputs for these rows; the right shapes, all numbers finite.

        Raises:
            SchemaMismatch: An input column is not there.
            DataError: The inputs are out of range.
            DeploymentError: The model answered something that is no answer.
        """
        if rows > self._max_rows:
            return await self._predict_large(model, columns, rows)
        inputs = model.encode(columns)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outputs] = loop.create_future()
        queue = self._queues.get(id(model))  # the queue holds the model, so the id is its own as long as it is here
        if queue is None:
            queue = self._queues[id(model)] = _Queue(model)
        queue.parts.append(_Part(inputs, rows, answer))
        queue.rows += rows
        self.waiting_rows += rows
        if not queue.busy:
            self._schedule(queue, loop)
        return await answer

    def waiting_beside(self, rows: int) -> int:
        """Rows that wait already where a request of so many would."""
        return self.waiting_large_rows if rows > self._max_rows else self.waiting_rows

    def close(self) -> None:
        """Let the threads end with what they predict now."""
        for threads in (self._threads, self._large_thread):
            if threads is not None:
                threads.shutdown(wait=False)

    async def _predict_large(self, model: Model, columns: Columns, rows: int) -> Outputs:
        if self._large_thread is None:
            self._large_thread = ThreadPoolExecutor(1, "predict-large")
        self.waiting_large_rows += rows
        try:
            await self._large_turn.acquire()
        finally:
            self.waiting_large_rows -= rows
        try:
            if self._observe is not None:
                self._observe(rows)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._large_thread, _checked, model, columns, rows)
        finally:
            self._large_turn.release()

    def _schedule(self, queue: _Queue, loop: asyncio.AbstractEventLoop) -> None:
        """Have the queue predicted in the loop's next turn, or after the wait where there is one to fill."""
        if queue.scheduled is None:
            if self._wait_s and queue.rows < self._max_rows:
                queue.scheduled = loop.call_later(self._wait_s, self._flush, queue)
            else:
                queue.scheduled = loop.call_soon(self._flush, queue)
        elif self._wait_s and queue.rows >= self._max_rows:
            queue.scheduled.cancel()
            queue.scheduled = loop.call_soon(self._flush, queue)

    def _flush(self, queue: _Queue) -> None:
        queue.scheduled = None
        costs = self._costs.get(queue.model)
        if costs is None:
            costs = self._costs[queue.model] = _Costs()
        while queue.parts and not queue.busy:
            parts, rows = self._take(queue)
            if not parts:
                continue
            if self._observe is not None:
                self._observe(rows)
            expected_s = costs.expected_s(rows)
            if rows <= _UNSEEN_ROWS if expected_s is None else expected_s <= self._loop_s:
                started = time.perf_counter()
                answers = _answers(queue.model, parts)
                costs.add(rows, time.perf_counter() - started)
                _deliver(parts, answers)
            else:
                self._in_thread(queue, parts, rows, costs)
        if not queue.parts and not queue.busy:
            self._queues.pop(id(queue.model), None)

    def _take(self, queue: _Queue) -> tuple[list[_Part], int]:
        """The next batch; parts whose caller has gone are left out."""
        taken = rows = 0
        for part in queue.parts:
            if taken and rows + part.rows > self._max_rows:
                break
            rows += part.rows
            taken += 1
        parts, queue.parts = queue.parts[:taken], queue.parts[taken:]
        queue.rows -= rows
        self.waiting_rows -= rows
        wanted = [part for part in parts if not part.answer.done()]
        return wanted, sum(part.rows for part in wanted)

    def _in_thread(self, queue: _Queue, parts: list[_Part], rows: int, costs: _Costs) -> None:
        loop = asyncio.get_running_loop()
        queue.busy = True
        started = time.perf_counter()

        def done(work: asyncio.Future[list[Outputs | Exception]]) -> None:
            costs.add(rows, time.perf_counter() - started)
            queue.busy = False
            _deliver(parts, work.result())
            self._flush(queue)

        if self._threads is None:
            self._threads = ThreadPoolExecutor(1, "predict")
        loop.run_in_executor(self._threads, _answers, queue.model, parts).add_done_callback(done)


def _answers(model: Model, parts: Sequence[_Part]) -> list[Outputs | Exception]:
    """One answer or error per part: predicted together, and where that fails each by itself."""
    if len(parts) == 1:
        return [_alone(model, parts[0])]
    rows = sum(part.rows for part in parts)
    try:
        outputs = model.score(model.stack([part.inputs for part in parts]))
        check_outputs(outputs, rows)
    except Exception as error:
        _log.debug("a batch of %d requests is predicted one by one: %r", len(parts), error)
        return [_alone(model, part) for part in parts]
    answers: list[Outputs | Exception] = []
    start = 0
    for part in parts:
        end = start + part.rows
        answers.append({name: values[start:end] for name, values in outputs.items()})
        start = end
    return answers


def _checked(model: Model, columns: Columns, rows: int) -> Outputs:
    outputs = model.score(model.encode(columns))
    check_outputs(outputs, rows)
    return outputs


def _alone(model: Model, part: _Part) -> Outputs | Exception:
    try:
        outputs = model.score(part.inputs)
        check_outputs(outputs, part.rows)
    except Exception as error:
        return error
    return outputs


def _deliver(parts: Sequence[_Part], answers: Sequence[Outputs | Exception]) -> None:
    for part, answer in zip(parts, answers, strict=True):
        if part.answer.done():
            continue
        if isinstance(answer, Exception):
            part.answer.set_exception(answer)
        else:
            part.answer.set_result(answer)
