from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raymlops.errors import ConfigError, UnavailableError
from raymlops.experiments import InProcessTuner, TrialResult
from raymlops.monitoring import Reference
from raymlops.pipelines import PipelineRunner
from raymlops.pipelines.artifacts import ArtifactRef
from raymlops.records.record import sha256_of
from raymlops.records.runs import RunStatus
from raymlops.serving.models.model import columns_of
from raymlops.serving.models.model_files import load_model
from raymlops.steps import TrainingContext, train_project, training_pipeline

STEPS = [
    *("pin", "extract", "validate_data", "split", "tune", "train", "evaluate", "compare", "refit", "package"),
    *("validate_infra", "card", "register"),
]
XGBOOST = {"xgboost": {"n_estimators": 40, "max_depth": {"int": [2, 3]}, "learning_rate": 0.2}}
NO_GOOD = {"logistic": {"C": 1e-9}}


class DyingTuner:
    """Stands for a cluster that goes away in mid-search."""

    def search(self, *arguments: Any, **named: Any) -> list[TrialResult]:
        raise ConnectionResetError("the cluster is gone")


class FlakyTuner(InProcessTuner):
    """Answers at the second call."""

    def __init__(self) -> None:
        self.calls = 0

    def search(self, *arguments: Any, **named: Any) -> list[TrialResult]:
        self.calls += 1
        if self.calls == 1:
            raise UnavailableError("no free CPU")
        return super().search(*arguments, **named)


def test_the_pipeline_is_the_standard_one(context: TrainingContext) -> None:
    assert [step.name for step in training_pipeline(context.project).order] == STEPS


def test_a_first_run_registers_a_version_that_can_be_served(next_context: TrainingContext) -> None:
    got = train_project(replace(next_context, run_id="run-1"))
    assert got["outcome"] == "candidate"
    assert got["version"] == 1
    assert got["comparison"]["against"] == "baseline"
    assert got["champion_metrics"] == {}
    assert got["metrics"]["log_loss"] < got["baseline_metrics"]["log_loss"] - 0.05
    assert set(got["comparison"]["slices"]) == {f"shop={shop}" for shop in range(8)}
    assert {trial["family"] for trial in got["trials"]} == {"xgboost", "logistic"}
    assert got["infra"]["rows"] == 68
    version = next_context.metadata.models.get_version("toy", 1)
    assert (version.run_id, version.bundle, version.training_set) == ("run-1", "b" * 64, got["training_set"])
    assert version.metrics["log_loss"] == got["metrics"]["log_loss"]
    assert version.metrics["log_loss_low"] < version.metrics["log_loss"] < version.metrics["log_loss_high"]
    assert version.metrics["train_log_loss"] > 0
    assert version.table_versions.keys() == {"loads"}
    model = load_model(Path(version.path), version.manifest, version.digest)
    assert [column.name for column in model.signature.inputs] == ["size", "hour", "loads__load", "loads__noise"]
    row = pa.table({"size": [5, 1], "hour": [3, 3], "loads__load": [1.0, -1.0], "loads__noise": [0.0, 0.0]})
    late, early = model.predict(columns_of(row, model.signature))["probability"][:, 1]
    assert late > 0.6 > 0.4 > early
    reference = Reference.load(Path(version.path) / "reference.bin")
    assert set(reference.columns) == {"size", "hour", "loads__load", "loads__noise", "score", "label"}
    assert (Path(version.path) / "domain.arrow").exists()
    run = next_context.metadata.runs.get_run("run-1")
    assert (run.status, run.reason, run.bundle) == (RunStatus.SUCCEEDED, "first", "b" * 64)
    assert run.result["version"] == 1
    assert [step.step for step in run.steps] == STEPS


def test_the_same_run_again_is_the_same_version(next_context: TrainingContext) -> None:
    again = train_project(replace(next_context, run_id="run-1"))
    assert again["version"] == 1
    assert again["steps"] == []
    assert len(again["trials"]) == 2
    assert len(next_context.metadata.models.list_versions("toy")) == 1


def test_a_seed_gives_the_same_run_in_another_home_also_where_the_search_learns(
    context: TrainingContext, tmp_path: Path, filled_home: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "features").symlink_to(filled_home / "features")
    learning = {"sampler": "tpe", "concurrency": 1, "trials": 3, "halving": {"grace_rounds": 10, "factor": 2}}
    asked = {"search": XGBOOST, "rule": "better", "tolerance": 100.0, **learning}
    first = train_project(context, asked)
    second = train_project(replace(context, home=other, run_id="run-2", work=other / "work"), asked)
    assert {step["status"] for step in second["steps"]} == {"succeeded"}
    assert first["reason"] == second["reason"]
    assert first["metrics"] == second["metrics"]
    tried = [[{**trial, "seconds": 0} for trial in run["trials"]] for run in (first, second)]
    assert tried[0] == tried[1]
    outputs = [{s.step: s.outputs for s in context.metadata.runs.get_run(run).steps} for run in ("run-1", "run-2")]
    for step in ("split", "train", "evaluate"):
        assert outputs[0][step] == outputs[1][step]


def test_the_world_turns_and_a_better_candidate_comes_of_it(
    next_context: TrainingContext, pass_days: Callable[..., None]
) -> None:
    pass_days(60, 9, 450, seed=3, flipped=True)
    asked = {"holdout_days": 6.0, "train_window_days": 9.5, "rule": "better", "block_hours": 0, "trials": 1}
    got = train_project(next_context, {**asked, "quality": {"min_rows": 300}})
    assert got["outcome"] == "candidate", got["reason"]
    assert got["version"] == 2
    assert got["comparison"]["champion"] == 1
    assert got["comparison"]["champion_seen_rows"] == 0
    assert got["metrics"]["log_loss"] < got["champion_metrics"]["log_loss"]
    assert [trial["origin"] for trial in got["trials"]] == ["champion", "sampled"]
    assert next_context.metadata.models.get_version("toy", 2).parameters["champion"] == 1
    assert [left.name for left in next_context.work.iterdir()] == ["logs"], "nothing else is left"


def test_a_candidate_that_is_worse_is_refused_and_not_registered(
    next_context: TrainingContext, pass_days: Callable[..., None]
) -> None:
    pass_days(60, 14, 900)
    asked = {"search": NO_GOOD, "trials": 1, "train_window_days": 13.0, "rule": "better"}
    got = train_project(next_context, asked)
    assert got["outcome"] == "refused"
    assert got["version"] is None
    assert "the champion's" in got["reason"]
    assert got["champion_metrics"]["log_loss"] > 0
    assert len(next_context.metadata.models.list_versions("toy")) == 1
    run = next_context.metadata.runs.get_run("run-2")
    assert run.status is RunStatus.SUCCEEDED
    assert run.result["outcome"] == "refused"


def test_a_model_no_better_than_the_base_rate_is_refused(context: TrainingContext) -> None:
    got = train_project(context, {"search": NO_GOOD, "trials": 1})
    assert got["outcome"] == "refused"
    assert "constant baseline" in got["reason"]
    assert context.metadata.models.list_versions("toy") == []


def test_bad_data_blocks_the_run_with_its_reasons(context: TrainingContext) -> None:
    got = train_project(context, {"quality": {"min_rows": 10**6, "min_holdout_rows": 10**6}})
    assert got["outcome"] == "blocked"
    assert len(got["problems"]) == 2
    assert got["trials"] == []
    assert context.metadata.runs.get_run("run-1").result["outcome"] == "blocked"


def test_a_run_whose_cluster_goes_away_fails_and_is_resumed_from_there(context: TrainingContext) -> None:
    asked = {"search": NO_GOOD, "trials": 1}
    with pytest.raises(ConnectionResetError):
        train_project(replace(context, tuner=DyingTuner()), asked)
    assert context.metadata.runs.get_run("run-1").status is RunStatus.FAILED
    got = train_project(replace(context, run_id="run-2"), asked, resume_of="run-1")
    assert got["outcome"] == "refused"
    assert [step["status"] for step in got["steps"][:5]] == ["cached"] * 4 + ["succeeded"]


def test_no_free_cpu_is_tried_again(context: TrainingContext) -> None:
    tuner = FlakyTuner()
    assert train_project(replace(context, tuner=tuner), {"search": NO_GOOD, "trials": 1})["outcome"] == "refused"
    assert tuner.calls == 2


def test_a_parameter_that_is_not_known_stops_before_anything_is_recorded(context: TrainingContext) -> None:
    with pytest.raises(ConfigError, match="trails"):
        train_project(context, {"trails": 3})
    assert context.metadata.runs.list_runs() == []


def test_nothing_new_is_not_trained_again(next_context: TrainingContext, pass_days: Callable[..., None]) -> None:
    asked = {"slices": ["shop"], "slice_min_rows": 40}
    got = train_project(next_context, asked)
    assert got["outcome"] == "skipped"
    assert got["reason"] == (
        "data, code, libraries and parameters are those of version 1, which run run-1 trained as of "
        "2013-03-02T03:00:00+00:00"
    )
    assert [step["step"] for step in got["steps"]] == ["pin"]
    assert next_context.metadata.runs.get_run("run-2").result["outcome"] == "skipped"
    for number, changed in enumerate(({"trials": 1}, {"skip_unchanged": False}, {"as_of": "2013-03-01T00:00:00Z"})):
        again = train_project(replace(next_context, run_id=f"other-{number}"), {**asked, **changed})
        assert again["outcome"] != "skipped", changed
    other_bundle = replace(next_context, run_id="other-bundle", bundle="c" * 64)
    assert train_project(other_bundle, {**asked, "trials": 1})["outcome"] != "skipped"
    pass_days(60, 1, 50)
    assert train_project(replace(next_context, run_id="run-3"), asked)["outcome"] != "skipped"


def test_a_version_carries_three_blessings_that_are_artifacts_of_its_run(next_context: TrainingContext) -> None:
    version, run = next_context.metadata.models.get_version("toy", 1), next_context.metadata.runs.get_run("run-1")
    assert [blessing.kind for blessing in version.blessings] == ["data", "evaluation", "infrastructure"]
    assert version.unblessed == []
    outputs = {step.step: step.outputs for step in run.steps}
    kept = {sha256_of(blessing) for blessing in version.blessings}
    assert kept == {outputs[step]["blessing"] for step in ("validate_data", "compare", "validate_infra")}
    assert [blessing["granted"] for blessing in run.result["blessings"]] == [True] * 3


def test_values_that_moved_are_recorded_and_do_not_stop_the_run(
    next_context: TrainingContext, pass_days: Callable[..., None]
) -> None:
    pass_days(60, 13, 700, seed=9, grown=4)
    got = train_project(next_context, {"trials": 1, "search": XGBOOST})
    assert got["outcome"] in {"candidate", "refused"}
    steps = {step.step: step for step in next_context.metadata.runs.get_run("run-2").steps}
    report = PipelineRunner(next_context.home / "artifacts", next_context.metadata, next_context.clock).value(
        ArtifactRef(digest=steps["validate_data"].outputs["report"], kind="json")
    )
    assert report["values_skew"]["against"] == 1
    assert report["values_skew"]["drifted"][0] == "size"
    assert report["values_skew"]["columns"]["size"]["score"] > report["values_skew"]["columns"]["size"]["threshold"]


EVERY_FAMILY = {
    "lightgbm": {"n_estimators": 40, "num_leaves": 8, "learning_rate": 0.2},
    "xgboost": {"n_estimators": 40, "max_depth": 3, "learning_rate": 0.2},
    "hist_gradient_boosting": {"max_iter": 40},
    "random_forest": {"n_estimators": 20, "min_samples_leaf": 5},
    "logistic": {},
}


@pytest.mark.parametrize(
    ("spine", "task", "metric", "family"),
    [
        ("grades", "classifier", "log_loss", "xgboost"),
        pytest.param("grades", "classifier", "log_loss", "lightgbm", marks=pytest.mark.slow),
        ("minutes", "regressor", "rmse", "random_forest"),
    ],
)
def test_every_task_runs_from_end_to_end(
    context: TrainingContext, spine: str, task: str, metric: str, family: str
) -> None:
    """Three classes and numbers, as two classes above: learned, judged, packaged, and served as they were judged."""
    project = context.project.model_copy(update={"spine": f"toy_spine:{spine}", "task": task, "metric": metric})
    search = {family: EVERY_FAMILY[family]}
    got = train_project(replace(context, project=project), {"search": search, "trials": 1, "slices": ["shop"]})
    assert got["outcome"] == "candidate", got["reason"]
    assert got["metrics"][metric] < got["baseline_metrics"][metric]
    assert got["infra"]["rows"] == 68
    version = context.metadata.models.get_version("toy", 1)
    assert len(version.manifest.signature.classes) == {"grades": 3, "minutes": 0}[spine]
    assert version.unblessed == []


@pytest.mark.slow  # test_text_project.py trains one
@pytest.mark.parametrize(("family", "method"), [("xgboost", "isotonic"), ("logistic", "sigmoid")])
def test_a_calibrated_model_is_served_like_any_other(context: TrainingContext, family: str, method: str) -> None:
    space = {**EVERY_FAMILY[family], "class_weight": "balanced", "calibration": method, "half_life_days": 60}
    project = context.project.model_copy(update={"metric": "brier"})
    got = train_project(replace(context, project=project), {"search": {family: space}, "trials": 1})
    assert got["outcome"] == "candidate", got["reason"]
    assert abs(got["metrics"]["calibration_bias"]) < 0.08
    version = context.metadata.models.get_version("toy", 1)
    assert (version.manifest.flavor, version.parameters["params.calibration"]) == ("sklearn", method)
    assert ("xgboost" in version.manifest.libraries) == (family == "xgboost")
    model = load_model(Path(version.path), version.manifest, version.digest)
    assert model.importances()["loads__load"] > model.importances()["loads__noise"]


def test_lineage_leads_from_the_package_to_the_training_set(next_context: TrainingContext) -> None:
    steps = {step.step: step for step in next_context.metadata.runs.get_run("run-1").steps}
    lineage = next_context.metadata.artifacts.lineage_of(steps["package"].outputs["package"])
    found = {artifact.digest for artifact in lineage.artifacts}
    assert {steps["extract"].outputs["frame"], steps["tune"].outputs["winner"]} <= found
