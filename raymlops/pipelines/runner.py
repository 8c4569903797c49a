"""Runs a pipeline: step by step, cached, retried, resumable, recorded."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raymlops.clock import Clock
from raymlops.errors import ConfigError, DataError, InvalidTransition, RaymlopsError, RunNotFound
from raymlops.pipelines.artifacts import ArtifactRef, ArtifactStore
from raymlops.pipelines.cache import ExecutionCache, Hit
from raymlops.pipelines.dag import Pipeline
from raymlops.pipelines.deadline import time_limit
from raymlops.pipelines.fingerprint import KeyParts, environment_digest, key_parts
from raymlops.pipelines.outlook import HALT, PlannedStep, outlook, steps_to_run
from raymlops.pipelines.run_log import RESUME_OF, RunLog
from raymlops.pipelines.step import Halt, Step
from raymlops.pipelines.step_log import StepLogs
from raymlops.records.names import check_name
from raymlops.records.record import sha256_of
from raymlops.records.runs import Run, RunStatus, StepRun, StepStatus

__all__ = ["DataVersions", "PipelineResult", "PipelineRunner", "StepReport"]

_LOGGER = logging.getLogger(__name__)

DataVersions = Callable[[str], object]
"""Source of data -> its present version, a JSON value."""


@dataclass(frozen=True)
class StepReport:
    """The outcome of one step."""

    step: str
    status: StepStatus
    reason: str
    seconds: float


@dataclass(frozen=True)
class PipelineResult:
    """The result of a run."""

    run_id: str
    result: dict[str, Any]
    outputs: dict[str, ArtifactRef]
    """``STEP.OUTPUT`` -> artifact, of the steps that were reached."""
    steps: tuple[StepReport, ...]


@dataclass(frozen=True)
class _Execution:
    """One run under way."""

    pipeline: Pipeline
    run: Run
    resume_of: str | None
    parameters: Mapping[str, Any]
    context: Any
    environment: str
    data: Mapping[str, Any]
    """Source of data -> version."""
    logs: StepLogs | None
    ends_at: float | None
    """When it has to end, by ``time.monotonic``."""
    places: Mapping[str, int]


class PipelineRunner:
    """Runs pipelines in this process, one step after the other.

    A run killed at any point is resumed by running it again under its id: what was done is found in the cache. One
    process at a time runs a run.

    Args:
        root: Directory of the artifacts and of the cache.
        log: Records runs.
        clock: Gives the instants in the records.
        backoff_s: Wait before the second attempt; doubled for each further one.
        sleep: How to wait.
        logs: Directory in which each run gets ``RUN/logs``, for what its steps print and log; ``None``: not kept.
        data_versions: Tells the version of each source that steps declare in ``data``. A run asks once: it is resumed
            on the versions that it began with.
    """

    def __init__(
        self,
        root: Path,
        log: RunLog,
        clock: Clock,
        *,
        backoff_s: float = 0.5,
        sleep: Callable[[float], None] = time.sleep,
        logs: Path | None = None,
        data_versions: DataVersions | None = None,
    ) -> None:
        self._artifacts = ArtifactStore(root)
        self._cache = ExecutionCache(root / "executions", self._artifacts)
        self._log = log
        self._clock = clock
        self._backoff_s = backoff_s
        self._sleep = sleep
        self._logs = logs
        self._data_versions = data_versions

    def run(
        self,
        pipeline: Pipeline,
        parameters: Mapping[str, Any],
        *,
        run_id: str,
        context: Any = None,
        reason: str = "on-demand",
        bundle: str | None = None,
        resume_of: str | None = None,
        deadline_s: float | None = None,
    ) -> PipelineResult:
        """Run to the end, or resume the run of this id; a run that is resumed tells first what it will do, and why.

        Args:
            pipeline: The pipeline to run.
            parameters: A JSON value for each parameter that a step takes.
            run_id: Known ids are resumed; a run that succeeded gives its result again.
            context: Handed to every step; not part of any cache key.
            reason: Why it runs, for the record.
            bundle: Digest of the bundle it runs from.
            resume_of: Id of a failed run whose steps are taken over, those that are not deterministic too.
            deadline_s: How long the steps may take together, in this process.

        Raises:
            ConfigError: The id is no name of a run, a parameter is missing or not known, or steps read data and
                nobody tells its version.
            InvalidTransition: The run of this id failed or was canceled.
            DeadlineExceeded: The run or a step took too long; it is then recorded as failed.
            RaymlopsError: The error of a step; the run is then recorded as failed.
        """
        check_name("run", run_id)
        ends_at = None if deadline_s is None else time.monotonic() + deadline_s
        _check_parameters(pipeline, parameters)
        resumed = {} if resume_of is None else {RESUME_OF: resume_of}
        run = self._open(pipeline, {**parameters, **resumed}, run_id, reason=reason, bundle=bundle)
        if run.status is RunStatus.SUCCEEDED:
            return PipelineResult(run_id, dict(run.result), _outputs(pipeline, run), ())
        try:
            execution = self._begin(pipeline, run, parameters, resume_of, context, ends_at)
            if run.steps or resume_of is not None:
                self._tell(execution)
            result = self._run_steps(execution)
        except BaseException as error:
            status = RunStatus.FAILED if isinstance(error, Exception) else RunStatus.CANCELED
            message = f"{type(error).__name__}: {error}"
            self._log.runs.update_run(run_id, status=status, error=message, ended_at=self._clock.now())
            raise
        self._log.runs.update_run(run_id, status=RunStatus.SUCCEEDED, result=result.result, ended_at=self._clock.now())
        return result

    def plan(
        self, pipeline: Pipeline, parameters: Mapping[str, Any], *, run_id: str, resume_of: str | None = None
    ) -> tuple[PlannedStep, ...]:
        """The action of ``run`` for each step, and its reason; nothing is executed or recorded.

        Raises:
            ConfigError: As ``run`` does.
        """
        _check_parameters(pipeline, parameters)
        run = Run(id=run_id, pipeline=pipeline.name, created_at=self._clock.now())
        return self._outlook(self._begin(pipeline, run, parameters, resume_of))

    def value(self, artifact: ArtifactRef) -> Any:
        """The value of an output."""
        return self._artifacts.get(artifact)

    def _open(
        self, pipeline: Pipeline, parameters: Mapping[str, Any], run_id: str, *, reason: str, bundle: str | None
    ) -> Run:
        try:
            run = self._log.runs.get_run(run_id)
        except RunNotFound:
            now = self._clock.now()
            run = Run(id=run_id, pipeline=pipeline.name, created_at=now, reason=reason, bundle=bundle)
            run = self._log.runs.create_run(run.model_copy(update={"parameters": dict(parameters)}))
        if run.status in {RunStatus.FAILED, RunStatus.CANCELED}:
            raise InvalidTransition(
                f"run {run_id!r} is {run.status}, which is final: start another one that resumes it", run_id=run_id
            )
        if run.status is RunStatus.PENDING:
            run = self._log.runs.update_run(run_id, status=RunStatus.RUNNING)
        return run

    def _begin(
        self,
        pipeline: Pipeline,
        run: Run,
        parameters: Mapping[str, Any],
        resume_of: str | None,
        context: Any = None,
        ends_at: float | None = None,
    ) -> _Execution:
        return _Execution(
            pipeline=pipeline,
            run=run,
            resume_of=resume_of,
            parameters=parameters,
            context=context,
            environment=environment_digest(pipeline.libraries),
            data=self._fix_data(pipeline, run.id, resume_of),
            logs=None if self._logs is None else StepLogs(self._logs / run.id / "logs"),
            ends_at=ends_at,
            places={step.name: place for place, step in enumerate(pipeline.order)},
        )

    def _fix_data(self, pipeline: Pipeline, run_id: str, resume_of: str | None) -> dict[str, Any]:
        """The versions of data that a run reads: those it began with, of itself or of the run it resumes."""
        sources = sorted({source for step in pipeline.steps for source in step.data.values()})
        if not sources:
            return {}
        own, other = (sha256_of({"data of run": each, "sources": sources}) for each in (run_id, resume_of))
        for key in [own] if resume_of is None else [own, other]:
            hit, _ = self._cache.find(key)
            if hit is not None:
                versions: dict[str, Any] = self._artifacts.get(hit.outputs["versions"])
                self._cache.put(own, hit.outputs, halted=False)
                return versions
        if self._data_versions is None:
            raise ConfigError(f"steps of pipeline {pipeline.name!r} read {sources}: nobody tells their versions")
        versions = {source: self._data_versions(source) for source in sources}
        self._cache.put(own, {"versions": self._artifacts.put("json", versions)}, halted=False)
        return versions

    def _tell(self, execution: _Execution) -> None:
        planned = self._outlook(execution)
        what = "is resumed" if execution.resume_of is None else f"resumes {execution.resume_of}"
        _LOGGER.info("run %s %s: %d of %d steps run", execution.run.id, what, len(steps_to_run(planned)), len(planned))
        for step in planned:
            _LOGGER.info("run %s: will %s %s: %s", execution.run.id, step.action, step.step, step.reason)

    def _outlook(self, execution: _Execution) -> tuple[PlannedStep, ...]:
        return outlook(execution.pipeline, lambda step, inputs: self._find(execution, step, inputs)[1:])

    def _run_steps(self, execution: _Execution) -> PipelineResult:
        outputs: dict[str, ArtifactRef] = {}
        reports: list[StepReport] = []
        run_id = execution.run.id
        for step in execution.pipeline.order:
            started = time.perf_counter()
            hit, status, reason = self._run_step(execution, step, outputs)
            reports.append(StepReport(step.name, status, reason, time.perf_counter() - started))
            _LOGGER.info("run %s: step %s %s in %.2f s: %s", run_id, step.name, status, reports[-1].seconds, reason)
            if hit.halted:
                return PipelineResult(run_id, self._artifacts.get(hit.outputs[HALT]), outputs, tuple(reports))
            outputs.update({f"{step.name}.{name}": artifact for name, artifact in hit.outputs.items()})
        result = self._artifacts.get(outputs[execution.pipeline.result])
        return PipelineResult(run_id, result, outputs, tuple(reports))

    def _run_step(
        self, execution: _Execution, step: Step, outputs: Mapping[str, ArtifactRef]
    ) -> tuple[Hit, StepStatus, str]:
        inputs = {argument: outputs[source] for argument, source in step.inputs.items()}
        parts, hit, reason = self._find(execution, step, inputs)
        before = [record for record in execution.run.steps if record.step == step.name]
        attempt = max((record.attempt for record in before), default=0) + 1
        left = next((record for record in before if record.status is StepStatus.RUNNING), None)
        if hit is not None:
            if left is not None and left.key == parts.key:
                self._done(execution, left.model_copy(update={"status": StepStatus.SUCCEEDED}), step, inputs, hit)
            elif not any(record.key == parts.key and record.outputs for record in before):
                cached = self._record(StepStatus.CACHED, parts, attempt, reason)
                if execution.logs is not None:
                    execution.logs.note(execution.places[step.name], step.name, attempt, f"taken over: {reason}")
                self._done(execution, cached, step, inputs, hit)
            return hit, StepStatus.CACHED, reason
        if left is not None:
            self._failed(execution, left, "the process ended before the step did")
        return self._attempt(execution, step, inputs, parts, attempt, reason), StepStatus.SUCCEEDED, reason

    def _find(
        self, execution: _Execution, step: Step, inputs: Mapping[str, ArtifactRef]
    ) -> tuple[KeyParts, Hit | None, str]:
        """The fingerprint of an execution, its outputs where it is done, and the reason."""
        parameters = {name: execution.parameters[name] for name in step.parameters}
        digests = {argument: artifact.digest for argument, artifact in inputs.items()}
        data = {argument: execution.data[source] for argument, source in step.data.items()}
        own, other = (
            key_parts(step, parameters, digests, environment=execution.environment, run_id=run_id or "", data=data)
            for run_id in (execution.run.id, execution.resume_of)
        )
        hit, reason = self._cache.find(own.key)
        if hit is None and execution.resume_of is not None and other != own:
            hit, told = self._cache.find(other.key)
            if hit is not None:
                # so that a run which resumes this one finds it too
                self._cache.put(own.key, hit.outputs, halted=hit.halted)
                reason = told
        if hit is None and reason == "it is new":
            reason = self._cache.explain(execution.pipeline.name, own)
        return own, hit, reason

    def _attempt(
        self,
        execution: _Execution,
        step: Step,
        inputs: Mapping[str, ArtifactRef],
        parts: KeyParts,
        first: int,
        reason: str,
    ) -> Hit:
        run_id, last = execution.run.id, first + step.attempts - 1
        for attempt in range(first, last + 1):
            record = self._record(StepStatus.RUNNING, parts, attempt, reason)
            self._log.runs.record_step(run_id, record)
            try:
                hit = self._execute(execution, step, inputs, attempt)
            except BaseException as error:
                self._failed(execution, record, f"{type(error).__name__}: {error}")
                if attempt == last or not (isinstance(error, RaymlopsError) and error.retryable):
                    raise
                _LOGGER.warning("run %s: step %s attempt %d: %s", run_id, step.name, attempt, error)
                self._sleep(self._backoff_s * 2 ** (attempt - first))
                continue
            self._cache.put(parts.key, hit.outputs, halted=hit.halted)
            self._cache.remember(execution.pipeline.name, parts)
            self._done(execution, record.model_copy(update={"status": StepStatus.SUCCEEDED}), step, inputs, hit)
            return hit
        raise AssertionError("the last attempt returns or raises")

    def _record(self, status: StepStatus, parts: KeyParts, attempt: int, reason: str) -> StepRun:
        now = self._clock.now()
        return StepRun(step=parts.step, status=status, key=parts.key, started_at=now, attempt=attempt, reason=reason)

    def _execute(self, execution: _Execution, step: Step, inputs: Mapping[str, ArtifactRef], attempt: int) -> Hit:
        values = {argument: self._artifacts.get(artifact) for argument, artifact in inputs.items()}
        values |= {name: execution.parameters[name] for name in step.parameters}
        values |= {argument: execution.data[source] for argument, source in step.data.items()}
        with _captured(execution, step, attempt), _limited(execution, step):
            returned = step.function(execution.context, **values)
        if isinstance(returned, Halt):
            return Hit(outputs={HALT: self._artifacts.put("json", returned.result)}, halted=True)
        if set(returned) != set(step.outputs):
            raise DataError(
                f"step {step.name!r} must give {sorted(step.outputs)}, got {sorted(returned)}", step=step.name
            )
        return Hit(outputs={name: self._artifacts.put(kind, returned[name]) for name, kind in step.outputs.items()})

    def _done(
        self, execution: _Execution, record: StepRun, step: Step, inputs: Mapping[str, ArtifactRef], hit: Hit
    ) -> None:
        run_id = execution.run.id
        for source in step.data.values():
            version = execution.data[source]
            digest = sha256_of({"data": source, "version": version})
            facts = {"source": source, "version": version}
            self._log.artifacts.record_artifact(digest, "data", f"data:{source}@{version}", facts)
            self._log.artifacts.record_event(run_id, step.name, digest, "input")
        for artifact in inputs.values():
            self._log.artifacts.record_event(run_id, step.name, artifact.digest, "input")
        for name, artifact in hit.outputs.items():
            uri = self._artifacts.path(artifact).as_uri()
            self._log.artifacts.record_artifact(artifact.digest, artifact.kind, uri, {"output": f"{step.name}.{name}"})
            self._log.artifacts.record_event(run_id, step.name, artifact.digest, "output")
        digests = {name: artifact.digest for name, artifact in hit.outputs.items()}
        self._log.runs.record_step(
            run_id, record.model_copy(update={"ended_at": self._clock.now(), "outputs": digests})
        )

    def _failed(self, execution: _Execution, record: StepRun, error: str) -> None:
        changes = {"status": StepStatus.FAILED, "ended_at": self._clock.now(), "error": error}
        self._log.runs.record_step(execution.run.id, record.model_copy(update=changes))


def _check_parameters(pipeline: Pipeline, parameters: Mapping[str, Any]) -> None:
    declared = pipeline.parameters
    if set(parameters) != declared:
        missing, unknown = sorted(declared - set(parameters)), sorted(set(parameters) - declared)
        raise ConfigError(f"parameters of pipeline {pipeline.name!r}: missing {missing}, unknown {unknown}")


def _captured(execution: _Execution, step: Step, attempt: int) -> AbstractContextManager[None]:
    if execution.logs is None:
        return nullcontext()
    return execution.logs.capture(execution.places[step.name], step.name, attempt)


def _limited(execution: _Execution, step: Step) -> AbstractContextManager[None]:
    left = None if execution.ends_at is None else execution.ends_at - time.monotonic()
    if left is None or (step.timeout_s is not None and step.timeout_s <= left):
        return time_limit(step.timeout_s, f"step {step.name!r}")
    return time_limit(left, f"run {execution.run.id!r}, in step {step.name!r},")


def _outputs(pipeline: Pipeline, run: Run) -> dict[str, ArtifactRef]:
    """The recorded outputs of a run's steps, as far as the pipeline still declares them."""
    kinds = {f"{step.name}.{name}": kind for step in pipeline.steps for name, kind in step.outputs.items()}
    found = {f"{record.step}.{name}": digest for record in run.steps for name, digest in record.outputs.items()}
    return {name: ArtifactRef(digest=digest, kind=kinds[name]) for name, digest in found.items() if name in kinds}
