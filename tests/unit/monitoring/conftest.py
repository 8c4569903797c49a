from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from raymlops.clock import ManualClock
from raymlops.config.monitoring import MonitoringConfig
from raymlops.errors import ModelVersionNotFound, NotFoundError, StaleWrite
from raymlops.monitoring import REFERENCE_FILE, MonitorService, Reference
from raymlops.monitoring.events.recorded import join_recorded
from raymlops.records.bundles import BundleManifest
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.records.models import ModelManifest, ModelVersion
from raymlops.records.plans import ServingPlan
from raymlops.records.windows import WindowProfile, WindowRecord

INSTANT = pa.timestamp("us", tz="UTC")
START = datetime(2013, 1, 7, tzinfo=UTC)
WEEK = timedelta(days=7)


@dataclass
class MemoryTables:
    """The tables' promises, kept in memory."""

    tables: dict[str, list[pa.Table]] = field(default_factory=dict)
    seen: set[tuple[str, str]] = field(default_factory=set)
    reads: int = 0
    maintained: list[tuple[str, datetime | None]] = field(default_factory=list)

    def append(
        self,
        name: str,
        table: pa.Table,
        *,
        ingest_id: str,
        told_by: Sequence[str] | None = None,
    ) -> object:
        if (name, ingest_id) not in self.seen:
            self.seen.add((name, ingest_id))
            self.tables.setdefault(name, []).append(table)
        return None

    def read(
        self,
        name: str,
        start: datetime | None,
        end: datetime | None,
        column: str,
        *,
        columns: Sequence[str] | None = None,
        after: Mapping[str, int] | None = None,
        until: Mapping[str, int] | None = None,
    ) -> pa.Table:
        self.reads += 1
        first = 0 if after is None else after.get("batches", 0)
        last = None if until is None else until.get("batches", 0)
        batches = self.tables.get(name, [])[first:last]
        if not batches:
            return pa.table({})
        found = []
        for table in batches:
            keep = pa.array(np.ones(table.num_rows, dtype=bool))
            if start is not None:
                keep = pc.and_(keep, pc.greater_equal(table[column], pa.scalar(start, INSTANT)))
            if end is not None:
                keep = pc.and_(keep, pc.less(table[column], pa.scalar(end, INSTANT)))
            kept = table.filter(keep)
            found.append(kept if columns is None else kept.select(columns))
        return join_recorded(found)

    def marks(self, name: str) -> dict[str, int]:
        return {"batches": len(self.tables[name])} if name in self.tables else {}

    def maintain(self, name: str, keep_from: datetime | None, span: timedelta) -> None:
        self.maintained.append((name, keep_from))


@dataclass
class MemoryMetadata:
    """The part of the metadata store that the monitor uses, kept in memory."""

    versions: dict[tuple[str, int], ModelVersion] = field(default_factory=dict)
    closed: dict[tuple[str, datetime], tuple[WindowRecord, bytes]] = field(default_factory=dict)
    bundles: dict[str, BundleManifest] = field(default_factory=dict)
    champion: int | None = None
    plan: ServingPlan | None = None
    kept: list[WindowProfile] = field(default_factory=list)
    marks: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def models(self) -> MemoryMetadata:
        return self

    plans = windows = profiles = deployments = models

    def get_bundle(self, digest: str) -> BundleManifest:
        if digest not in self.bundles:
            raise NotFoundError(f"bundle {digest!r} does not exist")
        return self.bundles[digest]

    def get_version(self, name: str, version: int) -> ModelVersion:
        if (name, version) not in self.versions:
            raise ModelVersionNotFound.of(name, version)
        return self.versions[name, version]

    def serving_at(self, name: str, when: datetime) -> int | None:
        return self.champion

    def find_plan(self, model: str) -> ServingPlan | None:
        return self.plan

    def put_window(self, record: WindowRecord, profile: bytes) -> None:
        stored = WindowRecord.model_validate_json(record.model_dump_json())
        self.closed[record.model, record.start] = (stored, profile)

    def list_windows(
        self, model: str, start: datetime | None = None, end: datetime | None = None
    ) -> list[WindowRecord]:
        found = [record for (name, _), (record, _) in sorted(self.closed.items()) if name == model]
        return [r for r in found if (start is None or r.start >= start) and (end is None or r.start < end)]

    def get_profile(self, model: str, start: datetime) -> bytes:
        if (model, start) not in self.closed:
            raise NotFoundError(f"no window of {model} starts at {start}")
        return self.closed[model, start][1]

    def put_profiles(self, model: str, start: datetime, profiles: Sequence[WindowProfile]) -> None:
        self.kept = [p for p in self.kept if (p.model, p.start) != (model, start)] + list(profiles)

    def list_profiles(
        self, model: str, start: datetime | None = None, end: datetime | None = None, segment: str | None = None
    ) -> list[WindowProfile]:
        found = [p for p in self.kept if p.model == model and segment in {None, p.segment}]
        found = [p for p in found if (start is None or p.start >= start) and (end is None or p.start < end)]
        return sorted(found, key=_profile_key)

    def late_rows(self, model: str, start: datetime | None = None, end: datetime | None = None) -> dict[datetime, int]:
        rows: dict[datetime, int] = {}
        for profile in self.list_profiles(model, start, end, ""):
            if profile.late:
                rows[profile.start] = rows.get(profile.start, 0) + profile.rows
        return rows

    def profile_marks(self, model: str) -> dict[str, int] | None:
        return self.marks.get(model)

    def add_late_profiles(
        self,
        model: str,
        profiles: Sequence[WindowProfile],
        marks: Mapping[str, int],
        previous: Mapping[str, int] | None,
    ) -> None:
        if self.marks.get(model) == marks:
            return
        if self.marks.get(model) != previous:
            raise StaleWrite("late rows were added by another")
        replaced = {_profile_key(profile) for profile in profiles}
        self.kept = [p for p in self.kept if _profile_key(p) not in replaced] + list(profiles)
        self.marks[model] = dict(marks)

    def drop_profiles(self, model: str, before: datetime) -> int:
        kept = [p for p in self.kept if p.model != model or p.start >= before]
        dropped, self.kept = len(self.kept) - len(kept), kept
        return dropped


def _profile_key(profile: WindowProfile) -> tuple[Any, ...]:
    return profile.model, profile.start, profile.version, profile.role, profile.segment, profile.late


def chance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The true probability of a label, which the model knows."""
    return 1 / (1 + np.exp(-(1.2 * x + 0.6 * y - 1.0)))


def draw(rng: np.random.Generator, rows: int, shift: float) -> dict[str, Any]:
    """Inputs of the model; ``shift`` moves ``x``."""
    return {
        "x": rng.normal(shift, 1, rows),
        "y": rng.normal(0, 1, rows),
        "kind": pa.array([f"k{i}" for i in rng.integers(0, 6, rows)]),
    }


@cache
def fitted(shift: float) -> bytes:
    """The stored reference of a model made from inputs moved by ``shift``."""
    inputs = draw(np.random.default_rng(4), 4000, shift)
    table = pa.table({**inputs, "score": chance(inputs["x"], inputs["y"])})
    return Reference.fit(table, importances={"x": 3.0, "y": 2.0, "kind": 1.0}).dumps()


@dataclass
class World:
    """A model, its traffic and its monitor."""

    home: Path
    tables: MemoryTables = field(default_factory=MemoryTables)
    metadata: MemoryMetadata = field(default_factory=MemoryMetadata)
    config: MonitoringConfig = field(
        default_factory=lambda: MonitoringConfig(
            window=WEEK, label_delay=timedelta(days=1), drift={"min_effect": 0.0016, "min_share": 0.3}
        )
    )
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def monitor(self) -> MonitorService:
        return MonitorService(self.tables, self.metadata, self.clock, self.config)

    def register(
        self,
        version: int,
        *,
        shift: float = 0.0,
        metrics: dict[str, float] | None = None,
        signature: Signature | None = None,
        reference: bool = True,
    ) -> ModelVersion:
        directory = self.home / str(version)
        directory.mkdir(parents=True)
        if reference:
            (directory / REFERENCE_FILE).write_bytes(fitted(shift))
        columns = (("x", "FP64"), ("y", "FP64"), ("kind", "BYTES"))
        found = ModelVersion(
            name="m",
            version=version,
            path=str(directory),
            manifest=ModelManifest(
                flavor="xgboost",
                signature=signature
                or Signature(
                    task="classifier",
                    inputs=tuple(ColumnSpec(name=name, dtype=dtype) for name, dtype in columns),
                    classes=(0, 1),
                ),
                files={},
                libraries={},
            ),
            digest="0" * 64,
            metrics=metrics if metrics is not None else {"log_loss": 0.52},
            created_at=START,
        )
        self.metadata.versions["m", version] = found
        return found

    def events(self, week: int, rows: int = 1000, *, version: int = 1, role: str = "champion", **more: Any) -> pa.Table:
        """One window's prediction events; ``shift`` moves ``x``."""
        inputs = draw(self.rng, rows, more.pop("shift", 0.0))
        times = [START + week * WEEK + WEEK * ((i + 0.5) / rows) for i in range(rows)]
        columns = {
            "request_id": [f"{week}-{version}-{role}-{i}" for i in range(rows)],
            "row": pa.array([0] * rows, type=pa.int32()),
            "event_time": pa.array(times, type=INSTANT),
            "served_at": pa.array(times, type=INSTANT),
            "version": pa.array([version] * rows, type=pa.int32()),
            "role": [role] * rows,
            "latency_us": pa.array([900] * rows, type=pa.int64()),
            "fallback": pa.array([None] * rows, type=pa.string()),
            "error": pa.array([None] * rows, type=pa.string()),
            "missing": pa.array([0] * rows, type=pa.int32()),
            "score": chance(inputs["x"], inputs["y"]),
            "label_predicted": ["0"] * rows,
            **inputs,
            **more,
        }
        return pa.table(columns)

    def labels(self, events: pa.Table, *, delay: timedelta = timedelta(hours=3), flip: float = 0.0) -> pa.Table:
        """Labels drawn from the true probability, with a share of them flipped."""
        truth = self.rng.random(events.num_rows) < events["score"].to_numpy()
        truth ^= self.rng.random(events.num_rows) < flip
        return pa.table(
            {
                "request_id": events["request_id"],
                "row": events["row"],
                "label": pa.array(truth.astype(int)),
                "event_time": pa.array([at + delay for at in events["event_time"].to_pylist()], type=INSTANT),
            }
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def make_world(tmp_path: Path) -> Callable[..., World]:
    return lambda **config: World(tmp_path, config=MonitoringConfig(window=WEEK, **config))
