from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field
from raymlops.metadata import MetadataService
from raymlops.monitoring.events.event_tables import DeltaEventTables
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.records.models import ModelManifest, ModelVersion
from raymlops.records.people.discovery import LineageEdge
from raymlops.records.plans import ServingPlan, Trial
from raymlops.runtime.explain.feature_catalog import FeatureCatalog

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
INSTANT = pa.timestamp("us", tz="UTC")
VIEW = FeatureView("v", Entity("e", ["k"]), [Field("x", "float64")])


@dataclass
class World:
    catalog: FeatureCatalog
    metadata: MetadataService
    reader: FeatureReader
    events: DeltaEventTables


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    clock = ManualClock(T)
    metadata = MetadataService(tmp_path / "metadata.db", clock=clock)
    store = FeatureStore(tmp_path / "features", clock=clock)
    store.apply(VIEW, FeatureService("s", ["v:x"]), FeatureService("other", ["v:x"]))
    rows = {"k": [1, 2], "event_time": pa.array([T, T], INSTANT), "x": [1.0, 2.0]}
    store.push("v", pa.table(rows), ingest_id="one")
    store.close()
    reader = FeatureReader(tmp_path / "features", clock=clock)
    catalog = FeatureCatalog(reader, metadata, tmp_path / "monitor")
    yield World(catalog, metadata, reader, DeltaEventTables(tmp_path / "monitor"))
    reader.close()
    metadata.close()


def log(world: World, model: str, values: list[float], *, column: str = "v__x") -> None:
    """One answer an hour to a question about key 1."""
    count = len(values)
    instants = pa.array([T + i * HOUR for i in range(count)], INSTANT)
    events = {
        "request_id": [f"{model}-{i}" for i in range(count)],
        "row": pa.array([0] * count, pa.int32()),
        "event_time": instants,
        "served_at": instants,
        "role": ["champion"] * count,
        "entity": [orjson.dumps({"k": 1}).decode()] * count,
        column: values,
    }
    world.events.append(f"predictions/{model}", pa.table(events), ingest_id=f"{model}-{column}")


def put_plan(world: World, model: str, service: str | None, number: int = 1, **more: object) -> None:
    given = {"model": model, "number": number, "champion": 1, "service": service, "created_at": T, **more}
    world.metadata.plans.put_plan(ServingPlan.model_validate(given))


def register(world: World, name: str, training_set: str | None) -> None:
    signature = Signature(task="regressor", inputs=(ColumnSpec(name="v__x", dtype="FP64"),))
    draft = ModelVersion(
        name=name,
        version=0,
        path="nowhere",
        manifest=ModelManifest(flavor="sklearn", signature=signature, files={}, libraries={}),
        digest="0" * 64,
        training_set=training_set,
        created_at=T,
    )
    world.metadata.models.register_version(draft, key=str(training_set))


def test_the_audit_reads_every_model_on_the_service(world: World) -> None:
    put_plan(world, "a", "s@1")
    put_plan(world, "b", "s@1")
    put_plan(world, "c", "other@1")
    put_plan(world, "idle", None)
    log(world, "a", [1.0, 1.0, 9.0, 1.0])
    log(world, "b", [1.0, 1.0])
    log(world, "b", [5.0, 5.0], column="distance")  # another version of the model took no features
    log(world, "c", [7.0])
    report = world.catalog.audit("s", None, None, None)
    assert (report.service, report.rows) == ("s@1", 8)
    assert report.features["v__x"].mismatch == pytest.approx(1 / 6)
    assert [(each.request_id, each.keys, each.served) for each in report.examples] == [("a-2", {"k": 1}, 9.0)]


def test_the_audit_keeps_to_a_time_and_a_sample(world: World) -> None:
    put_plan(world, "a", "s@1")
    log(world, "a", [9.0, 1.0, 1.0, 9.0])
    inside = world.catalog.audit("s", T + HOUR, T + 3 * HOUR, None)
    assert (inside.rows, inside.consistent) == (2, True)
    assert world.catalog.audit("s", T + 3 * HOUR, None, None).features["v__x"].mismatch == 1.0
    assert world.catalog.audit("s", None, None, 3).rows == 3
    assert world.catalog.audit("other", None, None, None).rows == 0


def names(edges: tuple[LineageEdge, ...]) -> set[tuple[str, str]]:
    return {(f"{e.source.kind} {e.source.name}", f"{e.target.kind} {e.target.name}") for e in edges}


def test_lineage_goes_on_to_models_and_endpoints(world: World) -> None:
    spine = pa.table({"k": [1], "event_time": pa.array([T], INSTANT)})
    made = world.reader.training_set("s", spine, name="t").manifest.digest
    register(world, "a", made)
    register(world, "a", None)
    put_plan(world, "a", "s@1", backup=2, trial=Trial(version=3))
    down = names(world.catalog.lineage("v").downstream)
    assert {
        ("service s@1", f"training set {made}"),
        (f"training set {made}", "model a@1"),
        ("model a@1", "endpoint a"),
        ("service s@1", "endpoint a"),
    } <= down
    assert ("model a@2", "endpoint a") not in down  # it was not made of these features
    described = world.catalog.describe("s")
    assert names(described.lineage.upstream) == {
        ("entity e", "view v@1"),
        ("table v", "view v@1"),
        ("view v@1", "service s@1"),
    }
    assert names(described.lineage.downstream) <= down
    assert [row["name"] for row in world.catalog.listing()] == ["e", "v", "other", "s"]
    assert world.catalog.statistics("v").keys == 2
    assert [match.name for match in world.catalog.search("x", None, None)] == ["v@1", "other@1", "s@1"]
