"""The process beside an event loop: one at a time, ended with its caller, and never in the way."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import AsyncIterator

import numpy as np
import orjson
import psutil
import pytest
import pytest_asyncio

from raymlops.errors import DataError, UnavailableError
from raymlops.serving.protocol.aside import Aside

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def aside() -> AsyncIterator[Aside]:
    made = Aside()
    yield made
    made.close()


async def test_it_is_another_process_and_stays(aside: Aside) -> None:
    first = await aside.call(os.getpid)
    assert first != os.getpid()
    assert await aside.call(os.getpid) == first
    assert await aside.call(orjson.loads, b"[1]") == [1]
    large = b"x" * (4 << 20)
    assert await aside.call(bytes, large) == large


async def test_arrays_come_back_as_they_were(aside: Aside) -> None:
    for array in (np.arange(300_000.0).reshape(3, -1).T, np.array(["a", None], dtype=object), np.empty((0, 2))):
        found = await aside.call(np.positive if array.dtype.kind == "f" else np.copy, array)
        np.testing.assert_array_equal(found, array)
        assert found.flags.writeable


async def test_errors_of_ours_arrive_and_others_are_bugs(aside: Aside) -> None:
    with pytest.raises(DataError, match="'id' must be a string"):
        await aside.call(_check, 5)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        await aside.call(divmod, 1, 0)
    assert await aside.call(_check, "r") == "r"


def _check(value: object) -> str | None:
    from raymlops.serving.protocol.open_inference import check_id

    return check_id(value)


async def test_who_gives_up_ends_his_own_call_and_no_other(aside: Aside) -> None:
    process = await aside.call(os.getpid)
    hanging = asyncio.create_task(aside.call(time.sleep, 3600))
    waiting = asyncio.create_task(aside.call(time.sleep, 3600))
    other = asyncio.create_task(aside.call(os.getpid))
    await _until(lambda: aside._running is not None)
    waiting.cancel()
    hanging.cancel()
    await asyncio.wait([hanging, waiting])
    assert hanging.cancelled()
    assert waiting.cancelled()
    async with asyncio.timeout(30):
        assert await other != process


async def test_a_killed_process_is_said_and_replaced(aside: Aside) -> None:
    process = await aside.call(os.getpid)
    hanging = asyncio.create_task(aside.call(time.sleep, 3600))
    await _until(lambda: aside._running is not None)
    os.kill(process, signal.SIGKILL)
    with pytest.raises(UnavailableError, match="try again"):
        await hanging
    assert await aside.call(os.getpid) != process


async def test_it_ends_when_it_is_closed() -> None:
    aside = Aside()
    aside.close()
    process = await aside.call(os.getpid)
    aside.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


async def test_it_ends_with_whoever_holds_it() -> None:
    aside = Aside()
    process = await aside.call(os.getpid)
    del aside
    # its thread lets go of the last call a moment after that has returned
    await _until(lambda: gc.collect() >= 0 and not psutil.pid_exists(process))


async def test_a_call_under_way_ends_when_it_is_closed() -> None:
    aside = Aside()
    hanging = asyncio.create_task(aside.call(time.sleep, 3600))
    await _until(lambda: aside._running is not None)
    aside.close()
    with pytest.raises(UnavailableError):
        await hanging


async def _until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)
