"""What deploying refuses before anything runs, without a cluster; test_deploying.py goes the whole way."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from raymlops.clock import ManualClock
from raymlops.config.delivery import EnvironmentRules
from raymlops.config.platform import PlatformConfig
from raymlops.config.reading.loader import load_config
from raymlops.delivery.environment import Switched, record_deployment
from raymlops.delivery.lock import installed_lock
from raymlops.delivery.verify import bundle_digest
from raymlops.errors import ConflictError, DeploymentError
from raymlops.features import FeatureStore
from raymlops.metadata import MetadataService
from raymlops.records.bundles import BundleManifest, ServedBefore
from raymlops.records.delivering.pushes import BUILD, push_subject
from raymlops.records.record import sha256_of
from raymlops.runtime.deploying.deployer import Deployer
from raymlops.runtime.deploying.rehearsal import Rehearsal
from raymlops.runtime.jobs.build_jobs import build_and_deploy
from raymlops.runtime.jobs.delivery_operator import DeliveryOperator
from raymlops.runtime.serve.endpoint_orders import EndpointOrders
from raymlops.testing.metadata_examples import EPOCH, example_bundle, example_draft
from tests.support.delivered_project import commit
from tests.support.deployed_bundles import nothing_defined

pytestmark = pytest.mark.ray


@pytest.fixture
def config(tmp_path: Path) -> PlatformConfig:
    builders = {"ci": f"ed25519:{'a' * 64}"}
    rules = {"delivery": {"environments": {"signed": {"builders": builders}, "rehearsed": {"rehearse": True}}}}
    return load_config(environ={}, overrides={"home": str(tmp_path), **rules})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(EPOCH)


@pytest.fixture
def metadata(tmp_path: Path, clock: ManualClock) -> Iterator[MetadataService]:
    with closing(MetadataService(tmp_path / "metadata.db", clock=clock)) as metadata:
        yield metadata


def _manifest(archive: str, **project: str) -> BundleManifest:
    facts = {"archive_sha256": archive * 64, "lock_sha256": sha256_of(installed_lock())}
    draft = example_bundle().model_copy(update=facts)
    draft = draft.model_copy(update={"project": draft.project.model_copy(update=project)})
    return draft.model_copy(update={"digest": bundle_digest(draft.archive_sha256, draft.project, draft.lock_sha256)})


def test_one_deployment_at_a_time_goes_on_also_where_nothing_is_rehearsed(
    config: PlatformConfig, metadata: MetadataService, clock: ManualClock, tmp_path: Path
) -> None:
    one = _manifest("a")
    with closing(FeatureStore(tmp_path / "features", clock=clock)) as store:
        deployer = Deployer(config, metadata, clock, nothing_defined(store))
        assert deployer.record(one, "dev", "first").bundle == one.digest
        with (tmp_path / "bundles" / ".dev.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(ConflictError, match="another deployment is under way in 'dev'"):
                deployer.record(_manifest("b"), "dev", "second")
            deployer.record(_manifest("b"), "staging", "elsewhere")
    live = metadata.deployments.find_deployment("dev")
    assert live is not None
    assert live.bundle == one.digest


@pytest.mark.parametrize(("environment", "asked"), [("rehearsed", False), ("rehearsed", True), ("dev", True)])
def test_an_environment_that_asks_for_a_rehearsal_gets_one(
    config: PlatformConfig,
    metadata: MetadataService,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    environment: str,
    asked: bool,
) -> None:
    class Went(Exception):
        pass

    def deploy(self: Deployer, manifest: BundleManifest, where: str, reason: str) -> None:
        raise Went(where)

    monkeypatch.setattr(Deployer, "deploy", deploy)
    operator = DeliveryOperator(config, metadata, clock)
    monkeypatch.setattr(operator, "verify", lambda bundle: _manifest("a"))
    with pytest.raises(Went, match=environment):
        operator.deploy("a" * 64, environment, rehearse=asked)


def test_a_bundle_does_not_take_the_model_of_an_environment_with_rules(
    config: PlatformConfig, metadata: MetadataService, clock: ManualClock
) -> None:
    with pytest.raises(DeploymentError, match=r"another environment, got 'signed\.delay'"):
        Deployer(config, metadata, clock).record(_manifest("a", model="signed.delay"), "dev", "")
    assert metadata.deployments.list_live_deployments() == []


def test_a_roll_back_that_was_overtaken_changes_nothing(
    config: PlatformConfig, metadata: MetadataService, clock: ManualClock
) -> None:
    one, two = _manifest("a"), _manifest("b")
    record_deployment(one, "dev", metadata, clock)
    clock.advance_to(EPOCH + timedelta(hours=1))
    stale = record_deployment(two, "dev", metadata, clock, served=Switched(2, ServedBefore(version=1), {}))
    clock.advance_to(EPOCH + timedelta(hours=2))
    live = record_deployment(_manifest("c"), "dev", metadata, clock)
    with pytest.raises(ConflictError, match=f"another bundle than {two.digest} is live in 'dev' by now"):
        Deployer(config, metadata, clock).roll_back(stale, one, "")
    assert metadata.deployments.find_deployment("dev") == live


def test_the_code_of_an_unknown_builder_is_not_imported_to_tell_what_it_changes(
    config: PlatformConfig, metadata: MetadataService, clock: ManualClock
) -> None:
    with pytest.raises(DeploymentError, match="must be signed by one of ci, and is by none of them"):
        Deployer(config, metadata, clock).changes(_manifest("a"), "signed")


def test_what_was_pushed_does_not_see_the_password_of_the_repository(
    metadata: MetadataService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    (origin / "project.yaml").write_text("name: a\n")
    pushed = {"branch": "main", "commit": commit(origin, "one"), "environment": "dev"}
    entry = metadata.ledger.append_entry(push_subject("main"), BUILD, "pushed", pushed, key="k")
    source = {"url": str(origin), "password_env": "GIT_TOKEN"}
    config = load_config(environ={}, overrides={"home": str(tmp_path), "delivery": {"source": source}})
    monkeypatch.setenv("GIT_TOKEN", "s3cret")
    seen: list[str | None] = []

    class Delivery:
        def build(self, project: Path) -> BundleManifest:
            assert (project / "project.yaml").exists(), "the password was there to clone it"
            seen.append(os.environ.get("GIT_TOKEN"))
            raise DeploymentError("its tests must pass")

    assert not build_and_deploy(config, metadata, cast("DeliveryOperator", Delivery()), entry.sequence)
    assert seen == [None]
    assert metadata.ledger.entries()[-1].reason == "its tests must pass"


def test_the_key_of_a_rehearsal_opens_its_model_alone_and_expires(
    metadata: MetadataService, clock: ManualClock, tmp_path: Path
) -> None:
    config = load_config(environ={}, overrides={"home": str(tmp_path), "serving": {"require_keys": True}})
    rehearsal = Rehearsal(config, metadata, EndpointOrders(config, metadata))
    with rehearsal._headers(example_draft("staging.delay"), EnvironmentRules()) as headers:
        assert headers["Authorization"].startswith("Bearer ")
        (key,) = metadata.keys.list_keys()
        assert [str(grant) for grant in key.grants] == ["infer:rehearsal.staging.delay"]
        assert key.expires_at is not None
        assert key.expires_at < datetime.now(UTC) + timedelta(hours=2)
    assert not metadata.keys.list_keys()[0].is_valid(datetime.now(UTC)), "it is revoked at the end"
