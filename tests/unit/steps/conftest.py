from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.experiments import InProcessTuner, LearningTask
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field
from raymlops.metadata import MetadataService
from raymlops.records.bundles import ProjectSpec
from raymlops.steps import TrainingContext, train_project
from raymlops.steps.split import Parts
from raymlops.steps.train import train

START = datetime(2013, 1, 1, tzinfo=UTC)
DAYS = 60
INSTANT = pa.timestamp("us", tz="UTC")

SPINE = """
import pyarrow as pa

def spine(reader, start, end):
    orders = reader.table("orders")
    return pa.table({
        "event_time": orders["placed_at"], "label": orders["late"], "label_time": orders["event_time"],
        "shop": orders["shop"], "size": orders["size"], "hour": orders["hour"],
    })

def grades(reader, start, end):
    rows = spine(reader, start, end)
    grade = [int(late) + (late and size > 3) for late, size in zip(rows["label"].to_pylist(), rows["size"].to_pylist())]
    return rows.set_column(1, "label", pa.array(grade, pa.int64()))

def minutes(reader, start, end):
    rows = spine(reader, start, end)
    late, size = rows["label"].to_numpy(), rows["size"].to_numpy()
    return rows.set_column(1, "label", pa.array(30.0 * late + 4.0 * size))
"""


def instants(days: np.ndarray) -> pa.Array:
    return pa.array((days * 86_400e6).astype(np.int64) + int(START.timestamp()) * 1_000_000).cast(INSTANT)


def orders(
    first_day: float, days: float, rows: int, *, seed: int = 0, flipped: bool = False, grown: int = 0
) -> pa.Table:
    """Orders that are late by their shop's load and their own size; known two hours after they are placed."""
    rng = np.random.default_rng([seed, int(first_day)])
    placed = np.sort(rng.uniform(first_day, first_day + days, rows))
    shop, size = rng.integers(0, 8, rows), rng.integers(1, 6, rows)
    pull = 1.4 * load_at(shop, placed) + 0.5 * (size - 3)
    late = rng.random(rows) < 1 / (1 + np.exp(pull if flipped else -pull))
    columns = {
        "shop": pa.array(shop).cast(pa.string()),
        "event_time": instants(placed + 2 / 24),
        "placed_at": instants(placed),
        "size": pa.array(size + grown),
        "hour": pa.array((placed * 24 % 24).astype(np.int64)),
        "late": pa.array(late.astype(np.float64)),
    }
    return pa.table(columns)


def load_at(shop: np.ndarray, day: np.ndarray) -> np.ndarray:
    """A shop's load: another one every six hours."""
    return np.sin(1.7 * shop + np.floor(day * 4) * 0.9)


def loads(first_day: float, days: float) -> pa.Table:
    quarters = np.arange(first_day, first_day + days, 0.25)
    day, shop = (part.ravel() for part in np.meshgrid(quarters, np.arange(8), indexing="ij"))
    noise = np.random.default_rng(5).normal(size=len(day))
    columns = {"shop": pa.array(shop).cast(pa.string()), "event_time": instants(day)}
    return pa.table({**columns, "load": pa.array(load_at(shop, day)), "noise": pa.array(noise)})


SHOP = Entity("shop", ["shop"])
DEFINITIONS = (
    SHOP,
    FeatureView(
        "orders",
        SHOP,
        [Field("placed_at", "timestamp"), Field("size", "int64"), Field("hour", "int64"), Field("late", "float64")],
    ),
    FeatureView("loads", SHOP, [Field("load", "float64"), Field("noise", "float64")], ttl=timedelta(days=1)),
    FeatureService("toy", ["loads:load", "loads:noise"]),
)


SEARCH = {
    "xgboost": {
        "n_estimators": 60,
        "early_stopping_rounds": 10,
        "learning_rate": {"log_uniform": [0.1, 0.3]},
        "max_depth": {"int": [2, 3]},
    },
    "logistic": {"C": 1.0},
}
PROJECT = ProjectSpec(
    name="toy",
    model="toy",
    definitions="toy_spine:DEFINITIONS",
    service="toy",
    spine="toy_spine:spine",
    request_columns=("size", "hour"),
    training={"trials": 2, "holdout_days": 12, "search": SEARCH},
)


@contextmanager
def opened(home: Path, run_id: str = "run-1") -> Iterator[TrainingContext]:
    """A training context on a home."""
    clock = ManualClock(START + timedelta(days=DAYS, hours=3))
    metadata = MetadataService(home / "metadata.db", clock=clock)
    reader = FeatureReader(home / "features", clock=clock)
    try:
        yield TrainingContext(
            home=home,
            reader=reader,
            metadata=metadata,
            tuner=InProcessTuner(),
            clock=clock,
            project=PROJECT,
            run_id=run_id,
            work=home / "runs" / run_id,
            bundle="b" * 64,
        )
    finally:
        reader.close()
        metadata.close()


@pytest.fixture(scope="session", autouse=True)
def _spine_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The project's module, importable as it is in a bundle."""
    root = tmp_path_factory.mktemp("project")
    (root / "toy_spine.py").write_text(SPINE)
    sys.path.insert(0, str(root))
    yield
    sys.path.remove(str(root))
    sys.modules.pop("toy_spine", None)


@pytest.fixture(scope="session")
def filled_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose feature store has sixty days of orders and loads; not to be written to."""
    home = tmp_path_factory.mktemp("filled")
    store = FeatureStore(home / "features", clock=ManualClock(START + timedelta(days=DAYS)))
    store.apply(*DEFINITIONS)
    store.ingest("orders", orders(0, DAYS, 3000), ingest_id="orders-0")
    store.ingest("loads", loads(0, DAYS), ingest_id="loads-0")
    store.close()
    return home


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory, filled_home: Path, _spine_module: None) -> Path:
    """A home with a first run, ``run-1``, whose version 1 is the champion; not to be written to."""
    home = tmp_path_factory.mktemp("trained") / "home"
    shutil.copytree(filled_home, home)
    with opened(home) as context:
        result = train_project(context, {"slices": ["shop"], "slice_min_rows": 40}, reason="first")
        assert result["outcome"] == "candidate", result["reason"]
        context.metadata.models.set_alias("toy", "champion", 1, expected=None, reason="first")
    return home


@pytest.fixture
def context(tmp_path: Path, filled_home: Path) -> Iterator[TrainingContext]:
    """A context on a home of its own, with data and no model."""
    shutil.copytree(filled_home, tmp_path / "home")
    with opened(tmp_path / "home") as context:
        yield context


@pytest.fixture
def next_context(tmp_path: Path, trained_home: Path) -> Iterator[TrainingContext]:
    """A context for ``run-2`` on a home of its own, with data and a champion."""
    shutil.copytree(trained_home, tmp_path / "home")
    with opened(tmp_path / "home", "run-2") as context:
        yield context


def add_days(context: TrainingContext, first_day: float, days: float, rows: int, **how: Any) -> None:
    """Let days go by: their orders and loads arrive, and the clock moves on."""
    store = FeatureStore(context.home / "features", clock=context.clock)
    store.ingest("orders", orders(first_day, days, rows, **how), ingest_id=f"orders-{first_day}")
    store.ingest("loads", loads(first_day, days), ingest_id=f"loads-{first_day}")
    store.close()
    assert isinstance(context.clock, ManualClock)
    context.clock.advance_to(START + timedelta(days=first_day + days, hours=3))


@pytest.fixture
def bare(tmp_path: Path) -> TrainingContext:
    """A context for steps that touch nothing but the disk; what they must not touch is not there."""
    nothing: Any = None
    clock = ManualClock(START + timedelta(days=DAYS))
    work = tmp_path / "work"
    return TrainingContext(tmp_path, nothing, nothing, nothing, clock, PROJECT, "run-1", work, "b" * 64)


@pytest.fixture
def frame() -> pa.Table:
    """1,200 rows over thirty days; ``x`` tells much about the label, ``y`` nothing, and 5% of both are missing."""
    rng = np.random.default_rng(11)
    values = rng.normal(size=(1200, 2))
    label = rng.random(1200) < 1 / (1 + np.exp(-2 * values[:, 0]))
    values[rng.random(values.shape) < 0.05] = np.nan
    columns = {
        "event_time": instants(np.sort(rng.uniform(0, 30, 1200))),
        "label": pa.array(label.astype(np.int64)),
        "day": pa.array(rng.integers(0, 7, 1200)),
        "v__x": pa.array(values[:, 0], from_pandas=True),
        "v__y": pa.array(values[:, 1], from_pandas=True),
    }
    return pa.table(columns)


@pytest.fixture
def parts() -> dict[str, Any]:
    """Parts of ``frame``: 700 rows to fit on, 200 to select by, 300 to judge by."""
    task = LearningTask(inputs=("day", "v__x", "v__y"))
    known = Parts(task=task, validation=700, holdout=900, rows=1200, training_set="t" * 64)
    return known.model_dump(mode="json")


@pytest.fixture
def winner() -> dict[str, Any]:
    return {"trial": 0, "origin": "sampled", "family": "logistic", "params": {"C": 1.0}, "seed": 0}


@pytest.fixture
def trained(bare: TrainingContext, frame: pa.Table, parts: dict[str, Any], winner: dict[str, Any]) -> dict[str, Any]:
    """``model`` and ``probes`` of a model fitted on the rows of ``frame`` before the holdout."""
    return dict(train(bare, frame=frame, parts=parts, winner=winner))


@pytest.fixture
def pass_days(next_context: TrainingContext) -> Callable[..., None]:
    return partial(add_days, next_context)
