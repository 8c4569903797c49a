from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from raymlops.clock import ManualClock
from raymlops.config.platform import PlatformConfig
from raymlops.errors import UnavailableError
from raymlops.features import Entity, FeatureService, FeatureView, Field
from raymlops.metadata import MetadataService
from raymlops.platform.evidence import probed_at, settings_of
from raymlops.records.learning.signatures import Signature
from raymlops.records.models import ModelManifest, ModelVersion
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run
from raymlops.records.windows import WindowRecord
from raymlops.scorecard import Settings, gather, score

T = datetime(2026, 1, 5, tzinfo=UTC)
SETTINGS = Settings(keys_required=False, retention_days=400)


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[MetadataService]:
    service = MetadataService(tmp_path / "metadata.db", clock=ManualClock(T))
    yield service
    service.close()


def test_what_is_recorded_becomes_evidence(metadata: MetadataService) -> None:
    signature = Signature(task="regressor", inputs=())
    manifest = ModelManifest(flavor="sklearn", signature=signature, files={}, libraries={})
    draft = ModelVersion(name="churn", version=0, path="x", manifest=manifest, digest="d", created_at=T)
    metadata.models.register_version(draft, key="1")
    metadata.plans.put_plan(ServingPlan(model="churn", number=1, champion=1, service="churn@1", created_at=T))
    for subject in ("churn", "other", "platform:definitions"):
        metadata.ledger.append_entry(subject, "apply", "why", key=subject)
    metadata.windows.put_window(WindowRecord(model="churn", start=T, end=T + timedelta(1), champion=1, rows=9), b"")
    user = Entity("user", ["user"])
    taken, left = FeatureView("a", user, [Field("x", "float64")]), FeatureView("b", user, [Field("x", "float64")])
    definitions = (user, taken, left, FeatureService("churn", ["a:x"]))
    found = gather(metadata, "churn", T, SETTINGS, definitions=definitions)
    assert found.champion is not None
    assert found.champion.version == 1
    assert [entry.subject for entry in found.ledger] == ["churn", "platform:definitions"]
    assert [view.name for view in found.views] == ["a"]
    assert (len(found.windows), found.run, found.bundle, found.live) == (1, None, None, ())
    card = score(found)
    assert card.champion == 1
    assert 0 < sum(card.sections.values()) < 14


def test_a_run_that_is_gone_proves_nothing(metadata: MetadataService) -> None:
    signature = Signature(task="regressor", inputs=())
    manifest = ModelManifest(flavor="sklearn", signature=signature, files={}, libraries={})
    draft = ModelVersion(name="m", version=0, path="x", manifest=manifest, digest="d", created_at=T, bundle="b" * 64)
    metadata.models.register_version(draft, key="1")
    metadata.plans.put_plan(ServingPlan(model="m", number=1, champion=1, created_at=T))
    metadata.runs.create_run(Run(id="r1", pipeline="train", created_at=T))
    found = gather(metadata, "m", T, SETTINGS)
    assert (found.bundle, found.run, found.runs) == (None, None, ())


def test_a_store_that_does_not_answer_is_no_missing_evidence(
    metadata: MetadataService, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = Signature(task="regressor", inputs=())
    manifest = ModelManifest(flavor="sklearn", signature=signature, files={}, libraries={})
    draft = ModelVersion(name="m", version=0, path="x", manifest=manifest, digest="d", created_at=T, bundle="b" * 64)
    metadata.models.register_version(draft, key="1")
    metadata.plans.put_plan(ServingPlan(model="m", number=1, champion=1, created_at=T))

    def silent(digest: str) -> None:
        raise UnavailableError("the metadata actor did not answer")

    monkeypatch.setattr(metadata.deployments, "get_bundle", silent)
    with pytest.raises(UnavailableError, match="did not answer"):
        gather(metadata, "m", T, SETTINGS)


def test_a_model_that_nobody_knows_earns_nothing(metadata: MetadataService) -> None:
    card = score(gather(metadata, "nobody", T, SETTINGS))
    assert (card.champion, card.score, sum(card.sections.values())) == (None, 0, 0)


def test_settings_tell_who_is_told_and_who_may_ask(tmp_path: Path) -> None:
    quiet = PlatformConfig(home=tmp_path)
    assert settings_of(quiet) == Settings(keys_required=False, retention_days=400)
    webhook = {"name": "pager", "url": "https://example.org/x"}
    told = PlatformConfig.model_validate(
        {
            "home": tmp_path,
            "serving": {"require_keys": True},
            "monitoring": {"metrics": {"port": 9400}, "alerts": {"webhooks": [webhook]}},
        }
    )
    assert settings_of(told).told == ("pager", "prometheus")
    assert settings_of(told).keys_required
    assert probed_at(tmp_path, "churn") == []
