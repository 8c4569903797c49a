"""The standard training pipeline, put together for one project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raymlops.pipelines import Pipeline, PipelineResult, PipelineRunner, Step
from raymlops.records.bundles import ProjectSpec
from raymlops.steps.compare import compare
from raymlops.steps.context import TrainingContext
from raymlops.steps.evaluate import evaluate
from raymlops.steps.extract import extract, pin
from raymlops.steps.parameters import training_parameters
from raymlops.steps.register import register
from raymlops.steps.split import split
from raymlops.steps.train import refit_winner, train
from raymlops.steps.tune import tune
from raymlops.steps.validate_data import validate_data
from raymlops.steps.validate_infra import validate_infra

__all__ = ["train_project", "training_pipeline"]

_LIBRARIES = ("numpy", "polars", "pyarrow", "scikit-learn", "scipy", "xgboost")
_FRAME = {"frame": "extract.frame", "task": "extract.task"}
_PARTS = {**_FRAME, "parts": "split.parts"}
_INTERVALS = ("seed", "confidence", "bootstrap_rounds", "block_hours", "slices", "slice_min_rows")


def train_project(
    context: TrainingContext,
    parameters: Mapping[str, Any] | None = None,
    *,
    reason: str = "on-demand",
    resume_of: str | None = None,
) -> dict[str, Any]:
    """Run the training pipeline of the context's project, or resume the run of the context's id.

    Args:
        context: What the run touches.
        parameters: Override the project's own, see ``steps.parameters.TrainingParameters``.
        reason: Why it runs, for the record.
        resume_of: Id of a failed run to take over finished steps from.

    Returns:
        ``outcome`` (``candidate``, ``refused`` or ``blocked``), ``version``, ``reason``, ``metrics`` (on the holdout, of
        the model before it was refitted), ``champion_metrics``, ``comparison``, and more for a candidate. Besides what
        the run's record holds: ``trials`` (``number``, ``family``, ``origin``, ``params``, ``metrics``, ``status``,
        ``error``, ``seconds``) and ``steps`` (``step``, ``status``, ``reason``, ``seconds``; none of a run that had
        succeeded before).

    Raises:
        ConfigError: A parameter, the search space or the project's spine is wrong.
        NoViableModel: Every trial failed.
        RaymlopsError: What else a step raised; the run is then recorded as failed.
    """
    project = context.project
    values = training_parameters(project, parameters or {}).model_dump(mode="json")
    values["min_rows"] = values["quality"]["min_holdout_rows"]
    runner = PipelineRunner(context.home / "artifacts", context.metadata, context.clock)
    done = runner.run(
        training_pipeline(project),
        {**values, "project": project.model_dump(mode="json")},
        run_id=context.run_id,
        context=context,
        reason=reason,
        bundle=context.bundle,
        resume_of=resume_of,
    )
    return {**done.result, "trials": _trials(runner, done), "steps": [vars(step) for step in done.steps]}


def training_pipeline(project: ProjectSpec) -> Pipeline:
    """The steps, in reading order."""
    judged = {**_PARTS, "model": "train.model", "manifest": "train.manifest"}
    accepted = {"evaluation": "evaluate.evaluation", "comparison": "compare.comparison"}
    probed = {"probes": "train.probes", "model": "refit.model", "manifest": "refit.manifest", **accepted}
    steps = (
        Step("pin", pin, {"pin": "json"}, parameters=("as_of",), deterministic=False),
        Step(
            "extract",
            extract,
            {"frame": "arrow", "training_set": "json", "task": "json"},
            {"pin": "pin.pin"},
            ("project", "train_window_days", "holdout_days", "max_rows", "seed", "knowledge_cutoff"),
        ),
        Step(
            "validate_data",
            validate_data,
            {"report": "json"},
            {**_FRAME, "pin": "pin.pin"},
            ("project", "holdout_days", "quality"),
        ),
        Step(
            "split",
            split,
            {"parts": "json"},
            {**_FRAME, "report": "validate_data.report"},
            ("holdout_days", "validation_share"),
        ),
        Step(
            "tune",
            tune,
            {"trials": "json", "winner": "json"},
            {**_PARTS, "pin": "pin.pin"},
            ("search", "trials", "seed"),
        ),
        Step(
            "train",
            train,
            {"probes": "arrow", "model": "directory", "manifest": "json", "expected": "json"},
            {**_PARTS, "winner": "tune.winner"},
            ("seed",),
        ),
        Step("evaluate", evaluate, {"evaluation": "json", "scores": "arrow"}, judged, _INTERVALS),
        Step(
            "compare",
            compare,
            {"comparison": "json"},
            {**judged, "pin": "pin.pin", "evaluation": "evaluate.evaluation"},
            (*_INTERVALS, "slice_tolerance", "rule", "tolerance", "min_rows"),
        ),
        Step(
            "refit",
            refit_winner,
            {"model": "directory", "manifest": "json", "expected": "json", "refit": "json"},
            {**judged, "winner": "tune.winner", "probes": "train.probes", "expected": "train.expected", **accepted},
            ("seed", "refit"),
        ),
        Step(
            "validate_infra",
            validate_infra,
            {"infra": "json"},
            {**probed, "expected": "refit.expected"},
            ("infra_timeout_s",),
            deterministic=False,
        ),
        Step(
            "register",
            register,
            {"result": "json"},
            {
                **_PARTS,
                **accepted,
                "pin": "pin.pin",
                "training_set": "extract.training_set",
                "winner": "tune.winner",
                "refit": "refit.refit",
                "infra": "validate_infra.infra",
                "model": "refit.model",
                "manifest": "refit.manifest",
                "scores": "evaluate.scores",
            },
            ("seed", "monitor_window_days"),
            deterministic=False,
        ),
    )
    return Pipeline(project.name, steps, "register.result", _LIBRARIES)


def _trials(runner: PipelineRunner, done: PipelineResult) -> list[dict[str, Any]]:
    """The trials of a run that came as far as its search."""
    found = done.outputs.get("tune.trials")
    return [] if found is None else list(runner.value(found))
