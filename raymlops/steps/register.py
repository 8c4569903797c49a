"""Register the model: its files and its reference on disk first, then its record."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa

from raymlops.clock import from_us
from raymlops.errors import StorageError
from raymlops.experiments import LearningTask
from raymlops.experiments.task import numeric
from raymlops.monitoring.profile import REFERENCE_FILE, SCORE_COLUMN, Reference
from raymlops.pipelines.artifacts import sync
from raymlops.records.features import TrainingSetManifest
from raymlops.records.models import ModelManifest, ModelVersion
from raymlops.records.record import sha256_of
from raymlops.steps.compare import TRAINED_UNTIL
from raymlops.steps.context import EVENT_TIME, TrainingContext
from raymlops.steps.outcome import outcome
from raymlops.steps.split import Parts, event_times_us
from raymlops.steps.tune import PARAMETER_PREFIX

__all__ = ["reference_of", "register"]


def register(
    context: TrainingContext,
    *,
    frame: pa.Table,
    parts: Mapping[str, int],
    task: Mapping[str, Any],
    pin: Mapping[str, Any],
    training_set: Mapping[str, Any],
    winner: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    comparison: Mapping[str, Any],
    refit: Mapping[str, Any],
    infra: Mapping[str, Any],
    model: Path,
    manifest: Mapping[str, Any],
    scores: pa.Table,
    seed: int,
    monitor_window_days: float | None,
) -> Mapping[str, Any]:
    """Make the model a version of the project's model; done twice in one run, it is the same version.

    Raises:
        StorageError: The files cannot be written.
    """
    learned, places = LearningTask.model_validate(task), Parts(**parts)
    known, made_of = ModelManifest.model_validate(manifest), TrainingSetManifest.model_validate(training_set)
    rows = frame if refit["refit"] else places.before_holdout(frame)
    window = None if monitor_window_days is None else timedelta(days=monitor_window_days)
    reference = reference_of(rows, learned.inputs, scores, places.holdout, window)
    models = context.home / "models" / context.project.model
    directory = _publish(models, model, sha256_of(known), reference.dumps())
    times = event_times_us(frame)
    draft = ModelVersion(
        name=context.project.model,
        version=0,
        path=str(directory),
        manifest=known,
        digest=sha256_of(known),
        metrics=_metrics(evaluation, learned),
        run_id=context.run_id,
        training_set=made_of.digest,
        table_versions=made_of.table_versions,
        bundle=context.bundle,
        parameters={
            "family": winner["family"],
            **{f"{PARAMETER_PREFIX}{name}": value for name, value in winner["params"].items()},
            "seed": seed,
            "refit": refit["refit"],
            "train_rows": rows.num_rows,
            TRAINED_UNTIL: from_us(int(times[rows.num_rows - 1])).isoformat(),
            "holdout_from": from_us(int(times[places.holdout])).isoformat(),
            "as_of": pin["as_of"],
            "champion": pin["champion"],
        },
        created_at=context.clock.now(),
    )
    version = context.metadata.register_version(draft, key=context.run_id)
    return {
        "result": outcome(
            "candidate",
            comparison["reason"],
            version=version.version,
            metrics=evaluation["holdout"]["metrics"],
            champion_metrics=comparison["champion_metrics"],
            comparison=comparison["comparison"],
            train_metrics=evaluation["train"],
            baseline_metrics=evaluation["baseline"],
            refit=dict(refit),
            infra=dict(infra),
            family=winner["family"],
            model_digest=version.digest,
            training_set=made_of.digest,
        )
    }


def reference_of(
    rows: pa.Table, inputs: tuple[str, ...], scores: pa.Table, holdout: int, window: timedelta | None
) -> Reference:
    """What the model's inputs and its own predictions look like.

    Only for the holdout are there predictions for rows that the model had not seen, and others would look surer than
    what is to come. They are repeated backwards over the older rows, which keeps their distribution and their order.

    Args:
        rows: What the model was fitted on, in order of time.
        inputs: Its inputs.
        scores: Predictions for the holdout, in column ``score``.
        holdout: Place of the holdout's first row, were it in ``rows``.
        window: Length of the windows that will be compared.
    """
    columns = {name: pa.array(numeric(rows[name], name), from_pandas=True) for name in inputs}
    known = scores["score"].to_numpy()
    columns[SCORE_COLUMN] = pa.array(known[(np.arange(rows.num_rows) - holdout) % len(known)])
    columns[EVENT_TIME] = rows[EVENT_TIME]
    return Reference.fit(pa.table(columns), event_time=EVENT_TIME, window=window)


def _metrics(evaluation: Mapping[str, Any], task: LearningTask) -> dict[str, float]:
    """The holdout's metrics by their names, then the others by prefix and the metric's interval."""
    holdout = evaluation["holdout"]
    low, high = holdout["intervals"][task.metric]
    return {
        **holdout["metrics"],
        f"{task.metric}_low": low,
        f"{task.metric}_high": high,
        "holdout_rows": float(holdout["rows"]),
        **{f"train_{name}": value for name, value in evaluation["train"].items()},
        f"baseline_{task.metric}": evaluation["baseline"][task.metric],
    }


def _publish(models: Path, model: Path, digest: str, reference: bytes) -> Path:
    """Put files and reference in place, whole or not at all, under a name that their content gives."""
    name = sha256_of({"model": digest, "reference": sha256_of(reference)})[:16]
    place, aside = models / name, models / f".{name}.{uuid4().hex}"
    try:
        models.mkdir(parents=True, exist_ok=True)
        if place.exists():
            return place
        shutil.copytree(model, aside)
        (aside / REFERENCE_FILE).write_bytes(reference)
        for path in [*(p for p in aside.rglob("*") if p.is_file()), aside]:
            sync(path)
        aside.rename(place)
        sync(models)
    except OSError as error:
        raise StorageError(f"model files {place}: {error}", path=str(place)) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return place
