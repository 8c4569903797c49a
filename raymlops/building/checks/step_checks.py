"""Checks of a project's pipeline: all its steps, on a small sample, into a home that is thrown away."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from raymlops.building.checks.finding import Finding, does_not_apply, failed, passed
from raymlops.building.checks.sample import Sample
from raymlops.clock import ManualClock
from raymlops.errors import RaymlopsError
from raymlops.experiments.searching.in_process import InProcessTuner
from raymlops.metadata import MetadataService
from raymlops.pipelines.artifacts import ArtifactRef
from raymlops.pipelines.dag import Pipeline
from raymlops.pipelines.runner import PipelineRunner
from raymlops.pipelines.step import Halt
from raymlops.records.bundles import ProjectSpec
from raymlops.records.learning.blessings import Blessing
from raymlops.records.learning.tasks import LearningTask
from raymlops.steps import TrainingContext, training_parameters, training_pipeline
from raymlops.steps.project.context import EVENT_TIME, spine_function
from raymlops.steps.training import step_parameters
from raymlops.steps.validation.compare import compare

__all__ = [
    "Tried",
    "answers_as_the_estimator",
    "compare_without_a_bar",
    "spec_search",
    "steps_fit_together",
    "try_pipeline",
    "yields",
]

_QUALITY: Mapping[str, Any] = {
    "min_rows": 1,
    "min_holdout_rows": 1,
    "max_missing_share": None,
    "max_missing_increase": None,
    "max_duplicate_share": None,
    "frozen_mode_share": None,
    "min_class_share": 0.0,
    "max_label_share_change": None,
    "max_staleness_days": None,
}
_BARS: Mapping[str, Any] = {
    "train_window_days": None,
    "label_maturity_days": 0.0,
    "knowledge_cutoff": False,
    "max_rows": None,
    "search_rows": None,
    "search_budget_s": None,
    "halving": None,
    "trials": 1,
    "sampler": "drawn",
    "concurrency": 1,
    "rule": "absolute",
    "slices": (),
    "slice_tolerance": None,
    "slice_max_loss_ratio": None,
    "max_calibration_error": None,
    "bootstrap_rounds": 100,
    "refit": False,
    "as_of": None,
}
"""How a pipeline runs on a small sample: no bar that asks for many rows, and no more work than one model takes."""
_MOST_ROUNDS = 60


@dataclass
class Tried:
    """What a pipeline came to on the sample.

    Attributes:
        pipeline: Its steps.
        result: What the run gave; empty where it raised.
        values: ``STEP.OUTPUT`` -> its value, of the steps that were done.
        error: What it raised.
    """

    pipeline: Pipeline
    result: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    error: Exception | None = None

    @property
    def done(self) -> list[str]:
        """Steps of which every declared output is there."""
        return [
            step.name
            for step in self.pipeline.order
            if all(f"{step.name}.{output}" in self.values for output in step.outputs)
        ]

    @property
    def frame(self) -> pa.Table | None:
        """The training rows, where the run came so far."""
        return self.values.get("extract.frame")

    @property
    def task(self) -> LearningTask | None:
        """What is learned."""
        found = self.values.get("extract.task")
        return None if found is None else LearningTask.model_validate(found)


def compare_without_a_bar(
    context: TrainingContext, *, evaluation: Mapping[str, Any], **given: Any
) -> Mapping[str, Any]:
    """The step ``compare`` as it is, whose verdict does not end the run: a small sample judges no model."""
    worst = dict.fromkeys(evaluation["baseline"], math.inf)
    lenient = {"baseline": worst, "baseline_train": worst, "fit": {**evaluation["fit"], "curve": []}}
    found = compare(context, evaluation={**evaluation, **lenient}, **given)
    if not isinstance(found, Halt):
        return {**found, "dossier": {**found["dossier"], "evaluation": evaluation}}
    reason = "a small sample judges no model"
    named = ("metrics", "champion_metrics", "comparison")
    dossier = {name: found.result[name] for name in named} | {"evaluation": evaluation, "checks": [], "reason": reason}
    return {"dossier": dossier, "blessing": Blessing(kind="evaluation", granted=True, subject="", reason=reason)}


def try_pipeline(sample: Sample, home: Path, pipeline: Pipeline | None = None) -> Tried:
    """Run a pipeline on the sample; by default the standard one of the project."""
    clock = ManualClock(sample.until + timedelta(hours=1))
    pipeline = _lenient(training_pipeline(sample.spec)) if pipeline is None else pipeline
    tried = Tried(pipeline)
    with closing(MetadataService(home / "metadata.db", clock=clock)) as metadata:
        context = TrainingContext(
            home=home,
            reader=sample.reader,
            metadata=metadata,
            tuner=InProcessTuner(),
            clock=clock,
            project=sample.spec,
            run_id="checks",
            work=home / "work",
            features=sample.root,
        )
        runner = PipelineRunner(home / "artifacts", metadata, clock)
        try:
            parameters = step_parameters(sample.spec, training_parameters(sample.spec, _overrides(sample)))
            done = runner.run(pipeline, parameters, run_id="checks", context=context, reason="checks")
            tried.result = done.result
        except Exception as error:  # whatever the project's own code raises is what is looked for
            tried.error = error
        tried.values = _values(runner, metadata, pipeline)
        context.clear_scratch()
    return tried


def yields(tried: Tried) -> Finding:
    """Each step that ran gave every output that it declares; the spine, every column."""
    told = _first_line(tried)
    if "must give" in told or "schema skew" in told or told.startswith("empty"):
        return failed(told, "return what is declared: the outputs of the step, the columns that project.yaml names")
    empty = [name for name, value in tried.values.items() if isinstance(value, pa.Table) and not value.num_rows]
    if empty:
        return failed(f"outputs {empty} have no rows", "look at the rows that the spine gives")
    if not tried.done:
        return does_not_apply(f"no step was done: {told}")
    return passed(f"{len(tried.done)} of {len(tried.pipeline.steps)} steps gave their {len(tried.values)} outputs")


def steps_fit_together(tried: Tried) -> Finding:
    """The run came to its end: to a registered version."""
    told = _first_line(tried)
    if tried.error is None and tried.result.get("outcome") == "candidate":
        rows = 0 if tried.frame is None else tried.frame.num_rows
        return passed(f"all {len(tried.pipeline.steps)} steps on {rows} rows, to a registered version")
    if tried.error is None and told.startswith("label: classes"):
        return does_not_apply(f"the sample is too small for the task: {told}")
    missing = [step.name for step in tried.pipeline.order if step.name not in tried.done]
    return failed(
        f"the run ended at step {missing[0] if missing else 'register'!r}: {told}", "mend what that step names"
    )


def answers_as_the_estimator(tried: Tried) -> Finding:
    """The packaged model, loaded by the serving code in a process of its own, answers as the estimator did."""
    dossier = tried.values.get("validate_infra.dossier")
    if dossier is not None:
        infra = dossier["infra"]
        return passed(f"{infra['rows']} rows answered as by the estimator, one in {infra['one_row_ms']:.1f} ms")
    if "package" in tried.done:
        return failed(_first_line(tried), "look at the estimator: what it answers must not depend on the process")
    return does_not_apply("no model was packaged, see steps_fit_together")


def _first_line(tried: Tried) -> str:
    if tried.error is None:
        return str(tried.result.get("reason", ""))
    kind = "" if isinstance(tried.error, RaymlopsError) else f"{type(tried.error).__name__}: "
    return " ".join(f"{kind}{tried.error}".split())


def _lenient(pipeline: Pipeline) -> Pipeline:
    steps = tuple(
        replace(step, function=compare_without_a_bar) if step.function is compare else step for step in pipeline.steps
    )
    return Pipeline(pipeline.name, steps, result=pipeline.result, libraries=pipeline.libraries)


def _overrides(sample: Sample) -> dict[str, Any]:
    """Parameters of the run: those of the project, without what asks for many rows or much time."""
    search = training_parameters(sample.spec, {}).search
    family, ranges = next(iter(search.items()))
    small = {name: value for name, value in ranges.items() if name not in {"window_days", "calibration"}}
    if "n_estimators" in small:
        small["n_estimators"] = _MOST_ROUNDS
    return {**_BARS, "search": {family: small}, "holdout_days": _holdout_days(sample), "quality": dict(_QUALITY)}


def _holdout_days(sample: Sample) -> float:
    """A quarter of the time that the sample's training rows lie in."""
    rows = spine_function(sample.spec.spine)(sample.reader, datetime(1970, 1, 2, tzinfo=UTC), sample.until)
    times = rows[EVENT_TIME].drop_null().to_pylist() if EVENT_TIME in rows.column_names else []
    if not times:  # the run's first step says what is wrong with the spine
        return 1.0
    span = max(times) - min(times)
    return max(float(span.total_seconds()) / 86_400 / 4, 1e-4)


def _values(runner: PipelineRunner, metadata: MetadataService, pipeline: Pipeline) -> dict[str, Any]:
    """The outputs that the run recorded, also of one that raised."""
    kinds = {f"{step.name}.{name}": kind for step in pipeline.steps for name, kind in step.outputs.items()}
    found: dict[str, Any] = {}
    for run in metadata.runs.list_runs(pipeline.name):
        for record in run.steps:
            for name, digest in record.outputs.items():
                if (key := f"{record.step}.{name}") in kinds and kinds[key] in {"json", "arrow"}:
                    found[key] = runner.value(ArtifactRef(digest=digest, kind=kinds[key]))
                elif key in kinds:
                    found[key] = digest
    return found


def spec_search(spec: ProjectSpec) -> Mapping[str, Mapping[str, Any]]:
    """The families that a project searches."""
    return training_parameters(spec, {}).search
