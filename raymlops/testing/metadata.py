"""Contract suites of the metadata Protocols.

A backend's test module subclasses a suite (or all, by ``MetadataContract``) and gives two fixtures: ``metadata``, an
empty store, and ``clock``, the ``ManualClock`` or ``ReplayClock`` it reads.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from raymlops.errors import (
    AlreadyRegistered,
    DataError,
    DeploymentNotFound,
    InvalidTransition,
    ModelVersionNotFound,
    NotFoundError,
    StaleWrite,
)
from raymlops.metadata import Metadata
from raymlops.records.bundles import Deployment
from raymlops.records.ledger import GENESIS
from raymlops.records.models import ModelState
from raymlops.records.serving.keys import Grant, new_key
from raymlops.testing.metadata_alerts import AlertStoreContract
from raymlops.testing.metadata_blessings import BlessingContract
from raymlops.testing.metadata_browsing import RecordBrowserContract
from raymlops.testing.metadata_examples import (
    EPOCH,
    HOUR,
    MovableClock,
    example_bundle,
    example_draft,
    example_plan,
    example_window,
)
from raymlops.testing.metadata_runs import ArtifactStoreContract, ContextStoreContract, RunStoreContract

__all__ = [
    "AlertStoreContract",
    "ArtifactStoreContract",
    "BlessingContract",
    "ContextStoreContract",
    "DeploymentStoreContract",
    "KeyStoreContract",
    "LedgerContract",
    "MetadataContract",
    "ModelRegistryContract",
    "PlanStoreContract",
    "RunStoreContract",
    "WindowStoreContract",
]


class ModelRegistryContract:
    """What every ``ModelRegistry`` does."""

    def test_versions_count_up_per_model_and_by_key(self, metadata: Metadata) -> None:
        first = metadata.models.register_version(example_draft(), key="run-1")
        assert first.version == 1
        assert metadata.models.register_version(example_draft(), key="run-2").version == 2
        assert metadata.models.register_version(example_draft("other"), key="run-1").version == 1
        again = metadata.models.register_version(example_draft().model_copy(update={"path": "/elsewhere"}), key="run-1")
        assert again.model_dump_json() == first.model_dump_json()
        assert [version.version for version in metadata.models.list_versions("churn")] == [1, 2]
        assert metadata.models.list_models() == ["churn", "other"]
        assert metadata.models.list_versions("ghost") == []

    def test_a_draft_has_no_number_and_is_a_candidate(self, metadata: Metadata) -> None:
        for change in ({"version": 1}, {"state": ModelState.PRODUCTION}):
            with pytest.raises(DataError, match="draft"):
                metadata.models.register_version(example_draft().model_copy(update=change), key="k")

    def test_states_change_with_reasons(self, metadata: Metadata, clock: MovableClock) -> None:
        metadata.models.register_version(example_draft(), key="k")
        for state in (ModelState.STAGING, ModelState.STAGING, ModelState.PRODUCTION, ModelState.ARCHIVED):
            clock.advance_to(clock.now() + HOUR)
            changed = metadata.models.set_state("churn", 1, state, reason=f"to {state}", evidence={"plan": (1, 2)})
            assert changed.state is state
        history = metadata.models.state_history("churn", 1)
        assert [(change.previous, change.state) for change in history] == [
            (ModelState.CANDIDATE, ModelState.STAGING),
            (ModelState.STAGING, ModelState.PRODUCTION),
            (ModelState.PRODUCTION, ModelState.ARCHIVED),
        ]
        assert history[0].reason == "to staging"
        assert history[0].evidence == {"plan": [1, 2]}
        with pytest.raises(InvalidTransition, match="candidate"):
            metadata.models.set_state("churn", 1, ModelState.CANDIDATE, reason="no")
        with pytest.raises(DataError, match="odd"):
            metadata.models.set_state("churn", 1, "odd", reason="no")  # type: ignore[arg-type]  # that is the test
        assert metadata.models.get_version("churn", 1).state is ModelState.ARCHIVED
        metadata.models.set_state("churn", 1, ModelState.RETIRED, reason="for good")
        with pytest.raises(InvalidTransition, match="is retired: it cannot become production any more"):
            metadata.models.set_state("churn", 1, ModelState.PRODUCTION, reason="no")
        assert metadata.models.set_state("churn", 1, ModelState.RETIRED, reason="again").state is ModelState.RETIRED

    def test_aliases_move_by_compare_and_set(self, metadata: Metadata, clock: MovableClock) -> None:
        for key in ("a", "b"):
            metadata.models.register_version(example_draft(), key=key)
        first = metadata.models.set_alias("churn", "champion", 1, expected=None, reason="first", evidence={"plan": 1})
        assert first.evidence == {"plan": 1} == metadata.models.alias_history("churn")[0].evidence
        clock.advance_to(EPOCH + HOUR)
        assert metadata.models.set_alias("churn", "champion", 1, expected=None, reason="again") == first
        with pytest.raises(StaleWrite, match="champion"):
            metadata.models.set_alias("churn", "champion", 2, expected=None, reason="late")
        second = metadata.models.set_alias("churn", "champion", 2, expected=1, reason="better")
        assert metadata.models.set_alias("churn", "champion", 2, expected=2, reason="no change") == second
        assert metadata.models.aliases("churn") == {"champion": 2}
        assert metadata.models.set_alias("churn", "champion", None, expected=2, reason="off").version is None
        assert metadata.models.aliases("churn") == {}
        assert [change.version for change in metadata.models.alias_history("churn")] == [1, 2, None]

    def test_who_served_at_an_instant_is_known(self, metadata: Metadata, clock: MovableClock) -> None:
        for version in (1, 2):
            metadata.models.register_version(example_draft(), key=str(version))
            clock.advance_to(EPOCH + version * HOUR)
            metadata.models.set_alias("churn", "champion", version, expected=version - 1 or None, reason="next")
            metadata.models.set_alias("churn", "backup", 1, expected=None if version == 1 else 1, reason="same")
        minute = timedelta(minutes=1)
        assert metadata.models.serving_at("churn", EPOCH + HOUR - minute) is None
        assert metadata.models.serving_at("churn", EPOCH + HOUR) == 1
        assert metadata.models.serving_at("churn", EPOCH + 2 * HOUR - minute) == 1
        assert metadata.models.serving_at("churn", EPOCH + 9 * HOUR) == 2
        assert metadata.models.serving_at("ghost", EPOCH) is None

    def test_unknown_versions_are_named(self, metadata: Metadata) -> None:
        for call in (
            lambda: metadata.models.get_version("ghost", 1),
            lambda: metadata.models.set_state("ghost", 1, ModelState.STAGING, reason=""),
            lambda: metadata.models.state_history("ghost", 1),
            lambda: metadata.models.set_mlflow_uri("ghost", 1, "x"),
            lambda: metadata.models.set_alias("ghost", "champion", 1, expected=None, reason=""),
        ):
            with pytest.raises(ModelVersionNotFound, match="'ghost' version 1"):
                call()

    def test_what_was_trained_on_a_table_is_found(self, metadata: Metadata) -> None:
        for name, key, tables in (
            ("churn", "a", {"planes": 12, "weather": 3}),
            ("churn", "b", {"planes": 13, "weather": 3}),
            ("churn", "b", {"planes": 99}),
            ("delay", "a", {"planes": 12}),
            ("delay", "b", {}),
        ):
            draft = example_draft(name).model_copy(update={"table_versions": tables})
            metadata.models.register_version(draft, key=key)

        def found(table: str, version: int | None = None) -> list[tuple[str, int]]:
            return [(each.name, each.version) for each in metadata.models.trained_on(table, version)]

        assert found("planes", 12) == [("churn", 1), ("delay", 1)]
        assert found("planes") == [("churn", 1), ("churn", 2), ("delay", 1)]
        assert found("weather", 3) == [("churn", 1), ("churn", 2)]
        assert found("weather", 12) == found("ghost") == []

    def test_tables_of_environments_are_told_apart(self, metadata: Metadata) -> None:
        draft = example_draft("dev.churn").model_copy(update={"table_versions": {"planes": 1}, "environment": "dev"})
        metadata.models.register_version(draft, key="k")
        (found,) = metadata.models.trained_on("dev.planes", 1)
        assert (found.name, found.environment, found.table_versions) == ("dev.churn", "dev", {"planes": 1})
        assert metadata.models.trained_on("planes") == []

    def test_evidence_without_a_json_form_changes_nothing(self, metadata: Metadata) -> None:
        metadata.models.register_version(example_draft(), key="k")
        with pytest.raises(DataError, match="evidence of a state"):
            metadata.models.set_state("churn", 1, ModelState.STAGING, reason="", evidence={"x": object()})
        with pytest.raises(DataError, match="evidence of alias 'champion'"):
            metadata.models.set_alias("churn", "champion", 1, expected=None, reason="", evidence={"x": object()})
        assert metadata.models.state_history("churn", 1) == [] == metadata.models.alias_history("churn")

    def test_where_mlflow_holds_it_is_noted(self, metadata: Metadata) -> None:
        metadata.models.register_version(example_draft(), key="k")
        assert metadata.models.set_mlflow_uri("churn", 1, "models:/churn/1").mlflow_uri == "models:/churn/1"
        assert metadata.models.get_version("churn", 1).mlflow_uri == "models:/churn/1"


class PlanStoreContract:
    """What every ``PlanStore`` does."""

    def test_plans_are_numbered_without_gaps(self, metadata: Metadata) -> None:
        assert metadata.plans.find_plan("churn") is None
        with pytest.raises(DeploymentNotFound, match="churn"):
            metadata.plans.get_plan("churn")
        first, second = example_plan(1), example_plan(2, champion=2)
        for plan in (first, second, second, first):
            assert metadata.plans.put_plan(plan) == plan
        metadata.plans.put_plan(example_plan(1, model="other"))
        assert metadata.plans.get_plan("churn") == second == metadata.plans.find_plan("churn")
        assert metadata.plans.list_plans("churn") == [first, second]
        assert metadata.plans.plan_numbers() == {"churn": 2, "other": 1}
        assert metadata.plans.served_plans() == {"churn": second, "other": example_plan(1, model="other")}

    def test_what_is_served_no_more_is_planned_no_more_and_keeps_its_number(self, metadata: Metadata) -> None:
        metadata.plans.put_plan(example_plan(1))
        gone = example_plan(2).model_copy(update={"served": False})
        metadata.plans.put_plan(gone)
        assert (metadata.plans.served_plans(), metadata.plans.plan_numbers()) == ({}, {"churn": 2})
        assert metadata.plans.get_plan("churn") == gone
        again = example_plan(3)
        assert metadata.plans.put_plan(again) == again
        assert metadata.plans.served_plans() == {"churn": again}

    @pytest.mark.parametrize("number", [0, 1, 3])
    def test_any_other_number_is_stale(self, metadata: Metadata, number: int) -> None:
        metadata.plans.put_plan(example_plan(1))
        with pytest.raises(StaleWrite, match="must have number 2"):
            metadata.plans.put_plan(example_plan(number, champion=9))
        assert metadata.plans.list_plans("churn") == [example_plan(1)]


class LedgerContract:
    """What every ``Ledger`` does."""

    def test_entries_are_chained_and_ordered(self, metadata: Metadata, clock: MovableClock) -> None:
        assert metadata.ledger.verify_ledger() == 0
        evidence = {"rows": (1, 2), "at": EPOCH, "auc": float("nan"), "text": "ü\u0000"}
        first = metadata.ledger.append_entry("churn", "retrain", "drift", evidence, key="1")
        clock.advance_to(EPOCH + HOUR)
        second = metadata.ledger.append_entry("other", "deploy", "", key="2")
        assert (first.sequence, first.at, first.previous_hash) == (1, EPOCH, GENESIS)
        assert (second.sequence, second.at, second.previous_hash) == (2, EPOCH + HOUR, first.hash)
        assert metadata.ledger.entries() == [first, second]
        assert metadata.ledger.entries("other") == [second] == metadata.ledger.entries(after=1)
        assert metadata.ledger.entries("churn")[0].evidence["rows"] == [1, 2]
        assert metadata.ledger.verify_ledger() == 2

    def test_a_key_is_appended_once(self, metadata: Metadata, clock: MovableClock) -> None:
        first = metadata.ledger.append_entry("churn", "retrain", "drift", key="1")
        clock.advance_to(EPOCH + HOUR)
        assert metadata.ledger.append_entry("churn", "promote", "other", {"x": 1}, key="1") == first
        assert metadata.ledger.verify_ledger() == 1

    def test_the_newest_entries_up_to_an_instant(self, metadata: Metadata, clock: MovableClock) -> None:
        for number in range(12):
            clock.advance_to(EPOCH + number // 2 * HOUR)  # two at each instant
            metadata.ledger.append_entry(("churn", "*", "other")[number % 3], "note", "", key=str(number))

        def found(subjects: list[str], limit: int, hours: int | None = None) -> list[int]:
            until = None if hours is None else EPOCH + hours * HOUR
            return [each.sequence for each in metadata.ledger.newest_entries(subjects, limit, until=until)]

        assert found(["churn", "*"], 3) == [8, 10, 11]
        assert found(["churn", "*"], 3, 4) == [7, 8, 10]
        assert found(["churn"], 100) == [1, 4, 7, 10]
        assert found(["churn"], 2, 0) == [1]
        assert found(["churn"], 2, -1) == found([], 2) == found(["ghost"], 2) == []

    def test_what_has_no_json_form_is_refused(self, metadata: Metadata) -> None:
        for evidence in ({"x": object()}, {"x": {1: 2}}, {"x": 2**70}, {"x": "\ud800"}):
            with pytest.raises(DataError, match="'1'"):
                metadata.ledger.append_entry("churn", "retrain", "drift", evidence, key="1")
        with pytest.raises(DataError, match="'1'"):
            metadata.ledger.append_entry("\ud800", "retrain", "drift", key="1")
        assert metadata.ledger.entries() == []


class WindowStoreContract:
    """What every ``WindowStore`` does."""

    def test_windows_are_replaced_listed_and_bounded(self, metadata: Metadata) -> None:
        for hour in (2, 0, 1):
            metadata.windows.put_window(example_window(start=EPOCH + hour * HOUR), bytes([hour]))
        metadata.windows.put_window(example_window(start=EPOCH + HOUR, rows=99), b"\x00late")
        metadata.windows.put_window(example_window("other"), b"")
        windows = metadata.windows.list_windows("churn")
        assert [window.start for window in windows] == [EPOCH, EPOCH + HOUR, EPOCH + 2 * HOUR]
        assert [window.rows for window in windows] == [10, 99, 10]
        inner = metadata.windows.list_windows("churn", EPOCH + HOUR, EPOCH + 2 * HOUR)
        assert [window.start for window in inner] == [EPOCH + HOUR]
        assert metadata.windows.get_profile("churn", EPOCH + HOUR) == b"\x00late"
        assert metadata.windows.get_profile("other", EPOCH) == b""

    def test_a_metric_without_value_is_read_back(self, metadata: Metadata) -> None:
        metadata.windows.put_window(example_window(), b"")
        (window,) = metadata.windows.list_windows("churn")
        assert window.model_dump_json() == example_window().model_dump_json()

    def test_an_unknown_window_is_named(self, metadata: Metadata) -> None:
        with pytest.raises(NotFoundError, match="churn"):
            metadata.windows.get_profile("churn", EPOCH)


class DeploymentStoreContract:
    """What every ``DeploymentStore`` does."""

    def test_the_first_manifest_of_a_digest_stays(self, metadata: Metadata) -> None:
        first = metadata.deployments.put_bundle(example_bundle())
        assert metadata.deployments.put_bundle(example_bundle().model_copy(update={"built_at": EPOCH + HOUR})) == first
        assert metadata.deployments.get_bundle("b" * 64) == first
        other = metadata.deployments.put_bundle(example_bundle("c" * 64, "other"))
        assert metadata.deployments.list_bundles() == [first, other]
        assert metadata.deployments.list_bundles("other") == [other]
        with pytest.raises(NotFoundError, match="ghost"):
            metadata.deployments.get_bundle("ghost")

    def test_the_latest_deployment_is_found(self, metadata: Metadata) -> None:
        for digest, pipeline in (("b", "flights"), ("c", "flights"), ("d", "other")):
            metadata.deployments.put_bundle(example_bundle(digest, pipeline))
        deployments = [
            Deployment(environment="dev", bundle=digest, at=EPOCH + hour * HOUR)
            for hour, digest in enumerate(("b", "c", "b", "d"))
        ]
        for deployment in deployments:
            assert metadata.deployments.put_deployment(deployment) == deployment
            assert metadata.deployments.put_deployment(deployment) == deployment
        assert metadata.deployments.find_deployment("dev", "flights") == deployments[2]
        assert metadata.deployments.find_deployment("dev") == deployments[3]
        assert metadata.deployments.find_deployment("prod") is None
        assert metadata.deployments.list_deployments("dev") == deployments[::-1]
        assert metadata.deployments.list_deployments("dev", "other") == deployments[3:]
        prod = metadata.deployments.put_deployment(deployments[1].model_copy(update={"environment": "prod"}))
        assert metadata.deployments.list_live_deployments() == [deployments[2], deployments[3], prod]
        metadata.deployments.put_deployment(prod.model_copy(update={"ended": True}))
        assert metadata.deployments.list_live_deployments() == [deployments[2], deployments[3]]
        assert metadata.deployments.find_deployment("prod", "flights") is None

    def test_only_a_known_bundle_is_deployed(self, metadata: Metadata) -> None:
        with pytest.raises(NotFoundError, match="ghost"):
            metadata.deployments.put_deployment(Deployment(environment="dev", bundle="ghost", at=EPOCH))


class KeyStoreContract:
    """What every ``KeyStore`` does."""

    def test_keys_are_kept_in_the_order_they_were_made(self, metadata: Metadata) -> None:
        keys = [new_key(name, ["infer"], EPOCH)[0] for name in ("b", "a", "c")]
        for key in keys:
            assert metadata.keys.put_key(key) == key
            assert metadata.keys.put_key(key) == key
        assert metadata.keys.list_keys() == keys

    def test_a_revoked_key_stays_revoked(self, metadata: Metadata, clock: MovableClock) -> None:
        key, _ = new_key("a", ["infer", "label"], EPOCH)
        metadata.keys.put_key(key)
        revoked = metadata.keys.revoke_key(key.id)
        assert revoked == key.model_copy(update={"revoked_at": clock.now()})
        clock.advance_to(clock.now() + HOUR)
        assert metadata.keys.revoke_key(key.id) == revoked
        assert metadata.keys.put_key(key) == revoked
        assert metadata.keys.list_keys() == [revoked]

    def test_a_key_that_is_not_there_or_another(self, metadata: Metadata) -> None:
        key, _ = new_key("a", ["infer"], EPOCH)
        metadata.keys.put_key(key)
        with pytest.raises(AlreadyRegistered, match=key.id):
            metadata.keys.put_key(key.model_copy(update={"grants": (Grant(scope="admin"),)}))
        with pytest.raises(NotFoundError, match="'0123456789ab' does not exist"):
            metadata.keys.revoke_key("0123456789ab")


class MetadataContract(
    BlessingContract,
    RunStoreContract,
    ArtifactStoreContract,
    ContextStoreContract,
    ModelRegistryContract,
    PlanStoreContract,
    LedgerContract,
    WindowStoreContract,
    DeploymentStoreContract,
    KeyStoreContract,
    AlertStoreContract,
    RecordBrowserContract,
):
    """What every whole metadata store does."""
