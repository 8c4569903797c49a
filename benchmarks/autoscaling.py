"""Replicas that follow a load which triples and falls: how soon, and whether a request fails while they come and go."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
import pyarrow as pa
from ray import serve
from sklearn.ensemble import RandomForestRegressor

from raymlops.config.reading.loader import load_config
from raymlops.platform import Platform, connect

__all__ = ["measure"]

MODEL, CALLERS, ROWS = "scaled", 2, 200
DEADLINE_S = 120.0
PATIENCE = {"start_timeout": "5m", "boot_timeout": "5m"}
"""On a machine that others keep busy, a cluster takes minutes to start; that is not what is measured."""
SCALING = {"max_replicas": 3, "target_ongoing_requests": 2.0, "upscale_delay": "2s", "downscale_delay": "5s"}


@dataclass
class _Seen:
    """What callers got."""

    statuses: Counter[str] = field(default_factory=Counter)
    latencies_ms: dict[str, list[float]] = field(default_factory=dict)
    phase: str = "before"


def measure(port: int = 8251) -> dict[str, Any]:
    """Ask a forest, then with three times the callers, then with as many as before; see the module's text."""
    overrides = {"serving": {"port": port, "autoscaling": SCALING}, "cluster": PATIENCE}
    with tempfile.TemporaryDirectory() as home:
        config = load_config(environ={}, overrides={"home": home, **overrides})
        with connect(config=config) as platform:
            rows = np.random.default_rng(0).normal(size=(2000, 3))
            forest = RandomForestRegressor(100, n_jobs=1, random_state=0).fit(rows, rows.sum(axis=1))
            platform.models.register(MODEL, forest, example=pa.table({name: [0.1, -0.2] for name in "abc"}))
            platform.endpoints.deploy(MODEL, 1)
            return asyncio.run(_follow(platform))


async def _follow(platform: Platform) -> dict[str, Any]:
    seen = _Seen()
    steady, burst = asyncio.Event(), asyncio.Event()
    url = f"{platform.url}/v2/models/{MODEL}/infer"
    callers = [asyncio.create_task(_ask(url, steady, seen)) for _ in range(CALLERS)]
    await _until(lambda: seen.statuses.total() > 50)
    before = _replicas()
    seen.phase = "tripled"
    started = time.perf_counter()
    more = [asyncio.create_task(_ask(url, burst, seen)) for _ in range(2 * CALLERS)]
    await _until(lambda: _replicas() > before)
    up_s = time.perf_counter() - started
    asked = seen.statuses.total()
    await _until(lambda: seen.statuses.total() > asked + 100)
    most = _replicas()
    seen.phase, started = "fallen", time.perf_counter()
    burst.set()
    await asyncio.gather(*more)
    await _until(lambda: _replicas() <= before)
    down_s = time.perf_counter() - started
    asked = seen.statuses.total()
    await _until(lambda: seen.statuses.total() > asked + 50)
    steady.set()
    await asyncio.gather(*callers)
    return {
        "replicas": [before, most, _replicas()],
        "up_s": round(up_s, 1),
        "down_s": round(down_s, 1),
        "answers": dict(seen.statuses),
        "failed": sum(count for status, count in seen.statuses.items() if status != "200"),
        "p99_ms": {phase: round(float(np.percentile(some, 99)), 1) for phase, some in seen.latencies_ms.items()},
        "load_average": round(os.getloadavg()[0], 1),
    }


async def _ask(url: str, done: asyncio.Event, seen: _Seen) -> None:
    data = np.random.default_rng(1).normal(size=3 * ROWS).tolist()
    body = {"inputs": [{"name": "features", "shape": [ROWS, 3], "datatype": "FP64", "data": data}]}
    async with aiohttp.ClientSession() as session:
        while not done.is_set():
            phase, started = seen.phase, time.perf_counter()
            try:
                async with session.post(url, json=body) as response:
                    status = str(response.status)
                    await response.read()
            except aiohttp.ClientError as error:
                status = type(error).__name__
            seen.statuses[status] += 1
            seen.latencies_ms.setdefault(phase, []).append((time.perf_counter() - started) * 1000)


def _replicas() -> int:
    """Replicas that take requests."""
    deployments = serve.status().applications[f"model-{MODEL}"].deployments
    return sum(deployment.replica_states.get("RUNNING", 0) for deployment in deployments.values())


async def _until(true: Any) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not await asyncio.to_thread(true):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the load was not followed within {DEADLINE_S:g} s")
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
