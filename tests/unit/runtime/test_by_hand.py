"""What a person asks for is in the ledger before it is done, once, whenever the process is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from copy import copy
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from raymlops.clock import ManualClock
from raymlops.config.platform import PlatformConfig
from raymlops.config.reading.loader import load_config
from raymlops.delivery.lock import installed_lock
from raymlops.delivery.verify import bundle_digest
from raymlops.errors import AlreadyRegistered, StorageError
from raymlops.features import Entity, FeatureService, FeatureStore, FeatureView, Field
from raymlops.metadata import MetadataService
from raymlops.metadata.sql.ledger import SqlLedger
from raymlops.metadata.sql.models import SqlModelRegistry
from raymlops.metadata.sql.transactions.database import Database
from raymlops.records.bundles import Deployment
from raymlops.records.features import ApplyReport, VacuumReport
from raymlops.records.ledger import LedgerEntry
from raymlops.records.record import sha256_of
from raymlops.records.runs import RunStatus
from raymlops.runtime.by_hand import ByHand
from raymlops.runtime.cluster.people import acting_user, record_once
from raymlops.runtime.deploying.deployer import Deployer
from raymlops.runtime.jobs.delivery_operator import DeliveryOperator
from raymlops.runtime.jobs.operators import ModelOperator, RunOperator
from raymlops.testing.metadata_examples import EPOCH, example_bundle, example_run
from tests.support.deployed_bundles import deploy_bundle, nothing_defined

CLOCK = ManualClock(EPOCH)
K = Entity("k", ["k"])
VIEW = FeatureView("v", K, [Field("f", "float64")])
SERVICE = FeatureService("s", ["v:f"])


class Killed(BaseException):
    """The process ended here."""


class KilledStore:
    """A feature store whose process is killed just before it changes something, a number of times."""

    def __init__(self, store: FeatureStore, kills: int) -> None:
        self._store = store
        self._kills = kills

    def apply(self, *definitions: Any, dry_run: bool = False) -> ApplyReport:
        self._change(dry_run)
        return self._store.apply(*definitions, dry_run=dry_run)

    def vacuum(self, *, retention: timedelta, dry_run: bool) -> VacuumReport:
        self._change(dry_run)
        return self._store.vacuum(retention=retention, dry_run=dry_run)

    def _change(self, dry_run: bool) -> None:
        if not dry_run and self._kills:
            self._kills -= 1
            raise Killed


@pytest.fixture
def config(tmp_path: Path) -> PlatformConfig:
    return load_config(environ={}, overrides={"home": tmp_path})


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[MetadataService]:
    with closing(MetadataService(tmp_path / "metadata.db", clock=CLOCK)) as opened:
        yield opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    with closing(FeatureStore(tmp_path / "features", clock=CLOCK)) as opened:
        yield opened


def _told(metadata: MetadataService) -> list[tuple[str, str]]:
    return [(entry.subject, entry.action) for entry in metadata.ledger.entries()]


def _rows(k: str) -> pa.Table:
    return pa.table({"k": [k], "event_time": pa.array([EPOCH], pa.timestamp("us", tz="UTC")), "f": [1.0]})


def test_definitions_are_recorded_before_they_are_applied(
    config: PlatformConfig, metadata: MetadataService, store: FeatureStore
) -> None:
    hands = ByHand(config, metadata, KilledStore(store, kills=2), CLOCK)
    for _ in range(2):
        with pytest.raises(Killed):
            hands.apply([K, VIEW], dry_run=False, reason="first")
        assert _told(metadata) == [("platform:definitions", "apply")]
    hands.apply([K, VIEW], dry_run=False)
    (entry,) = metadata.ledger.entries()
    assert (entry.reason, entry.evidence["by"]) == ("first", acting_user())
    assert entry.evidence["added"] == ["entity k", "view v@1"]
    hands.apply([K, VIEW], dry_run=False)  # changes nothing
    hands.apply([SERVICE], dry_run=True)
    assert len(metadata.ledger.entries()) == 1
    hands.apply([SERVICE], dry_run=False)
    assert len(metadata.ledger.entries()) == 2


def test_a_change_back_and_forth_is_recorded_each_time(
    config: PlatformConfig, metadata: MetadataService, store: FeatureStore
) -> None:
    hands = ByHand(config, metadata, store, CLOCK)
    for owner in ("ada", "bob", "ada", "bob"):
        hands.apply([K, FeatureView("v", K, [Field("f", "float64")], owner=owner)], dry_run=False)
    assert len(metadata.ledger.entries()) == 4
    assert metadata.ledger.verify_ledger() == 4


def test_what_is_refused_is_not_recorded(
    config: PlatformConfig, metadata: MetadataService, store: FeatureStore
) -> None:
    hands = ByHand(config, metadata, store, CLOCK)
    hands.apply([K, VIEW], dry_run=False)
    with pytest.raises(AlreadyRegistered):
        hands.apply([FeatureView("v", K, [Field("g", "float64")])], dry_run=False)
    assert len(metadata.ledger.entries()) == 1


def test_a_vacuum_is_recorded_before_files_go(
    config: PlatformConfig, metadata: MetadataService, store: FeatureStore, tmp_path: Path
) -> None:
    store.apply(K, VIEW)
    store.ingest("v", _rows("a"), ingest_id="1")
    orphan = tmp_path / "features" / "tables" / "v" / "part-00000-0.parquet"
    hands = ByHand(config, metadata, KilledStore(store, kills=1), CLOCK)

    def litter() -> None:
        orphan.write_bytes(b"x" * 10)
        os.utime(orphan, (0, 0))

    litter()
    assert hands.vacuum(retention=timedelta(0), dry_run=True).files == 1
    assert _told(metadata) == []
    with pytest.raises(Killed):
        hands.vacuum(retention=timedelta(0), dry_run=False)
    assert orphan.exists()
    assert hands.vacuum(retention=timedelta(0), dry_run=False).files == 1
    assert not orphan.exists()
    assert _told(metadata) == [("platform:tables", "vacuum")]
    hands.vacuum(retention=timedelta(0), dry_run=False)  # removes nothing
    assert len(metadata.ledger.entries()) == 1
    store.ingest("v", _rows("b"), ingest_id="2")
    litter()
    hands.vacuum(retention=timedelta(0), dry_run=False)  # as much again, and another decision
    assert len(metadata.ledger.entries()) == 2


def test_garbage_is_recorded_before_it_goes(
    config: PlatformConfig, metadata: MetadataService, store: FeatureStore, tmp_path: Path
) -> None:
    hands, none = ByHand(config, metadata, store, CLOCK), timedelta(0)
    bundle = tmp_path / "bundles" / ("a" * 64)
    seen: list[bool] = []

    class Watched(SqlLedger):
        def append_entry(self, *args: Any, **kwargs: Any) -> LedgerEntry:
            seen.append(bundle.exists())
            return super().append_entry(*args, **kwargs)

    def litter(at: int) -> None:
        bundle.mkdir(parents=True)
        os.utime(bundle, (at, at))

    litter(1)
    hands.collect_garbage(none, none, remove=False)
    assert metadata.ledger.entries() == []
    with closing(Database(tmp_path / "metadata.db")) as database:
        watched = copy(metadata)
        watched.ledger = Watched(database, CLOCK)
        report = ByHand(config, watched, store, CLOCK).collect_garbage(none, none, remove=True, reason="disk is full")
    assert (seen, len(report.found), bundle.exists()) == ([True], 1, False)
    (entry,) = metadata.ledger.entries()
    assert (entry.subject, entry.action, entry.reason) == ("platform:home", "collect_garbage", "disk is full")
    assert entry.evidence["by"] == acting_user()
    hands.collect_garbage(none, none, remove=True)  # finds nothing
    assert len(metadata.ledger.entries()) == 1
    litter(2)
    hands.collect_garbage(none, none, remove=True)
    assert len(metadata.ledger.entries()) == 2


def test_a_decision_that_came_to_nothing_is_not_recorded_twice(metadata: MetadataService) -> None:
    first = record_once(metadata.ledger, "s", "act", "why", {"what": 1})
    assert record_once(metadata.ledger, "s", "act", "again", {"what": 1}) == first
    record_once(metadata.ledger, "s", "act", "why", {"what": 2})
    assert record_once(metadata.ledger, "s", "act", "why", {"what": 1}).sequence == 3


def test_a_model_that_is_registered_by_hand_is_recorded_first(tmp_path: Path, metadata: MetadataService) -> None:
    class Failing(SqlModelRegistry):
        def register_version(self, *args: Any, **kwargs: Any) -> Any:
            raise StorageError("the disk is full")

    X = np.arange(8.0).reshape(-1, 1)
    model, example = LogisticRegression().fit(X, X[:, 0] > 3), pa.table({"a": X[:, 0]})
    with closing(Database(tmp_path / "metadata.db")) as database:
        failing = copy(metadata)
        failing.models = Failing(database, CLOCK)
        with pytest.raises(StorageError, match="disk is full"):
            ModelOperator(tmp_path, failing, CLOCK).register("churn", model, example, {}, None)
    assert _told(metadata) == [("churn", "register")]
    version = ModelOperator(tmp_path, metadata, CLOCK).register("churn", model, example, {}, None)
    (entry,) = metadata.ledger.entries("churn")
    assert entry.evidence["digest"] == version.digest
    assert entry.evidence["by"] == acting_user()


class NoJobs:
    """A job service that is never reached: the process is killed when it announces the run."""

    def announce(self, run_id: str) -> None:
        raise Killed(run_id)


def test_a_run_that_a_person_starts_is_recorded_first_and_one_of_the_controller_is_not(
    config: PlatformConfig, metadata: MetadataService
) -> None:
    bundle = metadata.deployments.put_bundle(example_bundle())
    metadata.deployments.put_deployment(Deployment(environment=config.environment, bundle=bundle.digest, at=EPOCH))
    jobs: Any = NoJobs()
    runs = RunOperator(config, metadata, jobs, CLOCK)
    with pytest.raises(Killed):
        runs.start("flights", parameters={"trials": 1}, reason="drift", run_id="delay-20130101T000000Z")
    assert metadata.ledger.entries() == []
    with pytest.raises(Killed) as killed:
        runs.start("flights", parameters={"trials": 1}, reason="new data")
    (entry,) = metadata.ledger.entries("delay")
    assert (entry.action, entry.reason) == ("start_run", "new data")
    assert (entry.evidence["run"], entry.evidence["by"]) == (str(killed.value), acting_user())
    metadata.runs.create_run(example_run("r").model_copy(update={"bundle": bundle.digest}))
    metadata.runs.update_run("r", status=RunStatus.FAILED, ended_at=EPOCH)
    with pytest.raises(Killed):
        runs.resume("r", wait=False)
    assert [each.action for each in metadata.ledger.entries("delay")] == ["start_run", "resume_run"]
    assert metadata.ledger.entries("delay")[1].reason == "resumes r"


def test_who_deploys_is_recorded(
    config: PlatformConfig, metadata: MetadataService, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = sha256_of(installed_lock())
    bundle = example_bundle()
    digest = bundle_digest(bundle.archive_sha256, bundle.project, lock)
    bundle = bundle.model_copy(update={"lock_sha256": lock, "digest": digest})
    operator = DeliveryOperator(config, metadata, CLOCK)
    deployer = Deployer(config, metadata, CLOCK, nothing_defined(store))
    monkeypatch.setattr(DeliveryOperator, "_deployer", deployer)
    operator.verify = lambda given: bundle  # type: ignore[method-assign]  # its files are tested elsewhere
    operator.deploy(digest, "dev", reason="a good one")
    begun, entry, ended = metadata.ledger.entries()
    assert (entry.action, entry.reason, entry.evidence["by"]) == ("deploy_bundle", "a good one", acting_user())
    assert (begun.action, ended.action, ended.evidence["outcome"]) == ("begin_deployment", "end_deployment", "done")
    assert deploy_bundle(bundle, "dev", metadata, CLOCK).bundle == digest
    assert len(metadata.ledger.entries()) == 3
