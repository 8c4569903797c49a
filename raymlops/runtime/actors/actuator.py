"""Carries the controller's decisions out on Ray, and shows it runs whose jobs died."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymlops.control.loop.observer import StoreObserver
from raymlops.control.rollout.decisions import PlanDecision, StartRetraining
from raymlops.control.rollout.evidence import Rescore
from raymlops.errors import NotFoundError
from raymlops.metadata import Metadata
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run
from raymlops.runtime.jobs.operators import RunOperator
from raymlops.runtime.jobs.run_jobs import JobRunner
from raymlops.runtime.serve.endpoint_client import EndpointClient
from raymlops.serving.models.model import Model, columns_of
from raymlops.serving.models.model_files import load_model

__all__ = ["ClusterObserver", "RayActuator", "Rescorer", "pipeline_finder"]


class RayActuator:
    """The controller's hands: runs as Ray Jobs, plans as swaps.

    Args:
        runs: Starts runs.
        endpoints: Brings endpoints to plans.
        pipeline_of: Model -> the pipeline that trains it, or ``None``.
        after_serve: Called once a plan is carried out.
    """

    def __init__(
        self,
        runs: RunOperator,
        endpoints: EndpointClient,
        pipeline_of: Callable[[str], str | None],
        after_serve: Callable[[], None],
    ) -> None:
        self._runs = runs
        self._endpoints = endpoints
        self._pipeline_of = pipeline_of
        self._after_serve = after_serve

    def start_run(self, decision: StartRetraining) -> None:
        pipeline = self._pipeline_of(decision.model)
        if pipeline is None:
            raise NotFoundError(f"no deployed bundle trains {decision.model!r}", model=decision.model)
        self._runs.start(
            pipeline, {"as_of": decision.at.isoformat()}, decision.reason, run_id=decision.run_id, timeout_s=None
        )

    def serve(self, plan: ServingPlan, decision: PlanDecision) -> None:
        del decision
        self._endpoints.carry_out(plan)
        self._after_serve()


class ClusterObserver(StoreObserver):
    """The store's observer, that also asks the job service about runs that look alive."""

    def __init__(self, *args: Any, jobs: JobRunner, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._jobs = jobs

    def runs(self, model: str) -> Sequence[Run]:
        return [self._jobs.reconcile(run) for run in super().runs(model)]


class Rescorer:
    """Scores logged inputs by a version that did not answer them. Keeps the few models of the trial under way.

    Args:
        metadata: Looks versions up.
    """

    _KEPT = 4

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._models: dict[tuple[str, int], Model] = {}

    def of(self, model: str) -> Rescore:
        """The scoring function of one model's versions."""

        def rescore(version: int, events: pa.Table) -> npt.NDArray[np.float64]:
            loaded = self._load(model, version)
            names = [column.name for column in loaded.signature.inputs]
            if not set(names) <= set(events.column_names):
                return np.full(events.num_rows, np.nan)  # it takes inputs that were not logged for the others
            inputs = events.select(names)
            outputs = loaded.predict(columns_of(inputs, loaded.signature))
            if "value" in outputs:
                return np.asarray(outputs["value"], dtype=np.float64)
            return np.asarray(outputs["probability"][:, 1], dtype=np.float64)

        return rescore

    def _load(self, model: str, version: int) -> Model:
        key = (model, version)
        if key not in self._models:
            found = self._metadata.get_version(model, version)
            if len(self._models) >= self._KEPT:
                self._models.pop(next(iter(self._models)))
            self._models[key] = load_model(Path(found.path), found.manifest, found.digest)
        return self._models[key]


def pipeline_finder(metadata: Metadata, environment: str) -> Callable[[str], str | None]:
    """Model -> name of the pipeline that trains it in an environment, by the newest deployment."""

    def find(model: str) -> str | None:
        for deployment in metadata.list_deployments(environment):
            project = metadata.get_bundle(deployment.bundle).project
            if project.model == model:
                return project.name
        return None

    return find
