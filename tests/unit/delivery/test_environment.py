from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from copy import copy
from datetime import timedelta
from pathlib import Path

import pytest

from raymlops.clock import ManualClock
from raymlops.delivery import approve_bundle, approvers, deploy_bundle
from raymlops.delivery.lock import installed_lock
from raymlops.delivery.verify import bundle_digest
from raymlops.errors import ConfigError, DeploymentError, StorageError
from raymlops.metadata import MetadataService
from raymlops.metadata.sql.deployments import SqlDeploymentStore
from raymlops.records.bundles import BundleManifest, Deployment
from raymlops.records.record import sha256_of
from raymlops.testing.metadata_examples import EPOCH, example_bundle


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(EPOCH)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[MetadataService]:
    with closing(MetadataService(tmp_path / "metadata.db", clock=clock)) as store:
        yield store


_LOCK = sha256_of(installed_lock())


def _manifest(archive: str = "a", lock_sha256: str = _LOCK) -> BundleManifest:
    facts = {"archive_sha256": archive * 64, "lock_sha256": lock_sha256}
    draft = example_bundle().model_copy(update=facts)
    digest = bundle_digest(draft.archive_sha256, draft.project, draft.lock_sha256)
    return draft.model_copy(update={"digest": digest})


def test_a_deployment_is_live_and_in_the_ledger(store: MetadataService, clock: ManualClock) -> None:
    bundle = _manifest()
    live = deploy_bundle(bundle, "dev", store, clock, "first")
    assert live == Deployment(environment="dev", bundle=bundle.digest, at=EPOCH, reason="first")
    assert store.deployments.find_deployment("dev", "flights") == live
    assert store.deployments.get_bundle(bundle.digest) == bundle
    (entry,) = store.ledger.entries(f"bundle:{bundle.digest}")
    assert (entry.action, entry.reason, entry.evidence["environment"]) == ("deploy_bundle", "first", "dev")


def test_a_repeat_adds_nothing_and_a_return_does(store: MetadataService, clock: ManualClock) -> None:
    one, two = _manifest("a"), _manifest("b")
    for hour, bundle in enumerate((one, one, two, one, one)):
        clock.advance_to(EPOCH + timedelta(hours=hour))
        deploy_bundle(bundle, "dev", store, clock)
    live = [(deployment.bundle, deployment.at.hour) for deployment in store.deployments.list_deployments("dev")]
    assert live == [(one.digest, 3), (two.digest, 2), (one.digest, 0)]
    assert store.ledger.verify_ledger() == 3


def test_what_a_crash_cut_short_is_finished_by_a_repeat(store: MetadataService, clock: ManualClock) -> None:
    class Crashing(SqlDeploymentStore):
        def put_deployment(self, deployment: Deployment) -> Deployment:
            raise StorageError("killed here")

    crashing = copy(store)
    crashing.deployments = Crashing(store._database, clock)
    with pytest.raises(StorageError):
        deploy_bundle(_manifest(), "dev", crashing, clock)
    assert store.deployments.find_deployment("dev") is None
    assert deploy_bundle(_manifest(), "dev", store, clock) == store.deployments.find_deployment("dev")
    assert store.ledger.verify_ledger() == 1


def test_production_asks_for_an_approval(store: MetadataService, clock: ManualClock) -> None:
    bundle = _manifest()
    with pytest.raises(DeploymentError, match="must be approved for 'prod' by 1, is by 0: nobody"):
        deploy_bundle(bundle, "prod", store, clock)
    approve_bundle(bundle, "staging", "ada", store.ledger)
    approve_bundle(_manifest("b"), "prod", "ada", store.ledger)
    with pytest.raises(DeploymentError, match="is by 0"):
        deploy_bundle(bundle, "prod", store, clock)
    assert store.deployments.list_bundles() == []
    approve_bundle(bundle, "prod", "ada", store.ledger, "looks good")
    assert deploy_bundle(bundle, "prod", store, clock).bundle == bundle.digest


def test_one_person_counts_once(store: MetadataService, clock: ManualClock) -> None:
    bundle = _manifest()
    first = approve_bundle(bundle, "prod", "ada", store.ledger)
    assert approve_bundle(bundle, "prod", "ada", store.ledger, "again") == first
    with pytest.raises(DeploymentError, match="by 2, is by 1: ada"):
        deploy_bundle(bundle, "prod", store, clock, approvals_required={"prod": 2})
    approve_bundle(bundle, "prod", "bob", store.ledger)
    assert approvers(bundle.digest, "prod", store.ledger) == ["ada", "bob"]
    assert deploy_bundle(bundle, "prod", store, clock, approvals_required={"prod": 2}).environment == "prod"


@pytest.mark.parametrize(("environment", "by"), [("prod", " "), ("", "ada"), ("prod", "a\x1b[2Jb")])
def test_an_approval_names_who_and_where(store: MetadataService, environment: str, by: str) -> None:
    with pytest.raises(ConfigError, match="must be"):
        approve_bundle(_manifest(), environment, by, store.ledger)


@pytest.mark.parametrize("environment", ["", "Prod", "../dev", "a b", "dev\n"])
def test_an_environment_has_a_proper_name(store: MetadataService, clock: ManualClock, environment: str) -> None:
    with pytest.raises(ConfigError, match="environment name must be made of"):
        deploy_bundle(_manifest(), environment, store, clock)


def test_a_bundle_tested_elsewhere_or_altered_is_refused(store: MetadataService, clock: ManualClock) -> None:
    with pytest.raises(DeploymentError, match="other packages"):
        deploy_bundle(_manifest(lock_sha256=sha256_of(b"numpy==1.0\n")), "dev", store, clock)
    with pytest.raises(DeploymentError, match="altered"):
        deploy_bundle(_manifest().model_copy(update={"digest": "0" * 64}), "dev", store, clock)
    assert store.ledger.entries() == []
