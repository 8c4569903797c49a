"""Search: sample trials, have them run, select."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.errors import ConfigError, DataError, TrainingError
from raymlops.experiments import estimators
from raymlops.experiments.fitting import fit_candidate
from raymlops.experiments.searching.halving import HalvingRule
from raymlops.experiments.searching.search import Budgeted, Drawn, Journaled, Search, forget_old, rows_digest
from raymlops.experiments.searching.search_space import SearchSpace
from raymlops.experiments.searching.selection import select
from raymlops.experiments.searching.tpe import TpeSearch
from raymlops.experiments.task import target
from raymlops.experiments.trial import ParameterValue, TrialResult, TrialSpec
from raymlops.flavors import families, flavor_of
from raymlops.records.learning.tasks import LearningTask
from raymlops.records.models import ModelVersion
from raymlops.records.record import Record, sha256_of
from raymlops.steps.project.context import INPUTS, PARAMETER_PREFIX, TrainingContext
from raymlops.steps.split import Parts

__all__ = ["SearchPlan", "trial_values", "tune"]

_REHEARSAL_ROWS = 300
_FORGOTTEN_S = 30 * 86_400.0
_NOT_REHEARSED = {"early_stopping_rounds", "window_days", "calibration"}
"""What a few rows say nothing about."""

Warm = list[tuple[str, dict[str, ParameterValue]]]
"""(family, parameters) to try first."""


class SearchPlan(Record):
    """How a space is searched; see ``steps.project.parameters.TrainingParameters``."""

    sampler: str = "drawn"
    trials: int
    seed: int
    search_rows: int | None = None
    concurrency: int | None = None
    search_budget_s: float | None = None
    halving: HalvingRule | None = None


def tune(
    context: TrainingContext,
    *,
    frame: pa.Table,
    parts: Mapping[str, Any],
    pin: Mapping[str, Any],
    search: Mapping[str, Mapping[str, Any]],
    searching: Mapping[str, Any],
) -> Mapping[str, Any]:
    """Find the family and parameters that do best on the validation rows.

    The champion's own are always tried: what it knows is not to be lost by a search that is not lucky. The others are
    drawn by the seed and the instant, so that each run of a loop tries new ones, and the same ones when it is replayed.
    A search that was killed goes on after the trials that had ended.

    Raises:
        ConfigError: A trial has parameters that its family does not have, or an estimator could not be packaged.
        NoViableModel: Every trial failed.
    """
    known, plan = Parts.model_validate(parts), SearchPlan.model_validate(searching)
    warm: Warm = []
    if pin["champion"] is not None:
        warm = _parameters(context.metadata.models.get_version(context.project.model, pin["champion"]), search)
    rows, valid = _sampled(known.train(frame), plan.search_rows, plan.seed), known.valid(frame)
    space, draw = SearchSpace(search), int(sha256_of(pin["as_of"])[:8], 16)
    _rehearse(space, plan, rows, known.task)
    asked = _search(space, plan, draw, warm, known.task)
    made_of = {"rows": rows_digest(rows, valid), "code": pin.get(INPUTS), "task": known.task}
    about = sha256_of({**made_of, "search": search, "plan": plan})
    journals = context.home / "searches"
    forget_old(journals, _FORGOTTEN_S)
    trials = Journaled(asked, journals / f"{about[:32]}.jsonl")
    context.tuner.search(
        trials if plan.search_budget_s is None else Budgeted(trials, plan.search_budget_s),
        rows,
        valid,
        task=known.task,
        name=f"{context.project.name}-{context.run_id}",
        concurrency=plan.concurrency,
        halving=plan.halving,
    )
    results = [trials.results[number] for number in sorted(trials.results)]
    best = select(results, known.task)
    trials.close()
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


def _search(space: SearchSpace, plan: SearchPlan, draw: int, warm: Warm, task: LearningTask) -> Search:
    """The trials, in the order in which they are tried.

    Raises:
        ConfigError: A grid has more points than trials are allowed.
    """
    if plan.sampler == "tpe":
        return TpeSearch(space, metric=task.metric, seed=plan.seed, n=plan.trials, draw=draw, warm=warm)
    if plan.sampler == "drawn":
        specs = space.sample(plan.seed, plan.trials, draw=draw, warm=warm)
    else:
        specs = space.grid(plan.seed, warm=warm)
        if len(specs) - len(warm) > plan.trials:
            raise ConfigError(f"the grid has {len(specs) - len(warm)} points, trials allows {plan.trials}")
    for spec in specs:
        estimators.build(spec.family, spec.params, seed=spec.seed, task=task)
    return Drawn(specs)


def _rehearse(space: SearchSpace, plan: SearchPlan, rows: pa.Table, task: LearningTask) -> None:
    """Fit each of the project's own estimators on a few rows and package it, before hours are spent on it.

    Raises:
        ConfigError: It cannot be built, fitted or packaged: among others, it holds types that are not trusted.
    """
    few = _few(rows, task)
    for family in (family for family in space.families if family not in families()):
        spec = SearchSpace({family: space.families[family]}).sample(plan.seed, 1)[0]
        params = {name: value for name, value in spec.params.items() if name not in _NOT_REHEARSED}
        try:
            fitted = fit_candidate(family, params, seed=spec.seed, rows=few, task=task)
            flavor = flavor_of(fitted.estimator)
            flavor.describe(fitted.estimator, task.inputs)
            flavor.dump(fitted.estimator)
        except (DataError, TrainingError, TypeError, ValueError) as error:
            raise ConfigError(f"family {family!r} cannot be trained and packaged: {error}", family=family) from error


def _few(rows: pa.Table, task: LearningTask) -> pa.Table:
    """Some rows from all over the table, and some of every class."""
    places = np.linspace(0, rows.num_rows - 1, min(rows.num_rows, _REHEARSAL_ROWS)).astype(np.int64)
    if task.kind == "classifier":
        labels = target(rows, task)
        places = np.union1d(places, np.concatenate([np.flatnonzero(labels == n)[:10] for n in range(task.classes)]))
    return rows.take(pa.array(places))


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
        "status": "failed" if result.error else "succeeded" if result.stopped_at is None else "stopped",
        "error": result.error,
        "seconds": result.seconds,
    }


def _parameters(version: ModelVersion, search: Mapping[str, Mapping[str, Any]]) -> Warm:
    """Family and parameters of a version, if it came out of a search; one registered by hand tells none.

    A project's own estimator is tried again only where the project still has it in its space.
    """
    family = version.parameters.get("family")
    if not isinstance(family, str) or (family not in families() and family not in search):
        return []
    start = len(PARAMETER_PREFIX)
    return [(family, {n[start:]: v for n, v in version.parameters.items() if n.startswith(PARAMETER_PREFIX)})]
