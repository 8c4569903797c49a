"""Many models in one process on a real cluster: versions, swaps and moves under load, a killed process, a suspect."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import aiohttp
import numpy as np
import psutil
import pyarrow as pa
import pytest
import requests

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = pytest.mark.ray

MODELS = [f"pooled-{number:02d}" for number in range(12)]
FIRST, SECOND = MODELS[:2]
HEAVY = "pooled-heavy"
DEADLINE_S = 60.0


def _linear(slope: float) -> Any:
    from sklearn.linear_model import LinearRegression

    rows = np.random.default_rng(0).normal(size=(50, 3))
    return LinearRegression().fit(rows, slope * rows.sum(axis=1))


def _forest() -> Any:
    from sklearn.ensemble import RandomForestRegressor

    rows = np.random.default_rng(0).normal(size=(4000, 3))
    return RandomForestRegressor(400, max_leaf_nodes=64, n_jobs=1, random_state=0).fit(rows, rows.sum(axis=1))


@pytest.fixture(scope="module")
def pool(platform: Platform) -> Iterator[Platform]:
    example = pa.table({name: [0.1, -0.2] for name in "abc"})
    for number, model in enumerate(MODELS):
        platform.models.register(model, _linear(number), example=example)
    platform.models.register(FIRST, _linear(-1.0), example=example)
    for model in MODELS:
        platform.endpoints.deploy(model, 1, pooled=True)
    yield platform
    for model, plan in sorted(platform.metadata.plans.served_plans().items()):
        if model in {*MODELS, HEAVY} and plan.served:
            platform.endpoints.undeploy(model)
    _becomes(lambda: "pool-models" in _applications(), False)


def _applications() -> set[str]:
    from ray import serve

    return set(serve.status().applications)


def _becomes(look: Callable[[], object], wanted: object) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, f"{found!r} is not {wanted!r} after {DEADLINE_S:g} s"
        time.sleep(0.1)


def _body(rows: int = 1) -> dict[str, Any]:
    data = [1.0, 2.0, 3.0] * rows
    return {"inputs": [{"name": "features", "shape": [rows, 3], "datatype": "FP64", "data": data}]}


def _ask(platform: Platform, model: str) -> tuple[int, Any]:
    answer = requests.post(f"{platform.url}/v2/models/{model}/infer", json=_body(), timeout=10)
    return answer.status_code, answer.json()


def _values(platform: Platform, models: list[str]) -> list[float | None]:
    found = []
    for model in models:
        status, answer = _ask(platform, model)
        found.append(round(answer["outputs"][0]["data"][0], 6) if status == 200 else None)
    return found


async def _under_load(platform: Platform, models: list[str], work: Callable[[], object]) -> list[tuple[int, Any]]:
    """Answers of callers who ask one model after the other, while something is done."""
    answers: list[tuple[int, Any]] = []
    done = asyncio.Event()

    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            while not done.is_set():
                for model in models:
                    url = f"{platform.url}/v2/models/{model}/infer"
                    async with session.post(url, json=_body()) as response:
                        answers.append((response.status, await response.json()))

    asking = [asyncio.create_task(ask()) for _ in range(2)]
    await asyncio.to_thread(work)
    seen = len(answers)
    await asyncio.to_thread(_becomes, lambda: len(answers) > seen + 50, True)
    done.set()
    await asyncio.gather(*asking)
    return answers


def test_twelve_models_answer_from_one_process_each_with_its_own_version(
    pool: Platform, processes: Callable[[str], list[psutil.Process]]
) -> None:
    assert _values(pool, MODELS) == [6.0 * number for number in range(12)]
    assert {_ask(pool, model)[1]["model_version"] for model in MODELS} == {"1"}
    assert len(processes("ServeReplica:pool-models")) == 1
    assert not {f"model-{model}" for model in MODELS} & _applications()
    told = {status.model: status for status in pool.endpoints.status()}
    assert all(told[model].as_planned for model in MODELS)


def test_paths_of_no_pooled_model_are_answered_as_by_the_gateway(pool: Platform) -> None:
    assert set(MODELS) <= set(requests.get(f"{pool.url}/v2/models", timeout=10).json()["models"])
    for path in ("nobody", "nobody/infer", f"{FIRST}/versions/9"):
        answer = requests.get(f"{pool.url}/v2/models/{path}", timeout=10)
        assert (answer.status_code, list(answer.json())) == (404, ["error"]), path
    assert requests.get(f"{pool.url}/v2/health/ready", timeout=10).status_code in (200, 503)


def test_a_version_is_promoted_under_load_and_no_request_fails(pool: Platform) -> None:
    answers = asyncio.run(_under_load(pool, [FIRST, SECOND], lambda: pool.endpoints.promote(FIRST, 2)))
    assert {status for status, _ in answers} == {200}
    seen = {(answer["model_name"], answer["model_version"]) for _, answer in answers}
    assert seen == {(FIRST, "1"), (FIRST, "2"), (SECOND, "1")}
    values = {
        version: {
            round(answer["outputs"][0]["data"][0], 6) for _, answer in answers if answer["model_version"] == version
        }
        for version in "12"
    }
    assert values == {"1": {0.0, 6.0}, "2": {-6.0}}
    assert _ask(pool, FIRST)[1]["model_version"] == "2"
    assert pool.endpoints.flush(FIRST) == 0


@pytest.mark.slow
def test_a_model_moves_out_of_the_pool_and_back_under_load(pool: Platform) -> None:
    def move() -> None:
        pool.endpoints.deploy(SECOND, 1, pooled=False)
        assert f"model-{SECOND}" in _applications()
        pool.endpoints.deploy(SECOND, 1, pooled=True)
        _becomes(lambda: f"model-{SECOND}" in _applications(), False)

    answers = asyncio.run(_under_load(pool, [SECOND, MODELS[2]], move))
    assert {status for status, _ in answers} == {200}


def test_a_killed_process_comes_back_with_all_its_models(
    pool: Platform, processes: Callable[[str], list[psutil.Process]]
) -> None:
    (victim,) = processes("ServeReplica:pool-models")
    os.kill(victim.pid, signal.SIGKILL)
    _becomes(lambda: [one.pid != victim.pid for one in processes("ServeReplica:pool-models")], [True])
    _becomes(lambda: _values(pool, MODELS[1:]), [6.0 * number for number in range(1, 12)])
    assert all(pool.endpoints.plan(model).pooled for model in MODELS)  # none of them ran when it was killed


@pytest.mark.slow
def test_a_model_whose_code_ran_when_the_process_died_gets_a_process_of_its_own(
    pool: Platform, processes: Callable[[str], list[psutil.Process]]
) -> None:
    pool.models.register(HEAVY, _forest(), example=pa.table({name: [0.1, -0.2] for name in "abc"}))
    pool.endpoints.deploy(HEAVY, 1, pooled=True)
    url = f"{pool.url}/v2/models/{HEAVY}/infer"

    def ask() -> None:
        with contextlib.suppress(requests.RequestException):  # its answer is lost with the process
            requests.post(url, json=_body(50_000), timeout=60)

    asking = threading.Thread(target=ask)
    asking.start()
    (victim,) = processes("ServeReplica:pool-models")
    notes = pool.config.home / "pool"
    _becomes(lambda: any(1 in note.read_bytes()[:64] for note in notes.glob("*.running")), True)
    os.kill(victim.pid, signal.SIGKILL)
    asking.join(DEADLINE_S)
    _becomes(lambda: pool.endpoints.plan(HEAVY).pooled, False)
    _becomes(lambda: _values(pool, MODELS[1:]), [6.0 * number for number in range(1, 12)])
    _becomes(lambda: _ask(pool, HEAVY)[0], 200)
    assert f"model-{HEAVY}" in _applications()
    assert all(pool.endpoints.plan(model).pooled for model in MODELS)
    entry = next(entry for entry in pool.metadata.ledger.entries(HEAVY) if entry.action == "move_out")
    assert entry.reason.startswith("moved out of the pool: its code ran when a process of the pool ended")
    assert entry.evidence["by"] == "reconciler"
