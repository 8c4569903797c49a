"""Many models in one process: what thirty take beside one in a process of its own, and three hundred by Zipf's law."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import numpy as np
import orjson
import psutil
import pyarrow as pa
from sklearn.linear_model import LogisticRegression

from raymlops.config.reading.loader import load_config
from raymlops.platform import Platform, connect

__all__ = ["measure_thirty", "measure_zipf"]

COLUMNS, OWN = 20, "own"
MIB = 1 << 20
PORT = 8241
AT_ONCE = 4
"""Deployments that are ordered at once."""


def measure_thirty(models: int = 30) -> dict[str, Any]:
    """Seconds to deploy linear models into the pool, and its memory, beside one model in a process of its own."""
    with tempfile.TemporaryDirectory() as home, _platform(home) as platform:
        names = [f"m{number:03d}" for number in range(models)]
        _register(platform, [*names, OWN])
        started = time.perf_counter()
        platform.endpoints.deploy(OWN, 1)
        own_s = time.perf_counter() - started
        pooled_s = _deploy(platform, names)
        asyncio.run(_ask_each(platform, [*names, OWN]))
        own_mib, pool_mib = _mib(f"model-{OWN}"), _mib("pool-models")
        return {
            "models": models,
            "deploy_all_s": round(pooled_s, 1),
            "deploy_one_of_its_own_s": round(own_s, 1),
            "pool_mib": round(pool_mib),
            "own_mib": round(own_mib),
            "memory_as_a_share_of_own_processes": round(pool_mib / (models * own_mib), 3),
            "time_as_a_share_of_own_processes": round(pooled_s / (models * own_s), 3),
            **_load(),
        }


def measure_zipf(registered: int = 300, hot: int = 30, requests: int = 3000) -> dict[str, Any]:
    """Hits of the hot models beside a replica of its own in turns, then the first request of each cold model.

    The pool may hold twice as many models as are hot.
    """
    limit_bytes = 2 * hot * (64 << 10)
    with tempfile.TemporaryDirectory() as home, _platform(home, memory_bytes=limit_bytes) as platform:
        names = [f"m{number:03d}" for number in range(registered)]
        _register(platform, [*names, OWN])
        platform.endpoints.deploy(OWN, 1)
        deploy_s = _deploy(platform, names)
        found = asyncio.run(_zipf(platform, names, hot, requests))
        own, hit = found["own"], found["hit"]
        ratios = {f"hit_{name}_ratio": round(hit[name] / own[name], 3) for name in ("p50_ms", "p99_ms")}
        return {
            "registered": registered,
            "hot": hot,
            "deploy_all_s": round(deploy_s, 1),
            **found,
            **ratios,
            "pool_mib": round(_mib("pool-models")),
            **_load(),
        }


def _platform(home: str, **pool: Any) -> Any:
    overrides = {"home": home, "serving": {"port": PORT, "pool": pool}}
    return connect(config=load_config(environ={}, overrides=overrides))


def _register(platform: Platform, names: list[str]) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, COLUMNS))
    example = pa.table({f"c{number}": rows[:8, number] for number in range(COLUMNS)})
    for name in names:
        target = rows @ rng.normal(size=COLUMNS) > 0
        platform.models.register(name, LogisticRegression().fit(rows, target), example=example)


def _deploy(platform: Platform, names: list[str]) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(lambda name: platform.endpoints.deploy(name, 1, pooled=True), names))
    return time.perf_counter() - started


def _body() -> bytes:
    row = np.random.default_rng(1).normal(size=COLUMNS).tolist()
    tensor = {"name": "features", "shape": [1, COLUMNS], "datatype": "FP64", "data": row}
    return orjson.dumps({"inputs": [tensor]})


async def _timed_ms(session: aiohttp.ClientSession, platform: Platform, model: str, body: bytes) -> float:
    started = time.perf_counter()
    async with session.post(f"{platform.url}/v2/models/{model}/infer", data=body) as response:
        assert response.status == 200, (model, response.status, await response.text())
        await response.read()
    return (time.perf_counter() - started) * 1000


async def _ask_each(platform: Platform, names: list[str]) -> list[float]:
    body = _body()
    async with aiohttp.ClientSession() as session:
        return [await _timed_ms(session, platform, name, body) for name in names]


async def _zipf(platform: Platform, names: list[str], hot: int, requests: int) -> dict[str, Any]:
    rng, body = np.random.default_rng(2), _body()
    hot_names = names[:hot]
    weights = 1 / np.arange(1, hot + 1)
    drawn = rng.choice(hot_names, size=requests, p=weights / weights.sum())
    async with aiohttp.ClientSession() as session:
        for name in [*hot_names, OWN] * 5:
            await _timed_ms(session, platform, name, body)
        own, hit = [], []
        for name in drawn:  # in turns, so that both meet the same machine
            own.append(await _timed_ms(session, platform, OWN, body))
            hit.append(await _timed_ms(session, platform, str(name), body))
        # more models than fit lie between two requests for one of them: each is cold
        cold = [await _timed_ms(session, platform, name, body) for name in [*names[hot:], *names[hot:]]]
    return {"own": _quantiles(own), "hit": _quantiles(hit), "cold": _quantiles(cold)}


def _quantiles(found_ms: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(found_ms, [50, 99]).round(2).tolist()
    return {"p50_ms": p50, "p99_ms": p99}


def _mib(application: str) -> float:
    """Memory that is a process's own, so that what all Ray workers share is not counted for each."""
    found = [
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if f"ServeReplica:{application}" in " ".join(process.info["cmdline"] or ())
    ]
    return sum(process.memory_full_info().uss for process in found) / MIB


def _load() -> dict[str, Any]:
    return {"load_average": round(os.getloadavg()[0], 1), "cores": os.cpu_count()}
