from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from raymlops.delivery.load_test import Load, LoadReport, run_load_test
from raymlops.errors import DeploymentError


@asynccontextmanager
async def _service(answer: Callable[[int], web.Response], gate: asyncio.Event | None = None) -> AsyncIterator[str]:
    """A service that answers the n-th request as told, once the gate is open."""
    asked = iter(range(10**6))

    async def handle(request: web.Request) -> web.Response:
        number = next(asked)
        await request.read()
        if gate is not None:
            await gate.wait()
        return answer(number)

    application = web.Application()
    application.router.add_post("/predict", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"{site.name}/predict"
    finally:
        await runner.cleanup()


def _ok(number: int) -> web.Response:
    return web.json_response({"number": number})


def test_every_request_is_started_and_measured() -> None:
    async def run() -> LoadReport:
        async with _service(_ok) as url:
            return await run_load_test(url, [b"{}", b"[]"], Load(rate_per_s=200, p99_s=30, seconds=0.2))

    report = asyncio.run(run())
    assert (len(report.latencies_s), len(report.late_s), report.failed) == (40, 40, 0)
    report.require(Load(200, 30, 0.2))


def test_requests_are_started_although_none_is_answered() -> None:
    """An open loop: callers do not wait for one another."""

    async def run() -> LoadReport:
        gate, arrived = asyncio.Event(), []

        def answer(number: int) -> web.Response:
            return _ok(number)

        async with _service(answer, gate) as url:
            asking = asyncio.create_task(run_load_test(url, [b"{}"], Load(500, 30, 0.04)))
            while len(arrived) < 20 and not asking.done():
                await asyncio.sleep(0.01)
                arrived = [task for task in asyncio.all_tasks() if "_ask" in repr(task.get_coro())]
            assert not asking.done(), "nothing was answered yet"
            gate.set()
            return await asking

    report = asyncio.run(run())
    assert len(report.latencies_s) == 20
    assert report.failed == 0


def test_a_failure_counts_as_no_answer_and_is_told() -> None:
    async def run() -> LoadReport:
        def answer(number: int) -> web.Response:
            return _ok(number) if number % 10 else web.Response(status=429, text="too many")

        async with _service(answer) as url:
            return await run_load_test(url, [b"{}"], Load(200, 30, 0.1))

    report = asyncio.run(run())
    assert report.failed == 2
    assert math.isinf(report.p99_ms)
    with pytest.raises(DeploymentError, match=r"failed 2 of 20 requests at 200/s, at first with: 429 too many"):
        report.require(Load(200, 30, 0.1))


def test_a_service_that_is_away_fails_all() -> None:
    report = asyncio.run(run_load_test("http://127.0.0.1:1/predict", [b"{}"], Load(100, 30, 0.05)))
    assert report.failed == len(report.latencies_s) == 5
    with pytest.raises(DeploymentError, match="Connect"):
        report.require(Load(100, 30, 0.05))


def test_latencies_are_held_against_the_bound() -> None:
    load = Load(rate_per_s=50, p99_s=0.1, seconds=4)
    fast = LoadReport(latencies_s=[0.01] * 198 + [0.1, 5.0], late_s=[0.0] * 200)
    fast.require(load)
    slow = LoadReport(latencies_s=[0.01] * 197 + [0.2, 0.2, 0.2], late_s=[0.0] * 200)
    with pytest.raises(DeploymentError, match=r"too slow: p99 must be at most 100 ms, got 200.0 ms \(median 10.0 ms\)"):
        slow.require(load)
    late = LoadReport(latencies_s=[0.2] * 200, late_s=[0.19] * 200)
    with pytest.raises(DeploymentError, match="sent up to 190 ms late, so that the machine that asks may be the slow"):
        late.require(load)
    with pytest.raises(DeploymentError):
        LoadReport().require(load)
