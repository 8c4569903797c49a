from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from copy import copy
from datetime import timedelta
from pathlib import Path

import pytest

from raymlops.clock import ManualClock
from raymlops.config.delivery import EnvironmentRules
from raymlops.delivery import approve_bundle, approvers, rollback_target
from raymlops.delivery.environment import Switched, record_deployment, require_deployable
from raymlops.delivery.lock import installed_lock
from raymlops.delivery.verify import bundle_digest
from raymlops.errors import ConfigError, DeploymentError, NotFoundError, StorageError
from raymlops.metadata import MetadataService
from raymlops.metadata.sql.deployments import SqlDeploymentStore
from raymlops.records.bundles import BundleManifest, Deployment, ServedBefore, Source
from raymlops.records.record import sha256_of
from raymlops.records.runs import Run, RunStatus
from raymlops.records.serving.keys import ApiKey, Grant, new_key
from raymlops.testing.metadata_examples import EPOCH, example_bundle
from tests.support.deployed_bundles import deploy_bundle


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(EPOCH)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[MetadataService]:
    with closing(MetadataService(tmp_path / "metadata.db", clock=clock)) as store:
        yield store


_LOCK = sha256_of(installed_lock())


def _manifest(archive: str = "a", lock_sha256: str = _LOCK, **project: str) -> BundleManifest:
    facts = {"archive_sha256": archive * 64, "lock_sha256": lock_sha256}
    draft = example_bundle().model_copy(update=facts)
    draft = draft.model_copy(update={"project": draft.project.model_copy(update=project)})
    digest = bundle_digest(draft.archive_sha256, draft.project, draft.lock_sha256)
    return draft.model_copy(update={"digest": digest})


def _key(store: MetadataService, name: str, target: str = "env/*") -> ApiKey:
    key, _ = new_key(name, (), EPOCH, grants=[Grant(scope="operate", target=target)])
    return store.keys.put_key(key)


def _approve(store: MetadataService, bundle: BundleManifest, environment: str, name: str) -> None:
    """As who holds a key of this name, a new one each time."""
    approve_bundle(bundle, environment, name, store.ledger, key_id=_key(store, name).id)


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
    _approve(store, bundle, "staging", "ada")
    _approve(store, _manifest("b"), "prod", "ada")
    with pytest.raises(DeploymentError, match="is by 0"):
        deploy_bundle(bundle, "prod", store, clock)
    assert store.deployments.list_bundles() == []
    _approve(store, bundle, "prod", "ada")
    assert deploy_bundle(bundle, "prod", store, clock).bundle == bundle.digest


@pytest.mark.parametrize("by", ["root", "Grace Hopper", "GRACE@example.org"])
def test_who_built_it_does_not_approve_it(store: MetadataService, clock: ManualClock, by: str) -> None:
    source = Source(commit="a" * 40, author="Grace Hopper <grace@example.org>")
    bundle = _manifest().model_copy(update={"built_by": "root", "source": source})
    _approve(store, bundle, "prod", by)
    with pytest.raises(DeploymentError, match=r"is by 0: nobody \(its builder and its author do not count\)"):
        deploy_bundle(bundle, "prod", store, clock)
    _approve(store, bundle, "prod", "ada@example.org")
    assert deploy_bundle(bundle, "prod", store, clock).bundle == bundle.digest


def test_a_name_alone_counts_until_somebody_may_have_a_key(store: MetadataService, clock: ManualClock) -> None:
    bundle = _manifest().model_copy(update={"built_by": "root"})
    approve_bundle(bundle, "prod", "root", store.ledger)
    with pytest.raises(DeploymentError, match=r"is by 0: nobody \(its builder and its author do not count\)"):
        deploy_bundle(bundle, "prod", store, clock)
    approve_bundle(bundle, "prod", "bob", store.ledger)
    _key(store, "carol", "env/staging")
    assert deploy_bundle(bundle, "prod", store, clock).bundle == bundle.digest
    other = _manifest("b")
    approve_bundle(other, "prod", "bob", store.ledger)
    store.keys.revoke_key(_key(store, "carol").id)
    with pytest.raises(DeploymentError, match=r"is by 0: nobody \(who said 'bob' showed no key\)"):
        deploy_bundle(other, "prod", store, clock)
    _approve(store, other, "prod", "bob")  # the word of before does not stand in the way of the key
    assert deploy_bundle(other, "prod", store, clock).bundle == other.digest


def test_a_key_that_was_revoked_or_never_made_counts_for_nobody(store: MetadataService, clock: ManualClock) -> None:
    bundle, key = _manifest(), _key(store, "bob")
    approve_bundle(bundle, "prod", "bob", store.ledger, key_id=key.id)
    approve_bundle(bundle, "prod", "eve", store.ledger, key_id="0" * 12)
    store.keys.revoke_key(key.id)
    with pytest.raises(DeploymentError, match=r"is by 0: nobody \(the key of bob was revoked; the key of eve was rev"):
        deploy_bundle(bundle, "prod", store, clock)


def test_an_author_who_is_an_address_is_told_apart_from_addresses_alone(
    store: MetadataService, clock: ManualClock
) -> None:
    source = Source(commit="a" * 40, author="Grace Hopper <grace@example.org>")
    bundle = _manifest().model_copy(update={"source": source})
    _approve(store, bundle, "prod", "amazing")
    with pytest.raises(DeploymentError, match=r"\(amazing\) must be called by its owner's e-mail address"):
        deploy_bundle(bundle, "prod", store, clock)


def test_an_environment_may_ask_for_a_clean_commit_of_a_branch(store: MetadataService, clock: ManualClock) -> None:
    rules = EnvironmentRules(clean=True, branch="main")
    source = Source(commit="a" * 40, author="ada", branch="main")

    def deploy(**changes: object) -> Deployment:
        bundle = _manifest().model_copy(update={"source": source.model_copy(update=changes) if changes else None})
        return deploy_bundle(bundle, "staging", store, clock, rules=rules)

    with pytest.raises(DeploymentError, match="'staging' takes what a commit holds, it was built from no commit"):
        deploy()
    with pytest.raises(DeploymentError, match="built from files that differ from commit aaaaaaaaaaaa"):
        deploy(dirty=True)
    with pytest.raises(DeploymentError, match="takes bundles of branch 'main', this is of 'feature'"):
        deploy(branch="feature")
    with pytest.raises(DeploymentError, match="this is of none"):
        deploy(branch=None)
    assert deploy(dirty=False).environment == "staging"


def test_an_environment_may_ask_for_green_runs_in_another(store: MetadataService, clock: ManualClock) -> None:
    bundle, rules = _manifest(), EnvironmentRules(after="staging", green_runs=2)
    with pytest.raises(DeploymentError, match="must be deployed in 'staging' before 'prod', and never was"):
        deploy_bundle(bundle, "prod", store, clock, rules=rules)
    deploy_bundle(bundle, "staging", store, clock)
    statuses = (
        (RunStatus.SUCCEEDED, bundle.digest),
        (RunStatus.FAILED, bundle.digest),
        (RunStatus.SUCCEEDED, "b" * 64),
    )
    for number, (status, digest) in enumerate(statuses):
        store.runs.create_run(Run(id=f"run-{number}", pipeline="flights", bundle=digest, created_at=EPOCH))
        store.runs.update_run(f"run-{number}", status=RunStatus.RUNNING)
        store.runs.update_run(f"run-{number}", status=status)
    with pytest.raises(DeploymentError, match="must have 2 runs that succeeded before 'prod', has 1"):
        deploy_bundle(bundle, "prod", store, clock, rules=rules)
    assert deploy_bundle(bundle, "prod", store, clock, rules=rules.model_copy(update={"green_runs": 1}))


def test_green_runs_are_those_of_the_environment_before(store: MetadataService, clock: ManualClock) -> None:
    bundle, rules = _manifest(), EnvironmentRules(after="staging", green_runs=1)
    deploy_bundle(bundle, "staging", store, clock)

    def run(pipeline: str, outcome: str) -> None:
        name = f"{pipeline}-{outcome}"
        store.runs.create_run(Run(id=name, pipeline=pipeline, bundle=bundle.digest, created_at=EPOCH))
        store.runs.update_run(name, status=RunStatus.RUNNING)
        store.runs.update_run(name, status=RunStatus.SUCCEEDED, result={"outcome": outcome})

    run("flights", "candidate")
    run("dev.flights", "candidate")
    run("staging.flights", "refused")
    with pytest.raises(DeploymentError, match="must have 1 runs that succeeded in 'staging' before 'prod', has 0"):
        require_deployable(bundle, "prod", store, rules=rules, own="prod")
    with pytest.raises(DeploymentError, match="has 0"):
        require_deployable(bundle, "prod", store, rules=rules, own="dev")
    require_deployable(bundle, "prod", store, rules=rules, own="staging")
    run("staging.flights", "candidate")
    require_deployable(bundle, "prod", store, rules=rules, own="prod")


@pytest.mark.parametrize("named", [{"model": "prod.delay"}, {"name": "prod.flights"}, {"model": "rehearsal.delay"}])
def test_no_bundle_has_the_names_of_another_environment(
    store: MetadataService, clock: ManualClock, named: dict[str, str]
) -> None:
    bundle = _manifest(**named)
    with pytest.raises(DeploymentError, match=r"must not be called as one of another environment, got '(prod|rehears)"):
        require_deployable(bundle, "dev", store, own="dev", others=["dev", "prod"])
    require_deployable(bundle, "staging", store, own="dev", others=["dev", "prod"])


def test_an_environment_that_no_rule_names_keeps_its_model(store: MetadataService, clock: ManualClock) -> None:
    deploy_bundle(_manifest(), "trial", store, clock)
    bundle = _manifest(name="other", model="trial.delay")
    with pytest.raises(DeploymentError, match=r"the model 'trial\.delay' is that of environment 'trial', not of 'dev'"):
        require_deployable(bundle, "dev", store, own="dev")
    require_deployable(_manifest(), "dev", store, own="dev")


def test_what_a_deployment_put_in_service_and_from_which_commit_is_recorded(
    store: MetadataService, clock: ManualClock
) -> None:
    source = Source(commit="a" * 40, author="ada", branch="main")
    bundle = _manifest().model_copy(update={"source": source})
    served = Switched(3, ServedBefore(version=2, service="delays@1"), {"run": "r"})
    live = record_deployment(bundle, "dev", store, clock, served=served)
    assert store.deployments.find_deployment("dev", "flights") == live
    assert (live.version, live.replaced) == (3, ServedBefore(version=2, service="delays@1"))
    (entry,) = store.ledger.entries()
    facts = {name: entry.evidence[name] for name in ("commit", "version", "replaced_version", "run")}
    assert facts == {"commit": "a" * 40, "version": 3, "replaced_version": 2, "run": "r"}


def test_nothing_is_live_in_an_environment_that_ended(store: MetadataService, clock: ManualClock) -> None:
    live = deploy_bundle(_manifest(), "dev", store, clock)
    kept = deploy_bundle(_manifest(), "staging", store, clock)
    clock.advance_to(EPOCH + timedelta(minutes=1))
    store.deployments.put_deployment(live.model_copy(update={"ended": True, "at": clock.now()}))
    assert store.deployments.find_deployment("dev", "flights") is None
    assert store.deployments.list_live_deployments() == [kept]
    clock.advance_to(EPOCH + timedelta(hours=1))
    again = deploy_bundle(_manifest(), "dev", store, clock, "back")
    assert store.deployments.find_deployment("dev") == again
    assert store.ledger.entries()[-1].reason == "back"


def test_a_rollback_goes_to_the_bundle_before(store: MetadataService, clock: ManualClock) -> None:
    one, two = _manifest("a"), _manifest("b")
    with pytest.raises(NotFoundError, match="no bundle is deployed in 'dev'"):
        rollback_target("dev", None, store)
    deploy_bundle(one, "dev", store, clock)
    with pytest.raises(NotFoundError, match="no other bundle"):
        rollback_target("dev", None, store)
    clock.advance_to(EPOCH + timedelta(hours=1))
    deploy_bundle(two, "dev", store, clock)
    assert rollback_target("dev", None, store).bundle == one.digest
    with pytest.raises(NotFoundError, match="no bundle is deployed in 'prod'"):
        rollback_target("prod", None, store)
    with pytest.raises(NotFoundError, match="no bundle is deployed in 'dev'"):
        rollback_target("dev", "another", store)
    clock.advance_to(EPOCH + timedelta(hours=2))
    deploy_bundle(one, "dev", store, clock)
    assert rollback_target("dev", "flights", store).bundle == two.digest


def test_one_person_counts_once(store: MetadataService, clock: ManualClock) -> None:
    bundle, key, two = _manifest(), _key(store, "ada"), EnvironmentRules(approvals=2)
    first = approve_bundle(bundle, "prod", "ada", store.ledger, key_id=key.id)
    assert approve_bundle(bundle, "prod", "ada", store.ledger, "again", key_id=key.id) == first
    with pytest.raises(DeploymentError, match=r"by 2, is by 1: ada$"):
        deploy_bundle(bundle, "prod", store, clock, rules=two)
    _approve(store, bundle, "prod", "Ada")
    with pytest.raises(DeploymentError, match=r"by 2, is by 1: ada$"):
        deploy_bundle(bundle, "prod", store, clock, rules=two)
    _approve(store, bundle, "prod", "bob")
    assert approvers(bundle.digest, "prod", store.ledger) == ["Ada", "ada", "bob"]
    assert deploy_bundle(bundle, "prod", store, clock, rules=two).environment == "prod"


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
