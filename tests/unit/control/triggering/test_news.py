from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from raymlops.config import AuditCount, ControlConfig, CronTrigger, NewDataTrigger, RetrainConfig, TriggersConfig
from raymlops.control import RetrainOutcome, RetrainPolicy, RetrainRequest
from raymlops.control.triggering.news import NewCode, NewData, RetrainOrder, TableGrowth, code_digest
from raymlops.control.triggering.triggers import find_fired
from raymlops.records.bundles import BundleManifest, ProjectSpec
from raymlops.testing.control_examples import DAY, START, example_window

OFF = TriggersConfig(performance=None, drift=None)
NIGHTLY = OFF.model_copy(update={"cron": CronTrigger(at="0 3 * * *")})
FREE = RetrainConfig(cooldown=timedelta(), min_labelled_rows=0)
AT_THREE = START + timedelta(hours=3)


def evaluate(triggers: TriggersConfig, *, limits: RetrainConfig = FREE, **seen: Any) -> Any:
    request = RetrainRequest(**{"now": AT_THREE, "champion_since": START, "windows": [], "champion": 4, **seen})
    return RetrainPolicy(ControlConfig(triggers=triggers, retrain=limits)).evaluate(request)


def order(sequence: int = 7, by: str = "ann") -> RetrainOrder:
    return RetrainOrder(sequence=sequence, at=START, by=by, via="http", reason="labels were mended")


def test_a_date_of_the_calendar_starts_one_retraining() -> None:
    assert evaluate(NIGHTLY, now=AT_THREE - timedelta(seconds=1)).outcome is RetrainOutcome.QUIET
    verdict = evaluate(NIGHTLY)
    assert (verdict.outcome, verdict.occasion) == (RetrainOutcome.RETRAIN, "cron-20130304T030000Z")
    assert verdict.fired[0].facts == {"at": "0 3 * * *", "zone": "UTC", "due": AT_THREE.isoformat()}
    assert evaluate(NIGHTLY, used=frozenset({verdict.occasion})).outcome is RetrainOutcome.QUIET
    assert evaluate(NIGHTLY, started=[AT_THREE]).outcome is RetrainOutcome.QUIET
    assert evaluate(NIGHTLY, champion_since=AT_THREE).outcome is RetrainOutcome.QUIET
    assert evaluate(NIGHTLY, started=[AT_THREE], now=AT_THREE + DAY).occasion == "cron-20130305T030000Z"


def test_a_date_of_the_calendar_waits_where_it_must() -> None:
    held = evaluate(NIGHTLY, limits=RetrainConfig(min_labelled_rows=1))
    assert held.outcome is RetrainOutcome.HOLD
    assert "0 labelled rows" in held.reason


def test_broken_data_blocks_once_and_does_not_use_the_date_up() -> None:
    now = START + DAY + timedelta(hours=3)
    broken = [example_window(0, quality="block")]
    verdict = evaluate(NIGHTLY, windows=broken, now=now)
    assert (verdict.outcome, verdict.occasion) == (RetrainOutcome.BLOCK, "20130305T000000Z")
    used = frozenset({verdict.occasion})
    assert evaluate(NIGHTLY, windows=broken, now=now, used=used).outcome is RetrainOutcome.QUIET
    sound = evaluate(NIGHTLY, windows=[*broken, example_window(1)], now=now, used=used)
    assert (sound.outcome, sound.occasion) == (RetrainOutcome.RETRAIN, "cron-20130305T030000Z")


def test_new_rows_count_from_the_last_training_on() -> None:
    config = OFF.model_copy(update={"new_data": NewDataTrigger(min_rows=100)})

    def seen(rows: int, before: int = 0, **more: Any) -> Any:
        grown = TableGrowth(trained_version=3, version=5, rows=rows)
        shrunk = TableGrowth(trained_version=3, version=5, rows=-50)
        return evaluate(config, data=NewData(tables={"trips": grown, "old": shrunk}), rows_before=before, **more)

    assert seen(99).outcome is RetrainOutcome.QUIET
    verdict = seen(130)
    assert (verdict.outcome, verdict.occasion) == (RetrainOutcome.RETRAIN, "data-4-100")
    assert verdict.reason == "130 new rows in trips since the last training"
    assert verdict.fired[0].facts["tables"] == {"trips": {"trained_version": 3, "version": 5, "rows": 130}}
    assert seen(150, used=frozenset({"data-4-100"})).outcome is RetrainOutcome.QUIET
    assert seen(200, used=frozenset({"data-4-100"})).occasion == "data-4-200"
    assert seen(229, before=130).outcome is RetrainOutcome.QUIET
    assert seen(230, before=130).occasion == "data-4-230"
    assert evaluate(config).outcome is RetrainOutcome.QUIET


def test_new_code_names_the_files() -> None:
    code = NewCode(champion_bundle="a" * 64, bundle="b" * 64, deployed_at=START, files=("model.py",))
    config = OFF.model_copy(update={"new_code": True})
    verdict = evaluate(config, code=code)
    assert (verdict.outcome, verdict.occasion) == (RetrainOutcome.RETRAIN, f"code-{'b' * 12}-20130304T000000Z")
    assert "in model.py" in verdict.reason
    assert evaluate(OFF, code=code).outcome is RetrainOutcome.QUIET


def test_an_order_is_held_by_the_budget_alone() -> None:
    limits = RetrainConfig(cooldown=5 * DAY, min_labelled_rows=1000, budget_runs=2)
    broken = [example_window(0, quality="block")]
    recent = [START - timedelta(hours=1)]
    verdict = evaluate(OFF, limits=limits, orders=[order(7), order(9, "bob")], windows=broken, started=recent)
    assert (verdict.outcome, verdict.orders, verdict.occasion) == (RetrainOutcome.RETRAIN, (7, 9), "order-9")
    assert verdict.reason == "bob asks for it: labels were mended, and 1 more"
    assert [each["by"] for each in verdict.fired[0].facts["orders"]] == ["ann", "bob"]
    spent = evaluate(OFF, limits=limits, orders=[order()], started=[*recent, *recent])
    assert spent.outcome is RetrainOutcome.HOLD
    assert "budget of 2 runs is spent" in spent.reason


@pytest.mark.parametrize(
    ("shares", "fires"), [([], False), ([0.02], False), ([0.02, 0.0, 0.03], True), ([0.02, 0.03, 0.001], False)]
)
def test_features_that_were_served_wrong(shares: list[float], fires: bool) -> None:
    windows = [
        example_window(
            day, wrong_feature_share=share, wrong_features={"wind": share, "rain": share / 2}, audited_rows=9
        )
        for day, share in enumerate(shares)
    ]
    config = OFF.model_copy(update={"audit_mismatch": AuditCount(min_share=0.01)})
    fired = find_fired(windows, champion_since=START, now=START + 9 * DAY, config=config)
    assert [each.trigger for each in fired] == (["audit_mismatch"] if fires else [])
    if fires:
        assert "in 2 of the last 3 windows: wind 3.0%, rain 1.5%" in fired[0].reason
        assert fired[0].facts["wrong_features"] == {"wind": 0.03, "rain": 0.015}
    assert find_fired(windows, champion_since=START, now=START + 9 * DAY, config=OFF) == ()


def test_when_a_model_is_retrained_is_no_code() -> None:
    spec = ProjectSpec(name="p", model="m", definitions="d:d", service="s", spine="d:s")

    def built(policy: Any = None, **files: str) -> BundleManifest:
        project = spec.model_copy(update={"policy": policy})
        known = {"project.yaml": str(policy), "model.py": "1", **files}
        return BundleManifest(
            digest="", project=project, archive_sha256="", files=known, lock_sha256="l", tests={}, built_at=START
        )

    assert code_digest(built()) == code_digest(built({"retrain": {"cooldown": "1d"}}))
    assert code_digest(built()) != code_digest(built(**{"model.py": "2"}))
