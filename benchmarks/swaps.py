"""A hundred swaps of a real endpoint under load: what failed, what was mixed up, how long each took, what memory grew.

Every answer is recomputed by the estimator of the version that the answer names.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa
from xgboost import XGBClassifier

from raymlops.config.reading.loader import load_config
from raymlops.platform import Platform, connect

COLUMNS, TREES, ROWS = 20, 100, 16
SWAPS, EARLY, CONNECTIONS = 100, 5, 8
MODEL, PORT = "swapped", 8231
TOLERANCE = 1e-5


@dataclass
class _Seen:
    """What came back while the swaps went on."""

    statuses: dict[int, int] = field(default_factory=dict)
    answers: int = 0
    mixed: int = 0
    unexpected_roles: int = 0


def measure(swaps: int = SWAPS) -> dict[str, Any]:
    """Register as many versions, promote one after the other under load; see the module's text."""
    with tempfile.TemporaryDirectory() as home:
        config = load_config(environ={}, overrides={"home": home, "serving": {"port": PORT}})
        with connect(config=config) as platform:
            expected, rows = _register(platform, swaps + 1)
            platform.endpoints.deploy(MODEL, 1)
            return asyncio.run(_swap_under_load(platform, swaps, expected, rows))


def _register(platform: Platform, count: int) -> tuple[list[npt.NDArray[np.float64]], npt.NDArray[np.float64]]:
    """Versions 1 to ``count``, and what each answers for every row that will be asked."""
    rng = np.random.default_rng(0)
    inputs, asked = rng.normal(size=(4000, COLUMNS)), rng.normal(size=(ROWS, COLUMNS))
    example = pa.table({f"c{number}": asked[:, number] for number in range(COLUMNS)})
    expected = []
    for number in range(count):
        target = inputs @ rng.normal(size=COLUMNS) > 0
        estimator = XGBClassifier(n_estimators=TREES, max_depth=4, n_jobs=1, random_state=number).fit(inputs, target)
        version = platform.models.register(MODEL, estimator, example=example)
        assert version.version == number + 1
        expected.append(np.asarray(estimator.predict_proba(asked)[:, 1], dtype=np.float64))
    return expected, asked


async def _swap_under_load(
    platform: Platform, swaps: int, expected: list[npt.NDArray[np.float64]], rows: npt.NDArray[np.float64]
) -> dict[str, Any]:
    seen, done = _Seen(), asyncio.Event()
    url = f"{platform.url}/v2/models/{MODEL}/infer"
    askers = [asyncio.create_task(_ask(url, number, expected, rows, seen, done)) for number in range(CONNECTIONS)]
    replica = _replica()
    memory: dict[int, float] = {}
    started = time.perf_counter()
    for number in range(1, swaps + 1):
        await asyncio.to_thread(platform.endpoints.promote, MODEL, number + 1)
        if number in (EARLY, swaps):
            memory[number] = await _settled_mib(replica)
    elapsed_s = time.perf_counter() - started
    done.set()
    await asyncio.gather(*askers)
    entries = [entry for entry in platform.ledger.entries(MODEL) if entry.action == "swap"]
    swap_ms = [float(entry.evidence["swap_ms"]) for entry in entries]
    return {
        "swaps": len(swap_ms),
        "answers": seen.answers,
        "failed": sum(count for status, count in seen.statuses.items() if status != 200),
        "mixed": seen.mixed,
        "not_by_the_champion": seen.unexpected_roles,
        "swap_ms_median": round(statistics.median(swap_ms), 1),
        "swap_ms_max": round(max(swap_ms), 1),
        "promotion_ms_mean": round(1000 * elapsed_s / swaps, 1),
        "memory_mib": {number: round(mib, 1) for number, mib in memory.items()},
        "memory_growth": round(memory[swaps] / memory[min(memory)] - 1, 4),
    }


async def _ask(
    url: str,
    first: int,
    expected: list[npt.NDArray[np.float64]],
    rows: npt.NDArray[np.float64],
    seen: _Seen,
    done: asyncio.Event,
) -> None:
    async with aiohttp.ClientSession() as session:
        place = first % len(rows)
        while not done.is_set():
            place = (place + 1) % len(rows)
            tensor = {"name": "features", "shape": [1, COLUMNS], "datatype": "FP64", "data": rows[place].tolist()}
            status, document = 0, None
            with contextlib.suppress(aiohttp.ClientError):  # counted as failed, under status 0
                async with session.post(url, json={"inputs": [tensor]}) as response:
                    status, document = response.status, await response.json(content_type=None)
            seen.answers += 1
            seen.statuses[status] = seen.statuses.get(status, 0) + 1
            if status != 200 or document is None:
                continue
            probability = next(one["data"] for one in document["outputs"] if one["name"] == "probability")[1]
            version = int(document["model_version"])
            seen.mixed += int(abs(probability - expected[version - 1][place]) > TOLERANCE)
            seen.unexpected_roles += document["parameters"]["role"] != "champion"


def _replica() -> psutil.Process:
    """The process of the endpoint's one replica."""
    return next(
        process
        for process in psutil.process_iter(["cmdline"])
        if f"model-{MODEL}" in " ".join(process.info["cmdline"] or ())
    )


async def _settled_mib(process: psutil.Process) -> float:
    """Private memory of a process, the least of a second, so that requests under way do not count."""
    samples = []
    for _ in range(10):
        samples.append(process.memory_full_info().uss / 2**20)
        await asyncio.sleep(0.1)
    return min(samples)
