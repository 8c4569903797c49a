"""Carries the controller's decisions out on Ray, and shows it runs whose jobs died."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymlops.control.endpoints.operator import EndpointOperator
from raymlops.control.loop.observer import StoreObserver
from raymlops.control.rollout.decisions import PlanDecision, StartRetraining
from raymlops.control.rollout.measuring.gathering import Rescore, Rescored
from raymlops.control.rollout.measuring.row_losses import given_to
from raymlops.errors import NotFoundError
from raymlops.flavors.protocol import Outputs
from raymlops.records.learning.labels import label_text
from raymlops.records.models import ModelRegistry
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run
from raymlops.runtime.jobs.operators import RunOperator
from raymlops.runtime.jobs.run_jobs import JobRunner
from raymlops.serving.answering.events import scores_of
from raymlops.serving.models.model import Model, columns_of
from raymlops.serving.models.model_files import load_model

__all__ = ["ClusterObserver", "RayActuator", "Rescorer"]


class RayActuator:
    """The controller's hands: runs as Ray Jobs, plans as swaps.

    Args:
        runs: Starts runs.
        operator: Gives what brings endpoints to plans.
        pipeline_of: Model -> the pipeline that trains it, or ``None``.
    """

    def __init__(
        self,
        runs: RunOperator,
        operator: Callable[[], EndpointOperator],
        pipeline_of: Callable[[str], str | None],
    ) -> None:
        self._runs = runs
        self._operator = operator
        self._pipeline_of = pipeline_of

    def start_run(self, decision: StartRetraining) -> None:
        pipeline = self._pipeline_of(decision.model)
        if pipeline is None:
            raise NotFoundError(f"no deployed bundle trains {decision.model!r}", model=decision.model)
        if decision.replaces is not None:
            self._runs.cancel(decision.replaces, f"replaced by run {decision.run_id}")
        self._runs.start(
            pipeline,
            parameters={"as_of": decision.at.isoformat()},
            reason=decision.reason,
            wait=False,
            run_id=decision.run_id,
        )

    def serve(self, plan: ServingPlan, decision: PlanDecision) -> None:
        del decision
        self._operator().carry_out(plan)


class ClusterObserver(StoreObserver):
    """The store's observer, that also asks the job service about runs that look alive."""

    def __init__(self, *args: Any, jobs: JobRunner, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._jobs = jobs

    def runs(self, model: str) -> Sequence[Run]:
        return [self._jobs.reconcile(run) for run in super().runs(model)]

    def find_run(self, run_id: str) -> Run | None:
        found = super().find_run(run_id)
        return None if found is None else self._jobs.reconcile(found)


class Rescorer:
    """Scores logged inputs by a version that did not answer them. Keeps the few models of the trial under way.

    Args:
        registry: Looks versions up.
    """

    _KEPT = 4

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._models: dict[tuple[str, int], Model] = {}

    def of(self, model: str) -> Rescore:
        """The scoring function of one model's versions."""

        def rescore(version: int, events: pa.Table) -> Rescored:
            outputs = self.outputs(model, version, events)
            if outputs is None:
                return Rescored(np.full(events.num_rows, np.nan))
            if "label" not in outputs:
                return Rescored(scores_of(outputs))
            names = [label_text(label) for label in outputs["label"].tolist()]
            if "probability" not in outputs or "label" not in events.column_names:
                return Rescored(scores_of(outputs), names)
            classes = self._load(model, version).signature.classes
            return Rescored(scores_of(outputs), names, given_to(events["label"], outputs["probability"], classes))

        return rescore

    def scores(self, model: str, version: int, events: pa.Table) -> npt.NDArray[np.float64]:
        """The ``score`` that a version would have given to events; NaN where it takes inputs that were not logged."""
        outputs = self.outputs(model, version, events)
        return np.full(events.num_rows, np.nan) if outputs is None else scores_of(outputs)

    def outputs(self, model: str, version: int, events: pa.Table) -> Outputs | None:
        """Answers that a version would have given to events; ``None`` where it needs inputs that were not logged."""
        loaded = self._load(model, version)
        names = [column.name for column in loaded.signature.inputs]
        if not set(names) <= set(events.column_names):
            return None  # it takes inputs that were not logged for the others
        return loaded.predict(columns_of(events.select(names), loaded.signature))

    def _load(self, model: str, version: int) -> Model:
        key = (model, version)
        if key not in self._models:
            found = self._registry.get_version(model, version)
            if len(self._models) >= self._KEPT:
                self._models.pop(next(iter(self._models)))
            self._models[key] = load_model(Path(found.path), found.manifest, found.digest)
        return self._models[key]
