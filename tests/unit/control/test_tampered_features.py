"""One story: the online store serves what the tables do not say. The model looks worse, and is not to blame for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.config.control import ControlConfig, RetrainConfig, TriggersConfig, WindowCount
from raymlops.config.monitoring import FeatureAuditConfig, MonitoringConfig
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field
from raymlops.metadata import MetadataService
from raymlops.monitoring import MonitorService
from raymlops.monitoring.events.event_tables import DeltaEventTables
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.records.models import ModelManifest, ModelVersion
from raymlops.records.plans import ServingPlan
from raymlops.records.windows import WindowRecord
from raymlops.runtime.explain.served_features import ServedFeatureAudit
from raymlops.tables.columns import INSTANT
from raymlops.testing.control_examples import DAY, START
from tests.support.control_world import ControlWorld

KEYS, ROWS = 50, 300
VIEW = FeatureView("v", Entity("customer", ["customer_id"]), [Field("x", "float64")])
SERVICE = FeatureService("s", ["v:x"])
HISTORY = timedelta(days=30)


def values(shift: float) -> pa.Table:
    at = pa.array([START - DAY] * KEYS, INSTANT)
    return pa.table({"customer_id": pa.array(range(KEYS)), "event_time": at, "x": np.linspace(-2, 2, KEYS) + shift})


def store_at(root: Path, shift: float) -> None:
    store = FeatureStore(root, clock=ManualClock(START), history=HISTORY)
    store.apply(VIEW, SERVICE)
    store.push("v", values(shift), ingest_id="one")
    store.close()


@dataclass
class Shop:
    """A model on features, its users and its monitor."""

    home: Path
    config: MonitoringConfig
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))

    def __post_init__(self) -> None:
        self.clock = ManualClock(START)
        self.metadata = MetadataService(self.home / "metadata.db", clock=self.clock)
        store_at(self.home / "features", 0.0)
        signature = Signature(task="classifier", inputs=(ColumnSpec(name="v__x", dtype="FP64"),), classes=(0, 1))
        draft = ModelVersion(
            name="m",
            version=0,
            path=str(self.home / "model"),
            manifest=ModelManifest(flavor="sklearn", signature=signature, files={}, libraries={}),
            digest="0" * 64,
            metrics={"log_loss": 0.5},
            created_at=START,
        )
        self.metadata.models.register_version(draft, key="one")
        self.metadata.plans.put_plan(ServingPlan(model="m", number=1, champion=1, service="s@1", created_at=START))
        audit = ServedFeatureAudit(self.metadata.plans, self.reader)
        tables = DeltaEventTables(self.home / "monitor")
        self.monitor = MonitorService(tables, self.metadata, self.clock, self.config, audit)

    def reader(self, environment: str | None = None) -> FeatureReader:
        assert environment is None
        return FeatureReader(self.home / "features", clock=self.clock)

    def tamper(self) -> None:
        """Put another store's file in the place of the online store, behind everybody's back."""
        store_at(self.home / "elsewhere", 3.0)
        shutil.rmtree(self.home / "features" / "online.lmdb")
        shutil.copytree(self.home / "elsewhere" / "online.lmdb", self.home / "features" / "online.lmdb")

    def serve(self, day: int) -> None:
        """A day of predictions from the features that are online; labels follow the features that are true."""
        asked = self.rng.integers(0, KEYS, ROWS)
        times = [START + day * DAY + DAY * (i / ROWS) for i in range(ROWS)]
        at = pa.array(times, INSTANT)
        reader = self.reader()
        plan = reader.plan("s@1")
        keys = [{"customer_id": int(key)} for key in asked]
        served = plan.table(plan.read(keys, at.cast(pa.int64()).to_pylist()))["v__x"].combine_chunks()
        reader.close()
        truth = self.rng.random(ROWS) < 1 / (1 + np.exp(-2 * values(0.0)["x"].to_numpy()[asked]))
        ids = [f"{day}-{i}" for i in range(ROWS)]
        numbers = pa.array([0] * ROWS, pa.int32())
        events = pa.table(
            {
                "request_id": ids,
                "row": numbers,
                "event_time": at,
                "served_at": at,
                "version": pa.array([1] * ROWS, pa.int32()),
                "role": ["champion"] * ROWS,
                "fallback": pa.nulls(ROWS, pa.string()),
                "error": pa.nulls(ROWS, pa.string()),
                "score": 1 / (1 + np.exp(-2 * served.to_numpy())),
                "label_predicted": ["0"] * ROWS,
                "entity": [orjson.dumps(key).decode() for key in keys],
                "v__x": served,
            }
        )
        labels = {"request_id": ids, "row": numbers, "label": truth.astype(int), "event_time": at}
        self.monitor.record_events("m", events, f"events-{day}")
        self.monitor.record_labels("m", pa.table(labels), f"labels-{day}")

    def close(self, day: int) -> WindowRecord:
        """The window of that day."""
        closed = self.monitor.close_windows("m", START + (day + 1) * DAY)
        assert len(closed) == 1
        return closed[0]


@pytest.fixture
def shop(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shop]:
    audited = FeatureAuditConfig(**getattr(request, "param", {}))
    config = MonitoringConfig(window=DAY, anchor=START, label_delay=timedelta(), feature_audit=audited)
    opened = Shop(tmp_path, config)
    yield opened
    opened.metadata.close()


@pytest.fixture
def world() -> ControlWorld:
    """A controller that retrains as soon as one window is worse."""
    return ControlWorld(
        config=ControlConfig(
            triggers=TriggersConfig(performance=WindowCount(n=1, of=1), drift=None),
            retrain=RetrainConfig(cooldown=timedelta(), min_labelled_rows=0),
        )
    )


def live(shop: Shop, world: ControlWorld) -> list[WindowRecord]:
    """A sound day, then one on which the online store was tampered with; the controller turns after each."""
    closed = []
    for day in range(2):
        if day == 1:
            shop.tamper()
        shop.serve(day)
        closed.append(shop.close(day))
        world.clock.advance_to(closed[-1].end)
        world.observer.windows_of.setdefault("m", []).append(closed[-1])
        world.step()
    return closed


def test_broken_serving_data_starts_no_retraining(shop: Shop, world: ControlWorld) -> None:
    sound, broken = live(shop, world)
    assert (sound.audited_rows, sound.wrong_features, sound.wrong_feature_share, sound.degraded) == (ROWS, {}, 0, False)
    assert sound.quality != "block"
    assert broken.degraded
    assert broken.quality == "block"
    assert (broken.wrong_features, broken.wrong_feature_share) == ({"v__x": 1.0}, 1.0)
    reason = f"features served differ from the tables: v__x in 100.0% of {ROWS} audited rows"
    assert broken.quality_reasons[0] == reason
    assert world.actions == ["block"]
    assert reason in world.ledger.entries()[0].reason
    assert world.actuator.jobs == []
    assert reason in shop.monitor.report("m").html()


def test_rows_that_come_late_block_no_retraining(shop: Shop, world: ControlWorld) -> None:
    """The world changes, and the rows that tell of it are pushed four seconds after the instant they are about."""
    shop.serve(0)
    shop.close(0)
    store = FeatureStore(shop.home / "features", clock=ManualClock(START + 2 * DAY + timedelta(seconds=4)))
    shop.serve(1)  # by the rows of before
    late = values(3.0).set_column(1, "event_time", pa.array([START + DAY] * KEYS, INSTANT))
    store.push("v", late, ingest_id="late")
    store.close()
    window = shop.close(1)
    assert (window.wrong_features, window.audited_rows) == ({}, ROWS)
    assert window.late_features == {"v__x": 1.0}
    assert window.quality != "block"
    worse = window.model_copy(update={"degraded": True, "degraded_reason": "log loss 1.30 against 0.48"})
    world.observer.windows_of["m"] = [worse]
    world.clock.advance_to(worse.end)
    world.step()
    assert world.actions == ["retrain"]


@pytest.mark.parametrize("shop", [{"enabled": False}], indirect=True)
def test_without_the_audit_the_model_would_have_been_blamed(shop: Shop, world: ControlWorld) -> None:
    _, broken = live(shop, world)
    assert (broken.quality != "block", broken.audited_rows) == (True, 0)
    assert world.actions == ["retrain"]
    assert len(world.actuator.jobs) == 1


@pytest.mark.parametrize("shop", [{"sample_rows": 40}], indirect=True)
def test_the_audit_is_bounded_and_the_same_when_repeated(shop: Shop) -> None:
    shop.serve(0)
    record = shop.close(0)
    assert (record.audited_rows, record.quality_reasons[0][:22]) == (40, "drift is not judged: v")
    again = MonitorService(
        DeltaEventTables(shop.home / "monitor"),
        shop.metadata,
        shop.clock,
        shop.config,
        ServedFeatureAudit(shop.metadata.plans, shop.reader),
    )
    again._schedule._next["m"] = START  # a window that was closed and not stored
    assert again.close_windows("m", START + DAY) == [record]


def test_a_window_closes_though_its_features_cannot_be_recomputed(shop: Shop) -> None:
    shop.serve(0)
    shutil.rmtree(shop.home / "features" / "tables")
    (shop.home / "features" / "catalog.json").write_text("{")
    record = shop.close(0)
    assert (record.rows, record.quality, record.audited_rows) == (ROWS, "warn", 0)
    assert any(reason.startswith("features served were not audited: ") for reason in record.quality_reasons)
