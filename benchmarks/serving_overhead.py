"""What the endpoint adds to a model: in-process requests beside the bare XGBoost call, in one run."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from xgboost import XGBClassifier

from raymlops.records.models import ModelVersion
from raymlops.records.plans import ServingPlan
from raymlops.records.record import sha256_of
from raymlops.serving.endpoint import Endpoint
from raymlops.serving.models.model_files import save_model
from raymlops.serving.plans.loader import Loader
from raymlops.serving.protocol.http import HttpRequest

COLUMNS, TREES, REQUESTS, ROUNDS = 20, 100, 500, 7


class _Versions:
    def __init__(self, version: ModelVersion) -> None:
        self._version = version

    def get_version(self, name: str, version: int) -> ModelVersion:
        """The one version there is."""
        assert (name, version) == (self._version.name, self._version.version)
        return self._version


def fitted() -> tuple[Any, np.ndarray[Any, Any]]:
    """The model, and rows that it was fitted on."""
    rows = np.random.default_rng(0).normal(size=(4000, COLUMNS))
    return XGBClassifier(n_estimators=TREES, n_jobs=1).fit(rows, rows[:, 0] + rows[:, 1] > 0), rows


def endpoint_of(model: Any, rows: np.ndarray[Any, Any], make: Callable[..., Endpoint] = Endpoint) -> Endpoint:
    """An endpoint that serves the model."""
    names = [f"c{number}" for number in range(COLUMNS)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        manifest = save_model(path, model, example=pa.table(dict(zip(names, rows[:8].T, strict=True))))
        now, digest = datetime.now(UTC), sha256_of(manifest)
        version = ModelVersion(name="m", version=1, path=str(path), manifest=manifest, digest=digest, created_at=now)
        endpoint = make("m", Loader(_Versions(version)))
        endpoint.slot.swap(endpoint.slot.load(ServingPlan(model="m", number=1, champion=1, created_at=now)))
    return endpoint


def request_for(row: np.ndarray[Any, Any]) -> HttpRequest:
    """A request about one row."""
    tensor = {"name": "features", "shape": [1, COLUMNS], "datatype": "FP64", "data": row.tolist()}
    return HttpRequest("POST", "/v2/models/m/infer", {}, orjson.dumps({"inputs": [tensor]}))


def measure() -> dict[str, Any]:
    """Median microseconds per request of the bare model and of the endpoint, and their ratio."""
    model, rows = fitted()
    endpoint = endpoint_of(model, rows)
    booster, row = model.get_booster(), rows[:1].astype(np.float32)
    request = request_for(rows[0])

    async def bare() -> None:
        booster.inplace_predict(row)

    async def served() -> None:
        reply = await endpoint.handle(request)
        assert reply.status == 200

    bare_us, served_us = asyncio.run(compare(bare, served))
    return {"model_us": bare_us, "endpoint_us": served_us, "ratio": round(served_us / bare_us, 2)}


async def compare(*calls: Callable[[], Awaitable[None]], timer: Callable[[], float] = time.perf_counter) -> list[float]:
    """Median microseconds of each, measured in turns."""
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for times, call in zip(found, calls, strict=True):
            started = timer()
            for _ in range(REQUESTS):
                await call()
            times.append((timer() - started) / REQUESTS * 1e6)
    return [round(statistics.median(times), 1) for times in found]
