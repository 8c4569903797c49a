"""Search: sample trials, have them run, select."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.experiments import SearchSpace, TrialResult, TrialSpec, estimators, select
from raymlops.experiments.trial import ParameterValue
from raymlops.records.models import ModelVersion
from raymlops.records.record import sha256_of
from raymlops.steps.context import TrainingContext
from raymlops.steps.split import Parts

__all__ = ["PARAMETER_PREFIX", "trial_values", "tune"]

PARAMETER_PREFIX = "params."
"""Under which a model version keeps the parameters of its estimator; ``family`` is kept beside them."""


def tune(
    context: TrainingContext,
    *,
    frame: pa.Table,
    parts: Mapping[str, Any],
    pin: Mapping[str, Any],
    search: Mapping[str, Mapping[str, Any]],
    trials: int,
    seed: int,
    search_rows: int | None = None,
) -> Mapping[str, Any]:
    """Find the family and parameters that do best on the validation rows.

    The champion's own are always tried: what it knows is not to be lost by a search that is not lucky. The others are
    drawn by the seed and the instant, so that each run of a loop tries new ones, and the same ones when it is replayed.

    Raises:
        ConfigError: A trial has parameters that its family does not have.
        NoViableModel: Every trial failed.
    """
    known = Parts.model_validate(parts)
    warm = []
    if pin["champion"] is not None:
        warm = _parameters(context.metadata.get_version(context.project.model, pin["champion"]))
    draw = int(sha256_of(pin["as_of"])[:8], 16)
    specs = SearchSpace(search).sample(seed, trials, draw=draw, warm=warm)
    for spec in specs:
        estimators.build(spec.family, spec.params, seed=spec.seed, task=known.task)
    name = f"{context.project.name}-{context.run_id}"
    rows = _sampled(known.train(frame), search_rows, seed)
    results = context.tuner.search(specs, rows, known.valid(frame), task=known.task, name=name)
    best = select(results, known.task)
    return {
        "trials": [trial_values(result) for result in results],
        "winner": {
            "trial": best.spec.number,
            "origin": best.spec.origin,
            "family": best.spec.family,
            "params": best.fitted_params,
            "seed": best.spec.seed,
            "metrics": best.metrics,
        },
    }


def _sampled(rows: pa.Table, most: int | None, seed: int) -> pa.Table:
    """At most ``most`` of the rows, in their order: what orders trials well need not be all there is to learn from."""
    if most is None or rows.num_rows <= most:
        return rows
    return rows.take(np.sort(np.random.default_rng(seed).choice(rows.num_rows, size=most, replace=False)))


def trial_values(result: TrialResult) -> dict[str, Any]:
    """A trial as JSON values."""
    spec: TrialSpec = result.spec
    return {
        "number": spec.number,
        "family": spec.family,
        "origin": spec.origin,
        "params": {"family": spec.family, **result.fitted_params},
        "metrics": result.metrics,
        "status": "failed" if result.error else "succeeded",
        "error": result.error,
        "seconds": result.seconds,
    }


def _parameters(version: ModelVersion) -> list[tuple[str, dict[str, ParameterValue]]]:
    """Family and parameters of a version, if it came out of a search; one registered by hand tells none."""
    family = version.parameters.get("family")
    if not isinstance(family, str) or family not in estimators.FAMILIES:
        return []
    start = len(PARAMETER_PREFIX)
    return [(family, {n[start:]: v for n, v in version.parameters.items() if n.startswith(PARAMETER_PREFIX)})]
