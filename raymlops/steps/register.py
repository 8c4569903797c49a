"""Register the model: its files in place first, then its record."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from raymlops.errors import StorageError
from raymlops.pipelines.artifacts import content_digest
from raymlops.records.features import TrainingSetManifest
from raymlops.records.learning.blessings import Blessing
from raymlops.records.models import ModelVersion
from raymlops.records.record import sha256_of
from raymlops.scratch import sync
from raymlops.steps.outcome import outcome
from raymlops.steps.project.context import INPUTS, PARAMETER_PREFIX, TRAINED_UNTIL, TrainingContext
from raymlops.steps.validation.served import read_manifest

__all__ = ["register"]


def register(
    context: TrainingContext,
    *,
    package: Path,
    pin: Mapping[str, Any],
    training_set: Mapping[str, Any],
    dossier: Mapping[str, Any],
    project: Mapping[str, Any],
    **blessings: Mapping[str, Any],
) -> Mapping[str, Any]:
    """Make the package a version of the project's model; done again by the run, or one that resumes it, it is the same.

    The version carries the blessings, without all three of which the registry lets none be served that came out of a
    pipeline.

    Raises:
        StorageError: The files cannot be written.
    """
    manifest, made_of = read_manifest(package), TrainingSetManifest.model_validate(training_set)
    winner, fitted, evaluation = dossier["winner"], dossier["fitted"], dossier["evaluation"]
    draft = ModelVersion(
        name=context.project.model,
        version=0,
        path=str(_publish(package, context.home / "models" / context.project.model)),
        manifest=manifest,
        digest=sha256_of(manifest),
        metrics=_metrics(evaluation, project["metric"]),
        run_id=context.run_id,
        training_set=made_of.digest,
        table_versions=made_of.table_versions,
        environment=context.environment,
        bundle=context.bundle,
        parameters=_parameters(winner, fitted, pin),
        blessings=tuple(Blessing.model_validate(given) for given in blessings.values()),
        created_at=context.clock.now(),
    )
    version = context.metadata.models.register_version(draft, key=context.origin or context.run_id)
    return {
        "result": outcome(
            "candidate",
            dossier["reason"],
            dossier,
            version=version.version,
            train_metrics=evaluation["train"],
            baseline_metrics=evaluation["baseline"],
            family=winner["family"],
            fitted=fitted,
            infra=dossier["infra"],
            model_digest=version.digest,
            training_set=made_of.digest,
            blessings=[blessing.model_dump(mode="json") for blessing in version.blessings],
        )
    }


def _parameters(winner: Mapping[str, Any], fitted: Mapping[str, Any], pin: Mapping[str, Any]) -> dict[str, Any]:
    """What the version was fitted with and on."""
    return {
        "family": winner["family"],
        **{f"{PARAMETER_PREFIX}{name}": value for name, value in winner["params"].items()},
        "seed": winner["seed"],
        "refit": fitted["refit"],
        "train_rows": fitted["rows"],
        TRAINED_UNTIL: fitted["trained_until"],
        "holdout_from": fitted["holdout_from"],
        "as_of": pin["as_of"],
        "champion": pin["champion"],
        INPUTS: pin.get(INPUTS),
    }


def _metrics(evaluation: Mapping[str, Any], metric: str) -> dict[str, float]:
    """The holdout's metrics by their own names, then the metric's interval, the training rows' and the baseline's."""
    holdout = evaluation["holdout"]
    low, high = holdout["intervals"][metric]
    return {
        **holdout["metrics"],
        f"{metric}_low": low,
        f"{metric}_high": high,
        "holdout_rows": float(holdout["rows"]),
        **{f"train_{name}": value for name, value in evaluation["train"].items()},
        f"baseline_{metric}": evaluation["baseline"][metric],
    }


def _publish(package: Path, models: Path) -> Path:
    """Copy the package to where models are, whole or not at all, under its content's name."""
    place, aside = models / package.name[:16], models / f".{package.name[:16]}.{uuid4().hex}"
    try:
        models.mkdir(parents=True, exist_ok=True)
        if place.exists():
            os.utime(place)  # so that it is no garbage until it is registered
            if content_digest(place) == package.name:
                return place
            place.rename(aside.with_suffix(".broken"))
        shutil.copytree(package, aside)
        for path in [*aside.rglob("*"), aside]:
            sync(path)
        aside.rename(place)
        sync(models)
    except OSError as error:
        raise StorageError(f"model files {place}: {error}", path=str(place)) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return place
