"""Small real models, and stand-ins for what the runtime hands in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.config.serving import EventLogConfig, ServingConfig
from raymlops.errors import ModelVersionNotFound
from raymlops.records.models import ModelManifest, ModelVersion
from raymlops.records.plans import ServingPlan, Trial
from raymlops.records.record import sha256_of
from raymlops.serving import Endpoint, EventLog, HttpReply, HttpRequest, Loader, save_model

NOW = datetime(2013, 6, 1, 12, tzinfo=UTC)
INPUTS = ("distance", "hour", "weather__wind", "weather__rain")


class FakeVersions:
    """A registry in memory."""

    def __init__(self) -> None:
        self.versions: dict[int, ModelVersion] = {}

    def add(self, version: int, path: Path, manifest: ModelManifest) -> None:
        self.versions[version] = ModelVersion(
            name="delay", version=version, path=str(path), manifest=manifest, digest=sha256_of(manifest), created_at=NOW
        )

    def get_version(self, name: str, version: int) -> ModelVersion:
        if version not in self.versions:
            raise ModelVersionNotFound.of(name, version)
        return self.versions[version]


class FakeRows:
    def __init__(
        self, columns: Mapping[str, list[Any]], times: Mapping[str, list[int | None]], missing: list[list[str]]
    ) -> None:
        self.columns = columns
        self.event_times_us = times
        self.missing = missing


class FakeOnline:
    """One view keyed by origin, whose rows are a minute old; an origin of ``None`` or unknown has no row."""

    request_columns: Sequence[str] = ("origin",)
    feature_columns: Sequence[str] = ("weather__wind", "weather__rain")
    blocks = False

    def __init__(self) -> None:
        self.rows: dict[object, list[Any]] = {"JFK": [10.0, 0.5], "LGA": [3, None]}
        self.asked: list[list[int]] = []

    def plan(self, service: str, environment: str | None = None) -> FakeOnline:
        return self

    def read(self, rows: Sequence[Mapping[str, object]], at_us: Sequence[int]) -> FakeRows:
        self.asked.append(list(at_us))
        found = [self.rows.get(row["origin"], [None, None]) for row in rows]
        columns = {name: [values[i] for values in found] for i, name in enumerate(self.feature_columns)}
        missing = [[] if row["origin"] in self.rows else list(self.feature_columns) for row in rows]
        times = [at - 60_000_000 if row["origin"] in self.rows else None for row, at in zip(rows, at_us, strict=True)]
        return FakeRows(columns, {"weather": times}, missing)


class FakeCandidate:
    """A version on trial that does what it is told."""

    def __init__(self) -> None:
        self.behave: Callable[[Any], Any] = lambda columns: self.good(len(next(iter(columns.values()))))
        self.delay_s = 0.0
        self.calls = 0

    @staticmethod
    def good(rows: int) -> dict[str, Any]:
        return {"label": np.ones(rows, dtype=np.int64), "probability": np.tile([0.125, 0.875], (rows, 1))}

    def client(self, model: str, version: int) -> FakeCandidate:
        return self

    async def infer(self, columns: Any, deadline_s: float) -> Any:
        self.calls += 1
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        return self.behave(columns)


class FakeSink:
    """Keeps batches by id, as the monitor does; fails where told to."""

    def __init__(self) -> None:
        self.batches: dict[str, pa.Table] = {}
        self.sent: list[str] = []
        self.errors: list[BaseException | None] = []
        """Popped at each send; an error is raised after the batch was stored, as if the acknowledgement got lost."""
        self.store_before_failing = False
        self.hang = False

    async def send(self, model: str, table: pa.Table, batch_id: str) -> None:
        self.sent.append(batch_id)
        if self.hang:
            await asyncio.sleep(3600)
        error = self.errors.pop(0) if self.errors else None
        if error is None or self.store_before_failing:
            self.batches.setdefault(batch_id, table)
        if error is not None:
            raise error

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for table in self.batches.values() for row in table.to_pylist()]


class FakeLabels:
    def __init__(self) -> None:
        self.tables: dict[str, pa.Table] = {}
        self.error: Exception | None = None
        self.delay_s = 0.0

    async def record(self, model: str, table: pa.Table, batch_id: str) -> int:
        await asyncio.sleep(self.delay_s)
        if self.error is not None:
            raise self.error
        self.tables[batch_id] = table
        return int(table.num_rows)


class Service:
    """An endpoint with all its surroundings."""

    def __init__(self, versions: FakeVersions, config: ServingConfig, **options: Any) -> None:
        self.versions = versions
        self.clock = ManualClock(NOW)
        self.online, self.candidate, self.sink, self.labels = FakeOnline(), FakeCandidate(), FakeSink(), FakeLabels()
        self.events = EventLog("delay", self.sink, config.events, name="replica")
        self.loader = Loader(versions, self.online, self.candidate)
        self.endpoint = Endpoint(
            "delay",
            self.loader,
            clock=self.clock,
            config=config,
            events=self.events,
            **{"labels": self.labels, **options},
        )

    def serve(self, number: int = 1, champion: int = 1, **changes: Any) -> bool:
        return self.endpoint.slot.swap(self.endpoint.slot.load(make_plan(number, champion, **changes)))

    async def post(self, action: str, body: object, **headers: str) -> HttpReply:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.endpoint.handle(HttpRequest("POST", f"/v2/models/delay{action}", named, content))

    async def get(self, action: str = "") -> HttpReply:
        return await self.endpoint.handle(HttpRequest("GET", f"/v2/models/delay{action}"))


def make_plan(number: int = 1, champion: int = 1, *, trial: Trial | None = None, **changes: Any) -> ServingPlan:
    return ServingPlan(
        model="delay",
        number=number,
        champion=champion,
        trial=trial,
        **{"service": "delays@1", "created_at": NOW, **changes},
    )


def matrix_body(rows: Sequence[Sequence[float]] = ((500.0, 8.0, 5.0, 0.0),), **more: Any) -> dict[str, Any]:
    data = [value for row in rows for value in row]
    tensor = {"name": "features", "datatype": "FP64", "shape": [len(rows), len(INPUTS)], "data": data}
    return {"inputs": [tensor], **more}


def example_table(rows: int = 20) -> pa.Table:
    rng = np.random.default_rng(7)
    return pa.table(
        {
            "distance": rng.normal(800, 200, rows),
            "hour": pa.array(rng.integers(5, 23, rows), type=pa.int64()),
            "weather__wind": rng.normal(10, 3, rows),
            "weather__rain": pa.array([None if i % 5 == 0 else 0.1 * i for i in range(rows)], type=pa.float64()),
        }
    )


@pytest.fixture(scope="session")
def model_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def manifests(model_root: Path) -> dict[int, ModelManifest]:
    """Versions 1, 2 and 3 of a classifier: 2 learned the opposite of 1, so that no answer can be mistaken."""
    import xgboost

    rng = np.random.default_rng(0)
    inputs = rng.normal((800, 14, 10, 1), (200, 5, 3, 1), (200, 4))
    labels = (inputs[:, 0] > 800).astype(int)
    saved = {}
    for version in (1, 2, 3):
        estimator = xgboost.XGBClassifier(n_estimators=4 + version, max_depth=2, n_jobs=1)
        estimator.fit(inputs, labels if version != 2 else 1 - labels)
        saved[version] = save_model(model_root / str(version), estimator, example=example_table())
    return saved


@pytest.fixture
def versions(model_root: Path, manifests: dict[int, ModelManifest]) -> FakeVersions:
    registry = FakeVersions()
    for version, manifest in manifests.items():
        registry.add(version, model_root / str(version), manifest)
    return registry


@pytest.fixture
def config() -> ServingConfig:
    return ServingConfig(events=EventLogConfig(flush_every="10ms", flush_rows=50, buffer_rows=1000))


@pytest.fixture
def make_service(versions: FakeVersions, config: ServingConfig) -> Callable[..., Service]:
    def make(settings: ServingConfig | None = None, **options: Any) -> Service:
        return Service(versions, settings or config, **options)

    return make


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    made = make_service()
    assert made.serve()
    return made


@pytest.fixture
def helpers() -> Any:
    """The names above, for tests: a conftest cannot be imported."""
    import types

    return types.SimpleNamespace(
        INPUTS=INPUTS,
        NOW=NOW,
        FakeCandidate=FakeCandidate,
        FakeOnline=FakeOnline,
        FakeSink=FakeSink,
        FakeVersions=FakeVersions,
        example_table=example_table,
        make_plan=make_plan,
        matrix_body=matrix_body,
    )
