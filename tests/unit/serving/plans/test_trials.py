from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from raymlops.errors import DataError, DeploymentError
from raymlops.serving.models.outputs import check_outputs
from raymlops.serving.plans.trials import ShadowJob, ShadowQueue, ask

COLUMNS = {"a": np.zeros(2)}
GOOD = {"label": np.array([0, 1]), "probability": np.array([[1.0, 0.0], [0.0, 1.0]])}

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (GOOD | {"probability": np.array([[1.0, 0.0], [np.nan, 1.0]])}, "NaN or infinity"),
        ({"value": np.array([1.0, np.inf])}, "NaN or infinity"),
        ({"value": np.array([1.0])}, "wrong shape"),
        (GOOD | {"label": np.array([0])}, "wrong shape"),
        (GOOD | {"probability": np.array([0.5, 0.5])}, "wrong shape"),
        ({"label": np.array([0, 1])}, "something else"),
        ({"value": [1.0, 2.0]}, "something else"),
        ({"value": np.array(["x", "y"], dtype=object)}, "something else"),
        ({}, "something else"),
        (None, "something else"),
    ],
)
async def test_what_is_no_answer_is_refused(outputs: Any, message: str) -> None:
    with pytest.raises(DeploymentError, match=message):
        check_outputs(outputs, 2)


async def test_answers_pass() -> None:
    check_outputs(GOOD, 2)
    check_outputs({"value": np.array([1.0, 2.0])}, 2)


async def test_ask_names_the_reason(helpers: Any) -> None:
    candidate = helpers.FakeCandidate()
    assert (await ask(candidate, COLUMNS, 2, 1.0))["label"].tolist() == [1, 1]

    def fail(columns: Any) -> Any:
        raise DataError("a column is missing")

    candidate.behave = fail
    with pytest.raises(DeploymentError, match="raised DataError: a column is missing"):
        await ask(candidate, COLUMNS, 2, 1.0)
    candidate.delay_s = 10
    with pytest.raises(DeploymentError, match="timeout: no answer within 5 ms"):
        await ask(candidate, COLUMNS, 2, 0.005)


async def test_a_full_shadow_queue_drops_and_counts(helpers: Any) -> None:
    candidate, told = helpers.FakeCandidate(), []
    queue = ShadowQueue(4, 1 << 20)
    job = ShadowJob(candidate, COLUMNS, 2, 16, 1.0, lambda outputs, error, _: told.append((outputs, error)))
    for _ in range(5):
        queue.offer(job)
    assert (queue.waiting_rows, queue.dropped_rows, candidate.calls) == (4, 6, 0)
    queue.start()
    queue.start()
    await queue.drain()
    assert (queue.waiting_rows, candidate.calls) == (0, 2)
    assert [error for _, error in told] == [None, None]
    candidate.behave = lambda columns: None
    queue.offer(job)
    await queue.drain()
    assert told[-1][0] is None
    assert "something else" in told[-1][1]
    candidate.delay_s = 10
    queue.offer(job)
    await asyncio.sleep(0.001)
    await queue.stop()
    assert (queue.waiting_rows, queue.dropped_rows) == (0, 8)
    await queue.stop()


async def test_a_shadow_queue_is_bounded_by_memory_too(helpers: Any) -> None:
    queue = ShadowQueue(1000, 100)
    for nbytes in (60, 60, 40):
        queue.offer(ShadowJob(helpers.FakeCandidate(), COLUMNS, 2, nbytes, 1.0, lambda *_: None))
    assert (queue.waiting_rows, queue.dropped_rows) == (4, 2)
    queue.start()
    await queue.drain()
    queue.offer(ShadowJob(helpers.FakeCandidate(), COLUMNS, 2, 100, 1.0, lambda *_: None))
    assert (queue.waiting_rows, queue.dropped_rows) == (2, 2)
    await queue.stop()
