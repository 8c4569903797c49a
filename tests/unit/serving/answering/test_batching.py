"""Same-tick batching: who is predicted with whom, and that nobody pays for a neighbour."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.config.serving import BatchingConfig
from raymlops.errors import DataError, DeploymentError
from raymlops.records.record import sha256_of
from raymlops.serving import save_model
from raymlops.serving.answering.batching import Batcher
from raymlops.serving.models.model import Model
from raymlops.serving.models.model_files import load_model

pytestmark = pytest.mark.asyncio


class Doubler:
    """Answers twice the one column, and remembers the rows of each call."""

    def __init__(self, act: Callable[[Any], None] = lambda rows: None) -> None:
        self.calls: list[list[float]] = []
        self.threads: list[threading.Thread] = []
        self.act = act

    def encode(self, columns: Any) -> Any:
        if np.isinf(columns["a"]).any():
            raise DataError("infinite")
        return columns["a"]

    def stack(self, encoded: Any) -> Any:
        return np.concatenate(encoded)

    def score(self, encoded: Any) -> Any:
        self.calls.append(encoded.tolist())
        self.threads.append(threading.current_thread())
        self.act(encoded)
        return {"value": encoded * 2}


def ask(batcher: Batcher, model: Any, *values: float) -> asyncio.Future[Any]:
    rows = {"a": np.array(values, dtype=np.float64)}
    return asyncio.ensure_future(batcher.predict(model, rows, len(values)))


async def answers(*asked: asyncio.Future[Any]) -> list[Any]:
    found = await asyncio.gather(*asked, return_exceptions=True)
    return [one["value"].tolist() if isinstance(one, dict) else one for one in found]


async def test_what_arrives_in_one_turn_is_one_call() -> None:
    batcher, model = Batcher(), Doubler()
    assert await answers(ask(batcher, model, 1.0), ask(batcher, model, 2.0, 3.0)) == [[2.0], [4.0, 6.0]]
    assert await answers(ask(batcher, model, 4.0)) == [[8.0]]
    assert model.calls == [[1.0, 2.0, 3.0], [4.0]]
    assert (batcher.waiting_rows, batcher._queues) == (0, {})


async def test_two_models_are_never_one_call() -> None:
    batcher, first, second = Batcher(), Doubler(), Doubler()
    await answers(ask(batcher, first, 1.0), ask(batcher, second, 2.0), ask(batcher, first, 3.0))
    assert (first.calls, second.calls) == ([[1.0, 3.0]], [[2.0]])


async def test_a_row_out_of_range_fails_alone_and_before_the_batch() -> None:
    batcher, model = Batcher(), Doubler()
    good, bad, other = await answers(ask(batcher, model, 1.0), ask(batcher, model, np.inf), ask(batcher, model, 2.0))
    assert (good, other) == ([2.0], [4.0])
    assert isinstance(bad, DataError)
    assert model.calls == [[1.0, 2.0]]


async def test_a_row_the_model_chokes_on_fails_alone() -> None:
    def choke(rows: Any) -> None:
        if 13.0 in rows:
            raise ZeroDivisionError("13")

    batcher, model = Batcher(), Doubler(choke)
    good, bad, other = await answers(ask(batcher, model, 1.0), ask(batcher, model, 13.0), ask(batcher, model, 2.0))
    assert (good, other) == ([2.0], [4.0])
    assert isinstance(bad, ZeroDivisionError)
    assert model.calls == [[1.0, 13.0, 2.0], [1.0], [13.0], [2.0]]


async def test_an_answer_that_is_nan_is_nobody_elses() -> None:
    batcher, model = Batcher(), Doubler()
    good, bad = await answers(ask(batcher, model, 1.0), ask(batcher, model, np.nan))
    assert good == [2.0]
    assert isinstance(bad, DeploymentError)


async def test_a_batch_has_an_end_and_a_large_request_one_of_its_own() -> None:
    batcher, model = Batcher(BatchingConfig(max_rows=2)), Doubler()
    asked = [
        ask(batcher, model, 1.0),
        ask(batcher, model, 2.0),
        ask(batcher, model, 3.0, 4.0, 5.0),
        ask(batcher, model, 6.0),
    ]
    assert await answers(*asked) == [[2.0], [4.0], [6.0, 8.0, 10.0], [12.0]]
    assert sorted(model.calls) == [[1.0, 2.0], [3.0, 4.0, 5.0], [6.0]]


async def test_a_large_request_keeps_no_small_one_waiting_and_waits_for_no_small_one() -> None:
    going = threading.Event()

    def wait_where_large(rows: Any) -> None:
        if len(rows) > 2:
            assert going.wait(10)

    batcher, model = Batcher(BatchingConfig(max_rows=2)), Doubler(wait_where_large)
    large = [ask(batcher, model, 1.0, 2.0, 3.0), ask(batcher, model, 4.0, 5.0, 6.0)]
    await asyncio.sleep(0)
    assert (batcher.waiting_beside(1), batcher.waiting_beside(3)) == (0, 3)  # the first one is under way
    for value in (7.0, 8.0):
        assert await answers(ask(batcher, model, value)) == [[2 * value]]
    assert [future.done() for future in large] == [False, False]
    going.set()
    assert await answers(*large) == [[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]]
    assert batcher.waiting_beside(3) == 0
    batcher.close()


async def test_a_large_request_whose_caller_left_is_not_predicted() -> None:
    going = threading.Event()
    batcher, model = Batcher(BatchingConfig(max_rows=1)), Doubler(lambda rows: going.wait(10) and None)
    first, second = ask(batcher, model, 1.0, 2.0), ask(batcher, model, 3.0, 4.0)
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    going.set()
    assert await answers(first) == [[2.0, 4.0]]
    assert (model.calls, batcher.waiting_beside(2)) == ([[1.0, 2.0]], 0)
    batcher.close()


async def test_a_wait_gathers_over_turns_and_ends_when_the_batch_is_full() -> None:
    batcher, model = Batcher(BatchingConfig(max_wait="1h", max_rows=3)), Doubler()
    first = ask(batcher, model, 1.0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not first.done()
    assert await answers(first, ask(batcher, model, 2.0, 3.0)) == [[2.0], [4.0, 6.0]]
    assert model.calls == [[1.0, 2.0, 3.0]]


async def test_a_wait_ends_by_itself() -> None:
    batcher, model = Batcher(BatchingConfig(max_wait="5ms")), Doubler()
    async with asyncio.timeout(10):
        assert await answers(ask(batcher, model, 1.0)) == [[2.0]]


async def test_a_caller_who_left_is_not_predicted() -> None:
    batcher, model = Batcher(), Doubler()
    gone, stayed = ask(batcher, model, 1.0), ask(batcher, model, 2.0)
    await asyncio.sleep(0)
    gone.cancel()
    assert (await answers(stayed))[0] == [4.0]
    assert model.calls == [[2.0]]


async def test_a_slow_model_is_called_in_a_thread_and_the_loop_goes_on() -> None:
    started, release = threading.Event(), threading.Event()

    def slow(rows: Any) -> None:
        if len(rows) > 100:
            started.set()
            assert release.wait(10)

    batcher, model, quick = Batcher(), Doubler(slow), Doubler()
    large = ask(batcher, model, *range(200))
    await asyncio.to_thread(started.wait, 10)
    waiting = [ask(batcher, model, 1.0), ask(batcher, model, 2.0)]
    assert await answers(ask(batcher, quick, 3.0)) == [[6.0]]
    assert not large.done()
    release.set()
    assert (await answers(*waiting)) == [[2.0], [4.0]]
    assert len((await large)["value"]) == 200
    assert model.calls[1] == [1.0, 2.0], "what arrived meanwhile is one batch"
    assert model.threads[0] is not threading.current_thread()
    batcher.close()


async def test_a_small_call_that_was_slow_moves_to_a_thread() -> None:
    slow = threading.Event()
    batcher = Batcher(BatchingConfig(in_thread_above="1ms"))
    model = Doubler(lambda rows: (slow.wait(0.02), None)[1])
    for _ in range(2):
        assert await answers(ask(batcher, model, 1.0)) == [[2.0]]
    assert model.threads[0] is threading.current_thread()
    assert model.threads[1] is not threading.current_thread()
    batcher.close()


async def test_a_thread_fails_only_the_culprit() -> None:
    def choke(rows: Any) -> None:
        if 13.0 in rows:
            raise ZeroDivisionError("13")

    batcher, model = Batcher(), Doubler(choke)
    good, bad = await answers(ask(batcher, model, *([1.0] * 100)), ask(batcher, model, 13.0))
    assert good == [2.0] * 100
    assert isinstance(bad, ZeroDivisionError)
    batcher.close()


def _estimator(framed: bool, rows: Any) -> Any:
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    inputs = pd.DataFrame(rows, columns=list("abc")) if framed else rows
    return LogisticRegression().fit(inputs, rows.sum(axis=1) > 0)


@pytest.mark.parametrize("framed", [False, True])
async def test_together_or_alone_the_answers_are_the_same(framed: bool, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(64, 3))
    example = pa.table(dict(zip("abc", rows.T, strict=True)))
    manifest = save_model(tmp_path / "m", _estimator(framed, rows), example=example)
    model: Model = load_model(tmp_path / "m", manifest, sha256_of(manifest))
    columns = [dict(zip("abc", part.T, strict=True)) for part in np.split(rows, [1, 2, 5, 20])]
    batcher = Batcher()
    together = await asyncio.gather(*(batcher.predict(model, some, len(some["a"])) for some in columns))
    for some, outputs in zip(columns, together, strict=True):
        alone = model.predict(some)
        assert outputs.keys() == alone.keys()
        np.testing.assert_array_equal(outputs["label"], alone["label"])
        np.testing.assert_allclose(outputs["probability"], alone["probability"], rtol=1e-12)


async def test_columns_of_other_types_are_not_one_frame(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(64, 3))
    example = pa.table(dict(zip("abc", rows.T, strict=True)))
    manifest = save_model(tmp_path / "m", _estimator(True, rows), example=example)
    model = load_model(tmp_path / "m", manifest, sha256_of(manifest))
    whole = {name: np.array([2**53 + 1]) for name in "abc"}
    missing = {name: np.array([1.5]) for name in "abc"}
    with pytest.raises(DataError, match="several types"):
        model.stack([model.encode(whole), model.encode(missing)])
