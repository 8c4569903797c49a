"""Online features of served models that were lost with their store come back; others are left to their owners."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pyarrow as pa

from raymlops.clock import ManualClock
from raymlops.features import Entity, FeatureService, FeatureView, Field
from raymlops.features.online.lmdb import LmdbOnlineStore
from raymlops.features.replication.leader import LeadingStore
from raymlops.records.plans import ServingPlan
from raymlops.runtime.nodes.online_views import materialise_lost
from raymlops.testing.metadata_examples import EPOCH

SHOP = Entity("shop", ["shop_id"])
SALES, VISITS, EMPTY = (FeatureView(name, SHOP, [Field("amount", "float64")]) for name in ("sales", "visits", "empty"))
ROWS = pa.table({"shop_id": ["a"], "event_time": pa.array([EPOCH], pa.timestamp("us", tz="UTC")), "amount": [1.0]})
SERVICE = FeatureService("served", ["sales:amount", "empty:amount"])


def plan_of(model: str, service: str | None, *, served: bool = True, environment: str | None = None) -> ServingPlan:
    facts = {"service": service, "served": served, "environment": environment}
    return ServingPlan.model_validate({"model": model, "number": 1, "champion": 1, "created_at": EPOCH, **facts})


def opened(root: Path) -> LeadingStore:
    online = LmdbOnlineStore(root / f"online-{len(list(root.glob('online-*')))}", writable=True, map_bytes=64 << 20)
    return LeadingStore(root / "features", clock=ManualClock(EPOCH), online=online, local=root / "local")


def test_what_a_plan_joins_comes_back_and_nothing_else(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.apply(SHOP, SALES, VISITS, EMPTY, SERVICE)
    for view in ("sales", "visits"):
        store.push(view, ROWS, ingest_id=view)
    store.close()
    store = opened(tmp_path)  # the tables are there, what was online is not
    plans = [plan_of("m", "served"), plan_of("other", None), plan_of("gone", "nobody", served=False)]
    assert materialise_lost([plan_of("gone", "served", served=False)], {None: store}.__getitem__) == []
    assert materialise_lost([*plans, plan_of("bad", "unknown")], {None: store}.__getitem__) == ["sales@1"]
    assert set(store.progress().watermarks) == {"sales@1"}
    assert materialise_lost(plans, {None: store}.__getitem__) == []
    store.close()


def test_what_a_plan_of_another_environment_joins_comes_back_there(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "own")) as own, closing(opened(tmp_path / "dev")) as dev:
        for store in (own, dev):
            store.apply(SHOP, SALES, VISITS, EMPTY, SERVICE)
            store.ingest("sales", ROWS, ingest_id="sales")
        plans = [plan_of("dev.m", "served", environment="dev")]
        assert materialise_lost(plans, {None: own, "dev": dev}.__getitem__) == ["sales@1 of dev"]
        assert (set(own.progress().watermarks), set(dev.progress().watermarks)) == (set(), {"sales@1"})
