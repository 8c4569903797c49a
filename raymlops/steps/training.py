"""The standard training pipeline, put together for one project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from pydantic import BaseModel

from raymlops.pipelines.artifacts import ArtifactKind
from raymlops.pipelines.dag import Pipeline
from raymlops.pipelines.run_log import origin_of
from raymlops.pipelines.runner import PipelineResult, PipelineRunner
from raymlops.pipelines.step import Step
from raymlops.records.bundles import ProjectSpec
from raymlops.records.names import check_name
from raymlops.records.record import sha256_of
from raymlops.steps.extract import LIBRARIES, extract, pin
from raymlops.steps.model_card.card import card
from raymlops.steps.package import package
from raymlops.steps.project.context import TrainingContext
from raymlops.steps.project.parameters import TrainingParameters, training_parameters
from raymlops.steps.register import register
from raymlops.steps.split import Window, split
from raymlops.steps.train import refit_winner, train
from raymlops.steps.tune import SearchPlan, tune
from raymlops.steps.validation.compare import Gate, compare
from raymlops.steps.validation.evaluate import Judging, evaluate
from raymlops.steps.validation.validate_data import validate_data
from raymlops.steps.validation.validate_infra import validate_infra

__all__ = ["step_parameters", "train_project", "training_pipeline"]

_FRAME = {"frame": "extract.frame", "task": "extract.task"}
_PARTS = {"frame": "extract.frame", "parts": "split.parts"}
_PIN = {"pin": "pin.pin"}
_TRAINING_SET = {"training_set": "extract.training_set"}
_BLESSINGS = {
    "data": "validate_data.blessing",
    "quality": "compare.blessing",
    "infrastructure": "validate_infra.blessing",
}


def train_project(
    context: TrainingContext,
    parameters: Mapping[str, Any] | None = None,
    *,
    reason: str = "on-demand",
    resume_of: str | None = None,
    deadline_s: float | None = None,
) -> dict[str, Any]:
    """Run the training pipeline of the context's project, or resume the run of the context's id.

    Args:
        context: What the run touches.
        parameters: Override the project's own, see ``steps.project.parameters.TrainingParameters``.
        reason: Why it runs, for the record.
        resume_of: Id of a failed run to take over finished steps from.
        deadline_s: How long the steps may take together.

    Returns:
        ``outcome`` (``candidate``, ``refused``, ``blocked``, ``skipped``), ``version``, ``reason``, ``metrics`` (on the
        holdout; of the model before the refit), ``champion_metrics``, ``comparison``, and more for a candidate.
        Besides what is in the run's record: ``trials`` (``number``, ``family``, ``origin``, ``params``, ``metrics``,
        ``status``, ``error``, ``seconds``) and ``steps`` (``step``, ``status``, ``reason``, ``seconds``; none where
        the run had succeeded before).

    Raises:
        ConfigError: A parameter, the search space or the project's spine is wrong.
        NoViableModel: Every trial failed.
        RaymlopsError: What else a step raised; the run is then recorded as failed.
    """
    project = context.project
    check_name("model", project.model)
    runner = PipelineRunner(context.home / "artifacts", context.metadata, context.clock, logs=context.home / "runs")
    pipeline = training_pipeline(project)
    try:
        done = runner.run(
            pipeline,
            step_parameters(project, training_parameters(project, parameters or {})),
            run_id=context.run_id,
            context=replace(context, origin=origin_of(context.metadata, resume_of)),
            reason=reason,
            bundle=context.bundle,
            resume_of=resume_of,
            deadline_s=deadline_s,
        )
    finally:
        context.clear_scratch()
    return {**done.result, "trials": _trials(runner, done), "steps": [asdict(step) for step in done.steps]}


def training_pipeline(project: ProjectSpec) -> Pipeline:
    """The steps, in reading order."""
    steps = (*_data_steps(), *_model_steps(), *_release_steps())
    return Pipeline(project.name, steps, result="register.result", libraries=LIBRARIES)


def _data_steps() -> tuple[Step, ...]:
    """From the feature store to rows that are fit to be trained on."""
    extracted: dict[str, ArtifactKind] = {"frame": "arrow", "training_set": "json", "task": "json"}
    return (
        Step("pin", pin, {"pin": "json"}, {}, ("as_of", "search", "asked", "skip_unchanged"), deterministic=False),
        Step("extract", extract, extracted, _PIN, ("project", "window")),
        Step(
            "validate_data",
            validate_data,
            {"report": "json", "blessing": "json"},
            {**_FRAME, **_PIN, **_TRAINING_SET},
            ("project", "window", "quality"),
        ),
        Step("split", split, {"parts": "json"}, {**_FRAME, "report": "validate_data.report"}, ("window",)),
    )


def _model_steps() -> tuple[Step, ...]:
    """From there to a model that has been compared with the champion."""
    trained: dict[str, ArtifactKind] = {"model": "directory", "probes": "arrow", "fit": "json"}
    judged = {**_PARTS, "model": "train.model", "fit": "train.fit"}
    compared = {
        **_PARTS,
        **_PIN,
        "model": "train.model",
        "evaluation": "evaluate.evaluation",
    }
    verdict: dict[str, ArtifactKind] = {"dossier": "json", "blessing": "json"}
    return (
        Step(
            "tune",
            tune,
            {"trials": "json", "winner": "json"},
            {**_PARTS, **_PIN},
            ("search", "searching"),
        ),
        Step("train", train, trained, {**_PARTS, "winner": "tune.winner"}),
        Step("evaluate", evaluate, {"evaluation": "json", "scores": "arrow"}, judged, ("judging",)),
        Step("compare", compare, verdict, compared, ("judging", "gate")),
    )


def _release_steps() -> tuple[Step, ...]:
    """From there to a registered version that can be served."""
    accepted = {"model": "train.model", "probes": "train.probes", "winner": "tune.winner", "dossier": "compare.dossier"}
    refitted: dict[str, ArtifactKind] = {"model": "directory", "probes": "arrow", "dossier": "json"}
    packed = {"model": "refit.model", "dossier": "refit.dossier", "scores": "evaluate.scores"}
    probed = {"package": "package.package", "probes": "refit.probes", "dossier": "refit.dossier"}
    proven = {**_PIN, **_TRAINING_SET, "package": "package.package", "dossier": "validate_infra.dossier", **_BLESSINGS}
    tried: dict[str, ArtifactKind] = {"dossier": "json", "blessing": "json"}
    described: dict[str, ArtifactKind] = {"card": "json", "page": "bytes"}
    known = {"report": "validate_data.report", "trials": "tune.trials", "scores": "evaluate.scores"}
    return (
        Step("refit", refit_winner, refitted, {**_PARTS, **accepted}, ("refit",)),
        Step("package", package, {"package": "directory"}, {**_PARTS, **packed}, ("monitor_window_days",)),
        Step("validate_infra", validate_infra, tried, probed, ("infra_timeout_s",), deterministic=False),
        Step("card", card, described, {**proven, **known}, deterministic=False),
        Step("register", register, {"result": "json"}, proven, ("project",), deterministic=False),
    )


def step_parameters(project: ProjectSpec, values: TrainingParameters) -> dict[str, Any]:
    """What the steps take, grouped so that a change touches the cache of those alone that it concerns."""
    given, project = values.model_dump(mode="json"), project.model_copy(update={"policy": None})
    own = ("as_of", "search", "skip_unchanged", "refit", "monitor_window_days", "infra_timeout_s", "quality")
    judging = Judging(
        rounds=values.bootstrap_rounds,
        confidence=values.confidence,
        block_hours=values.block_hours,
        seed=values.seed,
        slices=values.slices,
        slice_min_rows=values.slice_min_rows,
    )
    gate = Gate(
        rule=values.rule,
        tolerance=values.tolerance,
        slice_tolerance=values.slice_tolerance,
        min_rows=values.quality.min_holdout_rows,
        slice_max_loss_ratio=values.slice_max_loss_ratio,
        max_calibration_error=values.max_calibration_error,
    )
    window = {name: given[name] for name in Window.model_fields}
    searching = {name: given[name] for name in SearchPlan.model_fields}
    groups = {"project": project, "window": window, "judging": judging, "gate": gate, "searching": searching}
    jsonable = {name: g.model_dump(mode="json") if isinstance(g, BaseModel) else g for name, g in groups.items()}
    asked = sha256_of({"project": project, "parameters": {**given, "as_of": None, "skip_unchanged": None}})
    return {**{name: given[name] for name in own}, **jsonable, "asked": asked}


def _trials(runner: PipelineRunner, done: PipelineResult) -> list[dict[str, Any]]:
    """The trials of a run that came as far as its search."""
    found = done.outputs.get("tune.trials")
    return [] if found is None else list(runner.value(found))
