"""Runs a pipeline: step by step, cached, retried, resumable, recorded."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from raymlops.clock import Clock
from raymlops.errors import ConfigError, DataError, InvalidTransition, RaymlopsError, RunNotFound
from raymlops.pipelines.artifacts import ArtifactRef, ArtifactStore
from raymlops.pipelines.cache import ExecutionCache, Hit
from raymlops.pipelines.dag import Pipeline
from raymlops.pipelines.fingerprint import environment_digest, execution_key
from raymlops.pipelines.step import Halt, Step
from raymlops.records.runs import Run, RunStatus, StepRun, StepStatus

__all__ = ["PipelineResult", "PipelineRunner", "RunLog", "StepReport"]

_LOGGER = logging.getLogger(__name__)
_HALT = "halt"


class RunLog(Protocol):
    """Where runs are recorded. Every call may be repeated with the same arguments."""

    def create_run(self, run: Run) -> Run:
        """Record a new run; gives the one that is there where its id is known."""
        ...

    def get_run(self, run_id: str) -> Run:
        """The run.

        Raises:
            RunNotFound: No run has this id.
        """
        ...

    def update_run(self, run_id: str, **changes: Any) -> Run:
        """Change fields of a run."""
        ...

    def record_step(self, run_id: str, step: StepRun) -> object:
        """Record a step; replaces the record of the same step and attempt."""
        ...

    def record_artifact(self, digest: str, kind: str, uri: str, metadata: dict[str, Any]) -> object:
        """Record that an artifact is there."""
        ...

    def record_event(self, run_id: str, step: str, digest: str, direction: Literal["input", "output"]) -> object:
        """Record that a step took or gave an artifact."""
        ...


@dataclass(frozen=True)
class StepReport:
    """What happened to one step."""

    step: str
    status: StepStatus
    reason: str
    seconds: float


@dataclass(frozen=True)
class PipelineResult:
    """What a run came to."""

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


class PipelineRunner:
    """Runs pipelines in this process, one step after the other.

    A run killed at any point is resumed by running it again under its id: what was done is found in the cache. One
    process at a time runs a run.

    Args:
        root: Directory of the artifacts and of the cache.
        log: Where runs are recorded.
        clock: Gives the instants in the records.
        backoff_s: Wait before the second attempt; doubled for each further one.
        sleep: How to wait.
    """

    def __init__(
        self,
        root: Path,
        log: RunLog,
        clock: Clock,
        *,
        backoff_s: float = 0.5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._artifacts = ArtifactStore(root)
        self._cache = ExecutionCache(root / "executions", self._artifacts)
        self._log = log
        self._clock = clock
        self._backoff_s = backoff_s
        self._sleep = sleep

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
    ) -> PipelineResult:
        """Run to the end, or resume the run of this id.

        Args:
            pipeline: What to run.
            parameters: A JSON value for each parameter that a step takes.
            run_id: Known ids are resumed; a run that succeeded gives its result again.
            context: Handed to every step; not part of any cache key.
            reason: Why it runs, for the record.
            bundle: Digest of the bundle it runs from.
            resume_of: Id of a failed run whose steps are taken over, those that are not deterministic too.

        Raises:
            ConfigError: A parameter is missing or not known.
            InvalidTransition: The run of this id failed or was canceled.
            RaymlopsError: What a step raised; the run is then recorded as failed.
        """
        declared = pipeline.parameters
        if set(parameters) != declared:
            missing, unknown = sorted(declared - set(parameters)), sorted(set(parameters) - declared)
            raise ConfigError(f"parameters of pipeline {pipeline.name!r}: missing {missing}, unknown {unknown}")
        run = self._open(pipeline, parameters, run_id, reason=reason, bundle=bundle)
        if run.status is RunStatus.SUCCEEDED:
            return PipelineResult(run_id, dict(run.result), _outputs(pipeline, run), ())
        environment = environment_digest(pipeline.libraries)
        execution = _Execution(pipeline, run, resume_of, parameters, context, environment)
        try:
            result = self._run_steps(execution)
        except BaseException as error:
            status = RunStatus.FAILED if isinstance(error, Exception) else RunStatus.CANCELED
            message = f"{type(error).__name__}: {error}"
            self._log.update_run(run_id, status=status, error=message, ended_at=self._clock.now())
            raise
        self._log.update_run(run_id, status=RunStatus.SUCCEEDED, result=result.result, ended_at=self._clock.now())
        return result

    def value(self, artifact: ArtifactRef) -> Any:
        """The value of an output."""
        return self._artifacts.get(artifact)

    def _open(
        self, pipeline: Pipeline, parameters: Mapping[str, Any], run_id: str, *, reason: str, bundle: str | None
    ) -> Run:
        try:
            run = self._log.get_run(run_id)
        except RunNotFound:
            now = self._clock.now()
            run = Run(id=run_id, pipeline=pipeline.name, created_at=now, reason=reason, bundle=bundle)
            run = self._log.create_run(run.model_copy(update={"parameters": dict(parameters)}))
        if run.status in {RunStatus.FAILED, RunStatus.CANCELED}:
            raise InvalidTransition(
                f"run {run_id!r} is {run.status}, which is final: start another one that resumes it", run_id=run_id
            )
        if run.status is RunStatus.PENDING:
            run = self._log.update_run(run_id, status=RunStatus.RUNNING)
        return run

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
                return PipelineResult(run_id, self._artifacts.get(hit.outputs[_HALT]), outputs, tuple(reports))
            outputs.update({f"{step.name}.{name}": artifact for name, artifact in hit.outputs.items()})
        result = self._artifacts.get(outputs[execution.pipeline.result])
        return PipelineResult(run_id, result, outputs, tuple(reports))

    def _run_step(
        self, execution: _Execution, step: Step, outputs: Mapping[str, ArtifactRef]
    ) -> tuple[Hit, StepStatus, str]:
        inputs = {argument: outputs[source] for argument, source in step.inputs.items()}
        key, hit, reason = self._find(execution, step, inputs)
        before = [record for record in execution.run.steps if record.step == step.name]
        attempt = max((record.attempt for record in before), default=0) + 1
        left = next((record for record in before if record.status is StepStatus.RUNNING), None)
        if hit is not None:
            if left is not None and left.key == key:
                self._done(execution, left.model_copy(update={"status": StepStatus.SUCCEEDED}), inputs, hit)
            elif not any(record.key == key and record.outputs for record in before):
                now = self._clock.now()
                cached = StepRun(step=step.name, status=StepStatus.CACHED, key=key, started_at=now, attempt=attempt)
                self._done(execution, cached, inputs, hit)
            return hit, StepStatus.CACHED, reason
        if left is not None:
            self._failed(execution, left, "the process ended before the step did")
        return self._attempt(execution, step, inputs, key, attempt), StepStatus.SUCCEEDED, reason

    def _find(
        self, execution: _Execution, step: Step, inputs: Mapping[str, ArtifactRef]
    ) -> tuple[str, Hit | None, str]:
        """The execution's key, its outputs where it is done, and why or why not."""
        parameters = {name: execution.parameters[name] for name in step.parameters}
        digests = {argument: artifact.digest for argument, artifact in inputs.items()}
        own, other = (
            execution_key(step, parameters, digests, environment=execution.environment, run_id=run_id or "")
            for run_id in (execution.run.id, execution.resume_of)
        )
        hit, reason = self._cache.find(own)
        if hit is None and execution.resume_of is not None and other != own:
            hit, reason = self._cache.find(other)
            if hit is not None:
                # so that a run which resumes this one finds it too
                self._cache.put(own, hit.outputs, halted=hit.halted)
        return own, hit, reason

    def _attempt(
        self, execution: _Execution, step: Step, inputs: Mapping[str, ArtifactRef], key: str, first: int
    ) -> Hit:
        run_id, last = execution.run.id, first + step.attempts - 1
        parameters = {name: execution.parameters[name] for name in step.parameters}
        for attempt in range(first, last + 1):
            now = self._clock.now()
            record = StepRun(step=step.name, status=StepStatus.RUNNING, key=key, started_at=now, attempt=attempt)
            self._log.record_step(run_id, record)
            try:
                hit = self._execute(step, execution.context, inputs, parameters)
            except BaseException as error:
                self._failed(execution, record, f"{type(error).__name__}: {error}")
                if attempt == last or not (isinstance(error, RaymlopsError) and error.retryable):
                    raise
                _LOGGER.warning("run %s: step %s attempt %d: %s", run_id, step.name, attempt, error)
                self._sleep(self._backoff_s * 2 ** (attempt - first))
                continue
            self._cache.put(key, hit.outputs, halted=hit.halted)
            self._done(execution, record.model_copy(update={"status": StepStatus.SUCCEEDED}), inputs, hit)
            return hit
        raise AssertionError("the last attempt returns or raises")

    def _execute(
        self, step: Step, context: Any, inputs: Mapping[str, ArtifactRef], parameters: Mapping[str, Any]
    ) -> Hit:
        values = {argument: self._artifacts.get(artifact) for argument, artifact in inputs.items()}
        returned = step.function(context, **values, **parameters)
        if isinstance(returned, Halt):
            return Hit(outputs={_HALT: self._artifacts.put("json", returned.result)}, halted=True)
        if set(returned) != set(step.outputs):
            raise DataError(
                f"step {step.name!r} must give {sorted(step.outputs)}, got {sorted(returned)}", step=step.name
            )
        return Hit(outputs={name: self._artifacts.put(kind, returned[name]) for name, kind in step.outputs.items()})

    def _done(self, execution: _Execution, record: StepRun, inputs: Mapping[str, ArtifactRef], hit: Hit) -> None:
        run_id, step = execution.run.id, record.step
        for artifact in inputs.values():
            self._log.record_event(run_id, step, artifact.digest, "input")
        for name, artifact in hit.outputs.items():
            uri = self._artifacts.path(artifact).as_uri()
            self._log.record_artifact(artifact.digest, artifact.kind, uri, {"output": f"{step}.{name}"})
            self._log.record_event(run_id, step, artifact.digest, "output")
        digests = {name: artifact.digest for name, artifact in hit.outputs.items()}
        self._log.record_step(run_id, record.model_copy(update={"ended_at": self._clock.now(), "outputs": digests}))

    def _failed(self, execution: _Execution, record: StepRun, error: str) -> None:
        changes = {"status": StepStatus.FAILED, "ended_at": self._clock.now(), "error": error}
        self._log.record_step(execution.run.id, record.model_copy(update=changes))


def _outputs(pipeline: Pipeline, run: Run) -> dict[str, ArtifactRef]:
    """The recorded outputs of a run's steps, as far as the pipeline still declares them."""
    kinds = {f"{step.name}.{name}": kind for step in pipeline.steps for name, kind in step.outputs.items()}
    found = {f"{record.step}.{name}": digest for record in run.steps for name, digest in record.outputs.items()}
    return {name: ArtifactRef(digest=digest, kind=kinds[name]) for name, digest in found.items() if name in kinds}
