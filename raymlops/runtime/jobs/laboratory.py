"""The laboratory on a platform: a served model's own record, fitted and scored by tasks that give way to serving."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import ray

from raymlops.errors import UnavailableError
from raymlops.laboratory.building import Mapper, ModelLosses, build_matrix, fit_model
from raymlops.laboratory.intake.table import PreparedTable, prepare
from raymlops.laboratory.loss_matrix import LossMatrix
from raymlops.laboratory.probes.recorded import EVENT_TIME, KNOWN, LABEL, recorded_table
from raymlops.laboratory.recipe import Recipe
from raymlops.metadata import Metadata
from raymlops.monitoring.events.event_tables import DeltaEventTables
from raymlops.monitoring.events.recorded import EVENTS, LABELS
from raymlops.runtime.cluster.clients import task_result
from raymlops.runtime.cluster.niceness import TRAINING_NICENESS, behind_answers, give_way
from raymlops.runtime.cluster.progress import progress
from raymlops.steps.recipes import recipe_of

__all__ = ["build_recorded", "fit_on_ray", "recipe_of"]


def build_recorded(
    model: str, metadata: Metadata, home: Path, *, window: timedelta, timeout_s: float = 3600.0
) -> LossMatrix:
    """The matrix of a served model, from what it recorded: its inputs, its labels, and the champion's recipe.

    It is kept as ``laboratory/MODEL.arrow`` in the home.

    Args:
        model: Name of the model.
        metadata: Says which version is champion.
        home: Of the platform.
        window: Length of a window.
        timeout_s: Deadline of the fits, waiting for free CPUs included.

    Raises:
        NotFoundError: The model is not deployed.
        NotEnoughRows: Too little was recorded.
        UnavailableError: A fit did not come back before the deadline.
    """
    champion = metadata.models.get_version(model, metadata.plans.get_plan(model).champion)
    signature = champion.manifest.signature
    tables = DeltaEventTables(home / "monitor")
    events = tables.read(f"predictions/{model}", None, None, "served_at")
    labels = tables.read(f"labels/{model}", None, None, "event_time")
    table = recorded_table(
        events if events.num_columns else EVENTS.empty_table(),
        labels if labels.num_columns else LABELS.empty_table(),
        [column.name for column in signature.inputs],
        regression=signature.task == "regressor",
    )
    prepared = prepare(table, label=LABEL, event_time=EVENT_TIME, label_time=KNOWN, window=window)
    matrix = build_matrix(prepared, first=prepared.first, recipe=recipe_of(champion), mapper=fit_on_ray(timeout_s))
    matrix.save(home / "laboratory" / f"{model}.arrow")
    return matrix


def fit_on_ray(timeout_s: float) -> Mapper:
    """Fits as tasks on the cluster this process is attached to; each takes a CPU, at training's priority.

    Args:
        timeout_s: Deadline of all of them together.
    """

    def run(table: PreparedTable, models: Iterable[int], recipe: Recipe, drift: bool) -> Iterator[ModelLosses]:
        task = ray.remote(_fit).options(num_cpus=1, max_retries=2, runtime_env=behind_answers(TRAINING_NICENESS))
        place, deadline = ray.put(table), time.monotonic() + timeout_s
        waiting = [task.remote(place, model, recipe, drift) for model in models]
        total = len(waiting)
        try:
            with progress("fits of the laboratory", total) as tell:
                while waiting:
                    done, waiting = ray.wait(waiting, timeout=max(0.0, deadline - time.monotonic()))
                    if not done:
                        raise UnavailableError(f"{len(waiting)} fits of the laboratory did not end in {timeout_s:g} s")
                    found: ModelLosses = task_result(done[0], "a fit of the laboratory")
                    tell(total - len(waiting), "")
                    yield found
        finally:
            for each in waiting:
                ray.cancel(each, force=True)

    return run


def _fit(table: PreparedTable, model: int, recipe: Recipe, drift: bool) -> ModelLosses:
    give_way()
    return fit_model(table, model, recipe, drift=drift)
