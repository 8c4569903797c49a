"""Operators of runs and models, on the stores and the cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from raymlops import runtime, steps
from raymlops.clock import Clock
from raymlops.config.platform import PlatformConfig
from raymlops.delivery.verify import read_sources
from raymlops.errors import ConfigError, NotFoundError
from raymlops.features import TrainingSet
from raymlops.flavors.python_model import PythonModel
from raymlops.metadata import Metadata
from raymlops.monitoring import REFERENCE_FILE, Reference
from raymlops.pipelines.outlook import resume_outlook
from raymlops.pipelines.step_log import StepLogs
from raymlops.records.delivering.environments import environment_of_run, project_of_run
from raymlops.records.models import ModelManifest, ModelVersion
from raymlops.records.names import check_case, check_digest, check_name
from raymlops.records.record import sha256_of
from raymlops.records.runs import Run, RunStatus, StrayJob
from raymlops.records.shown import Listed
from raymlops.runtime.cluster.names import RECONCILER
from raymlops.runtime.cluster.people import acting_user
from raymlops.runtime.cluster.progress import progress
from raymlops.runtime.explain.model_cards import model_card
from raymlops.serving.models.model_files import load_model, save_model
from raymlops.tables.columns import as_table

if TYPE_CHECKING:
    from raymlops.runtime.jobs.run_jobs import JobRunner

__all__ = ["ModelOperator", "RunOperator"]

_LOG = logging.getLogger(__name__)
_STATUS_S = 15.0
"""How long the reconciler may take to tell what it has found."""
_REFERENCE_ROWS = 100
"""An example of so many rows is taken for what the model was fitted on; fewer could not tell a shift from chance."""


class ModelOperator:
    """Registers models that were fitted elsewhere, and checks those that are registered.

    Args:
        home: The platform's.
        metadata: Versions and the ledger.
        clock: Dates the versions.
        environment: Whose features the models were fitted on; ``None``: those of the platform's own.
    """

    def __init__(self, home: Path, metadata: Metadata, clock: Clock, environment: str | None = None) -> None:
        self._where = {} if environment is None else {"environment": environment}
        self._home = home
        self._metadata = metadata
        self._clock = clock

    def register(
        self,
        name: str,
        estimator: object,
        example: Any,
        metrics: dict[str, float],
        training_set: TrainingSet | None,
        *,
        reference_rows: pa.Table | None = None,
        table_versions: Mapping[str, int] | None = None,
    ) -> ModelVersion:
        """Package, then register; the same model with the same metrics and training set is the same version.

        A model that was not made from a training set may bring rows for its drift reference, and the versions of the
        tables it was made from; one that brings none is watched against its example, where that has rows enough.

        Raises:
            ConfigError: The model has no proper name.
            AlreadyRegistered: The name differs from that of another model by case alone.
            NotFoundError: There is no such bundle.
        """
        check_name("model", name)
        check_case("model", name, self._metadata.models.list_models())
        rows = as_table("example", example)
        directory = self._home / "models" / name / f".draft-{uuid.uuid4().hex}"
        try:
            manifest = save_model(directory, _with_code(estimator, self._home / "bundles"), example=example)
            if training_set is not None:
                reference_rows = training_set.table().select(list(manifest.signature.names))
            reference = _reference(directory, manifest, rows, reference_rows)
            digest = sha256_of(manifest)
            trained_on = None if training_set is None else training_set.manifest.digest
            identity = {"model": digest, "metrics": metrics, "training_set": trained_on, **self._where}
            identity |= {} if table_versions is None else {"table_versions": dict(table_versions)}
            if reference is not None and reference_rows is None:
                identity["reference"] = reference.digest
            key = sha256_of(identity)
            place = directory.parent / key[:16]
            if not place.exists():
                directory.rename(place)
            os.utime(place)  # so that it is no garbage until it is registered
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        draft = ModelVersion(
            name=name,
            version=0,
            path=str(place),
            manifest=manifest,
            digest=digest,
            metrics=metrics,
            training_set=trained_on,
            table_versions=dict(table_versions or {}) if training_set is None else training_set.manifest.table_versions,
            **self._where,
            unwatched=_unwatched(name, reference, rows.num_rows),
            created_at=self._clock.now(),
        )
        # A model that is registered again is not changed; the answer is the version of the first registration.
        facts = {"digest": digest, "key": key, "training_set": trained_on, "metrics": metrics, "by": acting_user()}
        self._metadata.ledger.append_entry(name, "register", "registered by hand", facts, key=f"register/{name}/{key}")
        return self._metadata.models.register_version(draft, key=key)

    def card(self, name: str, version: int) -> tuple[dict[str, Any], str]:
        """The card of a version that came out of a run, as JSON values and as a page.

        Raises:
            NotFoundError: The version was registered by hand, or its run made no card, or the card is gone.
        """
        return model_card(self._home, self._metadata, name, version)

    def verify(self, name: str, version: int) -> ModelVersion:
        """Check every file of a version against its manifest, and this against its digest; then load and ask it.

        Raises:
            ModelVersionNotFound: There is no such version.
            ModelLoadFailed: A file is missing or altered, or the model no longer answers as it did.
        """
        found = self._metadata.models.get_version(name, version)
        load_model(Path(found.path), found.manifest, found.digest)
        return found


def _with_code(estimator: object, bundles: Path) -> object:
    """An estimator; a Python model with the verified code of its bundle."""
    if not isinstance(estimator, PythonModel) or not estimator.bundle:
        return estimator
    check_digest("bundle", estimator.bundle)
    return replace(estimator, code=read_sources(bundles / estimator.bundle))


def _reference(directory: Path, manifest: ModelManifest, example: pa.Table, rows: pa.Table | None) -> Reference | None:
    """The reference of drift, written beside the model: of the rows, or of the example where that has enough."""
    if rows is None and example.num_rows < _REFERENCE_ROWS:
        return None
    given = example.select(list(manifest.signature.names)) if rows is None else rows
    reference = Reference.fit(given)
    (directory / REFERENCE_FILE).write_bytes(reference.dumps())
    return reference


def _unwatched(name: str, reference: Reference | None, example_rows: int) -> str:
    """Why drift of a model's inputs will not be watched, or of which not, which is logged; empty where all are."""
    told = ""
    if reference is None:
        remedy = f"give training_set=, or an example of {_REFERENCE_ROWS} rows as the model was fitted on"
        told = f"drift of its inputs is not watched: no training set, and an example of {example_rows} rows; {remedy}"
    elif reference.skipped:
        told = f"drift is not watched of {reference.skipped}"
    if told:
        _LOG.warning("model %r: %s", name, told)
    return told


class RunOperator:
    """Runs of pipelines."""

    def __init__(self, config: PlatformConfig, metadata: Metadata, jobs: JobRunner, clock: Clock) -> None:
        self._config = config
        self._metadata = metadata
        self._jobs = jobs
        self._clock = clock

    def start(
        self,
        pipeline: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        reason: str = "on-demand",
        wait: bool = True,
        timeout_s: float = 3600.0,
        run_id: str | None = None,
        bundle: str | None = None,
    ) -> Run:
        """Run the deployed bundle of a pipeline as a Ray Job.

        Args:
            pipeline: Its name; in another environment than the platform's own, ``ENVIRONMENT.NAME``.
            parameters: Of the run.
            reason: For the ledger.
            wait: Whether to wait for the end of the run.
            timeout_s: How long to wait.
            run_id: The id of a run that is in the ledger already; a new one where left out.
            bundle: Digest of a bundle of the pipeline that is run in place of the deployed one.

        Raises:
            ConfigError: The bundle is one of another pipeline.
            NotFoundError: No bundle of the pipeline is deployed.
            UnavailableError: The run has not ended after ``timeout_s``.
        """
        run = Run(
            id=run_id or f"{pipeline}-{uuid.uuid4().hex[:12]}",
            pipeline=pipeline,
            parameters=dict(parameters or {}),
            reason=reason,
            bundle=self._deployed(pipeline) if bundle is None else self._of_pipeline(bundle, pipeline),
            created_at=self._clock.now(),
        )
        if run_id is None:  # the controller has recorded its own decision
            self._record("start_run", run, reason)
        self._jobs.announce(run.id)
        run = self._metadata.runs.create_run(run)
        self._associate(run)
        if not run.status.final:
            self._jobs.submit(run)
        return self.wait(run.id, timeout_s=timeout_s) if wait else run

    def _of_pipeline(self, bundle: str, pipeline: str) -> str:
        """A bundle that a pipeline may run: what it trains becomes versions of the pipeline's model."""
        name = self._metadata.deployments.get_bundle(bundle).project.name
        if pipeline.rpartition(".")[2] != name:
            raise ConfigError(f"pipeline {pipeline!r} cannot run bundle {bundle}, which is one of {name!r}")
        return bundle

    def _deployed(self, pipeline: str) -> str:
        """Digest of the bundle that is live; of ``ENVIRONMENT.NAME``, in that environment."""
        deployments, own = self._metadata.deployments, self._config.environment
        found = deployments.find_deployment(own, pipeline)
        if found is None:
            prefix, _, name = pipeline.partition(".")
            found = deployments.find_deployment(prefix, name) if name and prefix != own else None
        if found is None:
            where = f"environment {own!r}"
            raise NotFoundError(f"no bundle of pipeline {pipeline!r} is deployed in {where}: build and deploy one")
        return found.bundle

    def wait(self, run_id: str, *, timeout_s: float = 3600.0, on_look: Callable[[Run], None] | None = None) -> Run:
        """Wait for the end of a run.

        Args:
            run_id: Of the run.
            timeout_s: How long to wait.
            on_look: Called with the run each time that it was looked at, at its end too.

        Raises:
            UnavailableError: It has not ended after ``timeout_s``.
        """
        if on_look is not None:  # which shows how far it is in its own way
            return self._jobs.wait(run_id, timeout_s, on_look)
        with progress(f"run {run_id}") as tell:
            return self._jobs.wait(
                run_id,
                timeout_s,
                lambda run: tell(len(run.steps), run.steps[-1].step if run.steps else str(run.status)),
            )

    def cancel(self, run_id: str, reason: str) -> None:
        """End a run; one that has ended, or is not known, is left as it is. The controller has recorded its decision.

        Raises:
            UnavailableError: Its job could not be stopped.
        """
        with contextlib.suppress(NotFoundError):
            if not self._metadata.runs.get_run(run_id).status.final:
                self._jobs.end(run_id, reason, RunStatus.CANCELED)

    def resume(self, run_id: str, *, wait: bool = True, timeout_s: float = 3600.0) -> Run:
        """Run a run that ended again, as a new run of the same bundle that takes over the steps that are done."""
        failed = self._metadata.runs.get_run(run_id)
        if not failed.status.final:
            raise ConfigError(f"run {run_id} is {failed.status}: only a run that ended can be resumed")
        if failed.bundle is None:
            raise ConfigError(f"run {run_id} of {failed.pipeline} has no bundle to go on from: what began it goes on")
        run = failed.model_copy(
            update={
                "id": f"{failed.pipeline}-{uuid.uuid4().hex[:12]}",
                "parameters": {**failed.parameters, "resume_of": run_id},
                "reason": f"resumes {run_id}",
                "created_at": self._clock.now(),
            }
        )
        fresh = Run.model_validate(
            run.model_dump(include={"id", "pipeline", "parameters", "reason", "bundle", "created_at"})
        )
        self._record("resume_run", fresh, f"resumes {run_id}")
        self._jobs.announce(fresh.id)
        fresh = self._metadata.runs.create_run(fresh)
        self._associate(fresh)
        self._jobs.submit(fresh)
        return self.wait(fresh.id, timeout_s=timeout_s) if wait else fresh

    def _record(self, action: str, run: Run, reason: str) -> None:
        """Put the word of a person into the ledger before anything comes of it."""
        facts = {"run": run.id, "pipeline": run.pipeline, "bundle": run.bundle, "parameters": run.parameters}
        model = project_of_run(self._metadata.deployments.get_bundle(run.bundle or "").project, run.pipeline).model
        key = f"user/{model}/{action}/{run.id}"
        self._metadata.ledger.append_entry(model, action, reason, {**facts, "by": acting_user()}, key=key)

    def _associate(self, run: Run) -> None:
        """Put a run into the context of its environment."""
        project = self._metadata.deployments.get_bundle(run.bundle or "").project
        environment = environment_of_run(project, run.pipeline) or self._config.environment
        self._metadata.contexts.put_context("environment", environment)
        self._metadata.contexts.add_to_context("environment", environment, run_ids=[run.id])

    def compare(self, run_ids: Sequence[str]) -> pa.Table:
        """Status, reason, results and metrics of some runs, one row each."""
        rows = []
        for run in map(self._metadata.runs.get_run, run_ids):
            metrics = {f"metrics.{name}": value for name, value in run.result.get("metrics", {}).items()}
            known = {name: run.result.get(name) for name in ("outcome", "version", "family")}
            rows.append({"id": run.id, "status": str(run.status), "reason": run.reason, **known, **metrics})
        return pa.Table.from_pylist(rows)

    def list(
        self, pipeline: str | None = None, status: RunStatus | str | None = None, limit: int | None = None
    ) -> Listed[Run]:
        """Runs, newest first; of those that look alive, the ones whose jobs ended are brought to their end first."""
        for alive in (RunStatus.PENDING, RunStatus.RUNNING):
            for run in self._metadata.runs.list_runs(pipeline, alive):
                self._jobs.reconcile(run)
        return Listed(self._metadata.runs.list_runs(pipeline, status, limit))

    def strays(self) -> Sequence[StrayJob]:
        """Jobs of this platform without a record of their run, found since its reconciler started, the newest last."""
        stray_jobs: Sequence[StrayJob] = runtime.ActorProxy(RECONCILER, _STATUS_S, "runs").strays()
        return stray_jobs

    def get(self, run_id: str) -> Run:
        """One run; a run whose job died without a record is marked as failed first."""
        return self._jobs.reconcile(self._metadata.runs.get_run(run_id))

    def logs(self, run_id: str, step: str | None = None) -> str:
        """Output and log of one step; or of the run's job and all its steps.

        Raises:
            RunNotFound: No run has this id.
            NotFoundError: There is no log of the step.
        """
        self._metadata.runs.get_run(run_id)
        kept = StepLogs(self._config.home / "runs" / run_id / "logs")
        if step is not None:
            return kept.read(step)
        driver = self._jobs.keep_logs(run_id)
        return f"{driver.read_text() if driver.exists() else ''}{kept.read()}"

    def outlook(self, run_id: str) -> Sequence[Mapping[str, str]]:
        """The plan of a resume: for each step of a run ``step``, ``action`` and ``reason``, by its records.

        The job tells it again by its own cache.
        """
        run = self._metadata.runs.get_run(run_id)
        project = None if run.bundle is None else self._metadata.deployments.get_bundle(run.bundle).project
        names = [] if project is None else [step.name for step in steps.training_pipeline(project).order]
        return resume_outlook(run, names)
