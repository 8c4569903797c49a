"""Each item passes on evidence that deserves it, and fails on evidence that does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from raymlops.features import Entity, FeatureView, Field
from raymlops.records.bundles import BundleManifest, Deployment, ProjectSpec, Source
from raymlops.records.learning.blessings import Blessing
from raymlops.records.learning.signatures import Signature
from raymlops.records.ledger import GENESIS, LedgerEntry
from raymlops.records.models import ModelManifest, ModelVersion
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run, StepRun
from raymlops.records.windows import (
    ColumnDrift,
    EstimatedPerformance,
    FeatureAge,
    Performance,
    SegmentPerformance,
    WindowRecord,
)
from raymlops.scorecard import QUESTIONS, Evidence, Settings, score
from raymlops.scorecard.level_two import LEVEL_TWO

T = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
BUNDLE, SET, MODEL = "b" * 64, "s" * 64, "m" * 64


def version(number: int = 2, **changes: Any) -> ModelVersion:
    signature = Signature(task="classifier", inputs=(), classes=(0, 1))
    blessings = tuple(
        Blessing(kind=kind, granted=True, subject=SET if kind != "infrastructure" else MODEL, reason=f"{kind} is good")
        for kind in ("data", "evaluation", "infrastructure")
    )
    manifest = ModelManifest(flavor="sklearn", signature=signature, files={}, libraries={"sklearn": "1.7"})
    facts: dict[str, Any] = {
        "name": "churn", "version": number, "path": "x", "manifest": manifest, "digest": MODEL, "run_id": f"r{number}",
        "training_set": SET, "table_versions": {"t": 1}, "bundle": BUNDLE, "blessings": blessings,
        "parameters": {"params.depth": 3, "seed": 7}, "metrics": {"log_loss": 0.4}, "created_at": T - DAY,
    }  # fmt: skip
    return ModelVersion(**{**facts, **changes})


def run(name: str = "r2", day: int = 0, **changes: Any) -> Run:
    at = T + day * DAY
    steps = tuple(
        StepRun(step=step, status="succeeded", key="k", started_at=at, ended_at=at, outputs={"o": "d"})
        for step in ("validate_data", "tune", "train")
    )
    result = {
        "metrics": {"log_loss": 0.4}, "train_metrics": {"log_loss": 0.3}, "baseline_metrics": {"log_loss": 0.6},
        "comparison": {"rule": "not_worse", "passed": True, "champion_loss": 0.5, "rows": 9, "against": "champion"},
        "infra": {"one_row_ms": 0.5}, "fitted": {"checked": {"loss": 0.4, "rows": 9}},
    }  # fmt: skip
    facts: dict[str, Any] = {
        "id": name, "pipeline": "train", "status": "succeeded", "parameters": {"as_of": "x"}, "bundle": BUNDLE,
        "created_at": at, "ended_at": at, "steps": steps, "result": result,
    }  # fmt: skip
    return Run(**{**facts, **changes})


def with_result(found: Run, **changes: Any) -> Run:
    return found.model_copy(update={"result": {**found.result, **changes}})


def entry(sequence: int, action: str, subject: str = "churn", **evidence: Any) -> LedgerEntry:
    return LedgerEntry(
        sequence=sequence, at=T + sequence * timedelta(hours=1), subject=subject, action=action, reason="why",
        evidence=evidence, key=f"control/churn/{action}/{sequence}", previous_hash=GENESIS, hash=GENESIS,
    )  # fmt: skip


def window(day: int = 0, **changes: Any) -> WindowRecord:
    part = SegmentPerformance(
        segment="x > 1", rows=9, metric="log_loss", value=0.4, interval=(0.3, 0.5), excess=0.0, p_value=0.5,
        significant=False, declared=True,
    )  # fmt: skip
    column = ColumnDrift(score=0.0, threshold=0.1, p_value=0.5, drifted=False, importance=0.5)
    facts: dict[str, Any] = {
        "model": "churn", "start": T + day * DAY, "end": T + (day + 1) * DAY, "champion": 2, "rows": 100,
        "columns": {"x": column}, "segments": (part,), "audited_rows": 50,
        "feature_ages": {"spending": FeatureAge(rows=9, median_s=1.0, p95_s=2.0, missing_share=0.1)},
        "performance": {2: Performance(rows=100, labelled_rows=90, metrics={"log_loss": 0.4})},
    }  # fmt: skip
    return WindowRecord(**{**facts, **changes})


def bundle(**changes: Any) -> BundleManifest:
    facts: dict[str, Any] = {
        "digest": BUNDLE,
        "project": ProjectSpec(name="train", model="churn", definitions="m:d", service="churn", spine="m:s"),
        "archive_sha256": "a", "files": {}, "lock_sha256": "l", "tests": {"passed": 5, "failed": 0}, "built_at": T,
        "source": Source(commit="c" * 40, author="ada"),
    }  # fmt: skip
    return BundleManifest(**{**facts, **changes})


def view(**changes: Any) -> FeatureView:
    facts: dict[str, Any] = {"owner": "ada", "tags": {"personal": "no"}}
    return FeatureView("spending", Entity("user", ["user"]), [Field("x", "float64", ge=0)], **{**facts, **changes})


LEDGER = (
    entry(1, "apply", "platform:definitions"), entry(2, "deploy_bundle", f"bundle:{BUNDLE}"),
    entry(3, "approve_bundle", f"bundle:{BUNDLE}"), entry(4, "deploy", champion=1), entry(5, "retrain", run_id="r2"),
    *(
        of
        for number in (3, 4, 5)
        for of in (
            entry(4 * number, "start_trial", run_id="r", version=number),
            entry(4 * number + 1, "promote", version=number),
        )
    ),
    entry(30, "start_trial", run_id="r2", version=2), entry(31, "promote", version=2),
    entry(32, "start_trial", version=6), entry(33, "roll_back", version=6),
)  # fmt: skip
PLAN = ServingPlan(model="churn", number=9, champion=2, backup=1, service="churn@1", created_at=T)
GOOD = Evidence(
    model="churn",
    now=T + 5 * DAY,
    settings=Settings(keys_required=True, retention_days=400, told=("pager",)),
    champion=version(),
    versions=(version(1), version()),
    plans=(PLAN,),
    run=run(),
    runs=(run(), run("r1", -1), run("r0", -2)),
    bundle=bundle(),
    live=(Deployment(environment="prod", bundle=BUNDLE, at=T),),
    ledger=LEDGER,
    windows=(window(0), window(1)),
    views=(view(),),
    probed=(T, T + DAY, T + 2 * DAY),
)
EMPTY = Evidence(model="churn", now=T, settings=Settings(keys_required=False, retention_days=400))


def without(*actions: str) -> tuple[LedgerEntry, ...]:
    return tuple(of for of in LEDGER if of.action not in actions)


def windows(**changes: Any) -> dict[str, Any]:
    return {"windows": (window(**changes),)}


WORSE = window().segments[0].model_copy(update={"significant": True})
UNDECLARED = window().segments[0].model_copy(update={"declared": False})
UNBLESSED = version(blessings=())
ESTIMATED = EstimatedPerformance(rows=9, metrics={}, method="recalibrated", effective_rows=9)
UNLABELLED = {2: Performance(rows=9, labelled_rows=0, metrics={})}
NOT_FINITE = Performance(rows=1, labelled_rows=1, metrics={"auc": float("nan")})
LOST = entry(2, "roll_back", version=3)
NO_BUNDLE: dict[str, Any] = {"bundle": None}

FAILS: list[tuple[str, str, dict[str, Any]]] = [
    ("data-1", "missing", {"champion": UNBLESSED, "views": ()}),
    ("data-1", "manual", {"champion": UNBLESSED}),
    ("data-1", "manual", {"champion": version(training_set="other")}),
    ("data-2", "missing", windows(columns={"x": window().columns["x"].model_copy(update={"importance": 0.0})})),
    ("data-2", "missing", windows(columns={"x": window().columns["x"].model_copy(update={"importance": None})})),
    ("data-3", "missing", {"run": with_result(run(), infra={})}),
    ("data-3", "missing", {"run": with_result(run(), infra={"one_row_ms": 900.0})}),
    ("data-3", "missing", windows(feature_ages={"a": FeatureAge(rows=9, median_s=1, p95_s=1, missing_share=0.9)})),
    ("data-3", "manual", windows(feature_ages={})),
    ("data-4", "missing", {"views": (view(tags={"deprecated": "yes"}),)}),
    ("data-4", "manual", {"views": (view(owner=""),)}),
    ("data-4", "manual", {"ledger": without("apply")}),
    ("data-5", "missing", {"views": (view(tags={"personal": "yes"}),), "settings": EMPTY.settings}),
    ("data-5", "manual", {"views": (view(tags={}),)}),
    ("data-5", "manual", {"settings": EMPTY.settings}),
    ("data-5", "manual", {"ledger": without("apply", "deploy")}),
    ("data-6", "missing", {"plans": (PLAN.model_copy(update={"service": None}),)}),
    ("data-6", "manual", {"ledger": without("apply")}),
    ("data-7", "missing", {"bundle": bundle(tests={"passed": 5, "failed": 1})}),
    ("data-7", "missing", {"bundle": bundle(tests={})}),
    ("data-7", "manual", windows(audited_rows=0)),
    ("data-7", "missing", windows(wrong_feature_share=0.5)),
    ("model-1", "missing", NO_BUNDLE),
    ("model-1", "manual", {"ledger": without("approve_bundle")}),
    ("model-1", "manual", {"bundle": bundle(source=Source(commit="c" * 40, author="ada", dirty=True))}),
    ("model-2", "missing", {"ledger": without("start_trial")}),
    ("model-2", "manual", {"ledger": LEDGER[:7]}),
    ("model-2", "missing", {"ledger": (entry(1, "start_trial", run_id="r", version=3), LOST)}),
    ("model-3", "missing", {"champion": version(parameters={})}),
    ("model-3", "manual", {"run": run(steps=())}),
    ("model-4", "missing", {"probed": (), "runs": ()}),
    ("model-4", "manual", {"probed": (), "runs": (run(),)}),
    ("model-5", "missing", {"run": with_result(run(), baseline_metrics={"log_loss": 0.4})}),
    ("model-5", "missing", {"run": with_result(run(), baseline_metrics={})}),
    ("model-6", "missing", windows(segments=())),
    ("model-6", "missing", windows(segments=(WORSE,))),
    ("model-7", "missing", windows(segments=())),
    ("model-7", "manual", windows(segments=(UNDECLARED,))),
    ("model-7", "missing", windows(segments=(WORSE,))),
    ("infrastructure-1", "missing", {"champion": version(training_set=None, table_versions={}, bundle=None)}),
    ("infrastructure-1", "manual", {"champion": version(parameters={})}),
    ("infrastructure-2", "missing", {"bundle": bundle(tests={"passed": 0})}),
    ("infrastructure-3", "missing", {"runs": (run(status="failed"),)}),
    ("infrastructure-3", "manual", {"runs": (run(),)}),
    ("infrastructure-4", "missing", {"champion": UNBLESSED}),
    ("infrastructure-4", "manual", {"champion": version(run_id=None)}),
    ("infrastructure-4", "missing", {"champion": version(run_id=None, metrics={})}),
    ("infrastructure-5", "manual", {"windows": ()}),
    ("infrastructure-5", "missing", {"windows": (), "run": None}),
    ("infrastructure-6", "missing", {"ledger": without("promote")}),
    ("infrastructure-6", "manual", {"champion": version(8)}),
    ("infrastructure-7", "manual", {"ledger": without("roll_back")}),
    ("infrastructure-7", "missing", {"ledger": (), "plans": (PLAN.model_copy(update={"backup": None}),)}),
    ("monitoring-1", "manual", {"settings": Settings(keys_required=True, retention_days=9)}),
    ("monitoring-2", "missing", windows(quality="block", quality_reasons=("x: frozen",))),
    ("monitoring-2", "manual", windows(columns={})),
    ("monitoring-3", "missing", windows(wrong_feature_share=0.5)),
    ("monitoring-3", "manual", windows(audited_rows=0)),
    ("monitoring-4", "missing", {"windows": (window(3, degraded=True, degraded_reason="worse"),)}),
    ("monitoring-4", "manual", {"ledger": without("retrain")}),
    ("monitoring-5", "missing", windows(errors=1)),
    ("monitoring-5", "missing", windows(performance={2: NOT_FINITE})),
    ("monitoring-6", "missing", {"run": None}),
    ("monitoring-6", "manual", {"runs": (run(),)}),
    ("monitoring-6", "missing", {"runs": (with_result(run(), infra={"one_row_ms": 9.0}), run("r1", -1))}),
    ("monitoring-7", "missing", {"windows": (window(3, degraded=True, degraded_reason="worse"),)}),
    ("monitoring-7", "missing", windows(performance=UNLABELLED)),
    ("monitoring-7", "manual", windows(performance=UNLABELLED, estimated={2: ESTIMATED})),
    ("level2-orchestrated", "missing", {"run": run(steps=())}),
    ("level2-training", "missing", {"ledger": without("retrain")}),
    ("level2-symmetry", "missing", {"live": (Deployment(environment="prod", bundle="other", at=T),)}),
    ("level2-modular", "missing", {"run": run(steps=())}),
    ("level2-models", "manual", {"ledger": without("promote")}),
    ("level2-models", "missing", {"ledger": without("promote", "deploy")}),
    ("level2-pipeline", "missing", {"live": ()}),
    ("level2-data", "missing", {"champion": UNBLESSED}),
    ("level2-compared", "missing", {"run": with_result(run(), comparison={})}),
    ("level2-compared", "missing", {"run": with_result(run(), comparison={"rule": "absolute", "passed": False})}),
    ("level2-evaluation", "missing", {"champion": UNBLESSED}),
    ("level2-infrastructure", "missing", {"champion": UNBLESSED}),
    ("level2-canary", "missing", {"ledger": without("promote")}),
    ("level2-features", "missing", {"plans": (PLAN.model_copy(update={"service": None}),)}),
    ("level2-features", "manual", {"champion": version(training_set=None)}),
    ("level2-metadata", "manual", {"run": with_result(run(), train_metrics={})}),
    ("level2-metadata", "missing", {"run": None}),
    ("level2-converges", "missing", {"run": with_result(run(), fitted={})}),
    ("level2-tests", "missing", {"bundle": bundle(tests={"passed": 1, "failed": 1})}),
    ("level2-source", "missing", {"bundle": bundle(source=None)}),
    ("level2-approval", "manual", {"ledger": without("approve_bundle")}),
    ("level2-approval", "missing", {"ledger": without("approve_bundle"), "runs": ()}),
    ("level2-monitoring", "missing", {"windows": ()}),
]  # fmt: skip

ALL = {question.id: question for question in (*QUESTIONS, *LEVEL_TWO)}


def test_there_are_28_tests_in_four_sections_of_seven() -> None:
    assert len(QUESTIONS) == 28
    card = score(GOOD)
    assert card.sections == dict.fromkeys(("data", "model", "infrastructure", "monitoring"), 7.0)
    assert card.score == 7


@pytest.mark.parametrize("name", ALL)
def test_an_item_passes_on_good_evidence_and_fails_on_none(name: str) -> None:
    good = ALL[name].answer(GOOD)
    assert (good.status, good.points, good.remedy) == ("automated", 1.0, ""), good.finding
    assert good.evidence
    assert good.age_s is not None
    assert good.age_s >= 0
    bad = ALL[name].answer(EMPTY)
    assert (bad.status, bad.points, bad.evidence, bad.age_s) == ("missing", 0.0, (), None)
    assert bad.remedy


@pytest.mark.parametrize(("name", "status", "changes"), FAILS)
def test_an_item_fails_on_what_it_is_about(name: str, status: str, changes: dict[str, Any]) -> None:
    found = ALL[name].answer(replace(GOOD, **changes))
    assert found.status == status, found.finding
    assert found.remedy


def test_every_item_is_made_to_fail_by_one_change_of_good_evidence() -> None:
    assert {name for name, _, _ in FAILS} == set(ALL)


def test_a_degraded_champion_that_the_loop_answers_is_watched() -> None:
    degraded = window(0, degraded=True, degraded_reason="worse")
    answered = replace(GOOD, windows=(degraded,), ledger=(*LEDGER, entry(60, "retrain", run_id="r9")))
    for name in ("monitoring-4", "monitoring-7"):
        found = ALL[name].answer(answered)
        assert (found.status, found.evidence[-1].id) == ("automated", "ledger:60")


def test_the_score_is_the_least_section_and_ages_are_those_of_the_newest_evidence() -> None:
    card = score(replace(GOOD, ledger=without("approve_bundle"), settings=EMPTY.settings))
    assert card.sections == {"data": 6.5, "model": 6.5, "infrastructure": 7.0, "monitoring": 6.5}
    assert card.score == 6.5
    quality = next(item for item in card.items if item.id == "monitoring-7")
    assert (quality.evidence[0].id, quality.age_s) == ("window:churn@2026-01-06T00:00:00+00:00", 3 * 86400)
    assert card.model_dump(mode="json")["score"] == 6.5
