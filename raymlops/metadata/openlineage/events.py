"""OpenLineage events of runs and steps, as pure functions of the records."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from raymlops.records.learning.artifacts import Artifact
from raymlops.records.models import ModelVersion
from raymlops.records.record import canonical_json
from raymlops.records.runs import Run, RunStatus, StepRun, StepStatus

__all__ = ["run_event", "step_event"]

_PRODUCER = "urn:raymlops"
_SPEC = "https://openlineage.io/spec"
_EVENT_SCHEMA = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = {
    "parent": "1-0-1/ParentRunFacet.json#/$defs/ParentRunFacet",
    "errorMessage": "1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet",
    "executionParameters": "1-0-0/ExecutionParametersRunFacet.json#/$defs/ExecutionParametersRunFacet",
    "sourceCodeLocation": "1-0-1/SourceCodeLocationJobFacet.json#/$defs/SourceCodeLocationJobFacet",
    "jobType": "2-0-3/JobTypeJobFacet.json#/$defs/JobTypeJobFacet",
    "version": "1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet",
}
_OF_RUN = {
    RunStatus.RUNNING: "START",
    RunStatus.SUCCEEDED: "COMPLETE",
    RunStatus.FAILED: "FAIL",
    RunStatus.CANCELED: "ABORT",
}
_OF_STEP = {
    StepStatus.RUNNING: "START",
    StepStatus.SUCCEEDED: "COMPLETE",
    StepStatus.CACHED: "COMPLETE",
    StepStatus.FAILED: "FAIL",
}


def run_event(run: Run, at: datetime, namespace: str, version: ModelVersion | None = None) -> dict[str, Any] | None:
    """A run's present state as an event.

    Args:
        run: The run.
        at: When it came to this state.
        namespace: Of jobs and datasets.
        version: The model version that came of it: then its tables are the inputs, and it is the output.

    Returns:
        The event; ``None`` of a run that has not started.
    """
    kind = _OF_RUN.get(run.status)
    if kind is None:
        return None
    facets = {"executionParameters": _facet("executionParameters", parameters=_parameters(run.parameters))}
    if run.error is not None:
        facets["errorMessage"] = _error(run.error)
    inputs: list[dict[str, Any]] = []
    outputs: list[dict[str, Any]] = []
    if version is not None:
        inputs = [_dataset(namespace, f"table/{name}", number) for name, number in version.tables.items()]
        outputs = [_dataset(namespace, f"model/{version.name}", version.version)]
    return _event(kind, at, (run.id, facets), _job(namespace, run.pipeline, run, "PIPELINE"), inputs, outputs)


def step_event(
    run: Run,
    step: StepRun,
    at: datetime,
    namespace: str,
    inputs: Sequence[Artifact] = (),
    outputs: Sequence[Artifact] = (),
) -> dict[str, Any]:
    """One attempt of a step as an event; its run is the parent.

    Args:
        run: The run it is of.
        step: The attempt, in its present state.
        at: When it came to this state.
        namespace: Of jobs and datasets.
        inputs: Datasets that it read.
        outputs: Datasets that it wrote.
    """
    job = {"namespace": namespace, "name": run.pipeline}
    facets = {"parent": _facet("parent", run={"runId": _uuid(run.id)}, job=job)}
    if step.error is not None:
        facets["errorMessage"] = _error(step.error)
    own_job = _job(namespace, f"{run.pipeline}.{step.step}", run, "STEP")
    of_attempt = f"{run.id}/{step.step}/{step.attempt}"
    read, written = ([_artifact(namespace, each) for each in group] for group in (inputs, outputs))
    return _event(_OF_STEP[step.status], at, (of_attempt, facets), own_job, read, written)


def _event(
    kind: str,
    at: datetime,
    run: tuple[str, Mapping[str, Any]],
    job: Mapping[str, Any],
    inputs: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    return {
        "eventType": kind,
        "eventTime": at.isoformat(),
        "run": {"runId": _uuid(run[0]), "facets": dict(run[1])},
        "job": dict(job),
        "inputs": list(inputs),
        "outputs": list(outputs),
        "producer": _PRODUCER,
        "schemaURL": _EVENT_SCHEMA,
    }


def _job(namespace: str, name: str, run: Run, kind: str) -> dict[str, Any]:
    facets = {"jobType": _facet("jobType", processingType="BATCH", integration="RAYMLOPS", jobType=kind)}
    if run.bundle is not None:
        where = {"type": "bundle", "url": f"urn:raymlops:bundle:{run.bundle}", "version": run.bundle}
        facets["sourceCodeLocation"] = _facet("sourceCodeLocation", **where)
    return {"namespace": namespace, "name": name, "facets": facets}


def _artifact(namespace: str, artifact: Artifact) -> dict[str, Any]:
    if artifact.kind == "data":
        return _dataset(namespace, f"table/{artifact.metadata['source']}", artifact.metadata["version"])
    return _dataset(namespace, str(artifact.metadata.get("output", artifact.uri)), artifact.digest)


def _dataset(namespace: str, name: str, version: object) -> dict[str, Any]:
    facets = {"version": _facet("version", datasetVersion=str(version))}
    return {"namespace": namespace, "name": name, "facets": facets}


def _parameters(parameters: Mapping[str, Any]) -> list[dict[str, str]]:
    """The values as texts, which is what the specification's schema takes: JSON of what is none."""
    texts = {
        name: value if isinstance(value, str) else canonical_json(value).decode() for name, value in parameters.items()
    }
    return [{"key": name, "value": text} for name, text in texts.items()]


def _error(message: str) -> dict[str, Any]:
    return _facet("errorMessage", message=message, programmingLanguage="PYTHON")


def _facet(name: str, **values: Any) -> dict[str, Any]:
    return {"_producer": _PRODUCER, "_schemaURL": f"{_SPEC}/facets/{_FACETS[name]}", **values}


def _uuid(name: str) -> str:
    """The UUID of a run or step: equal for equal names, in every process."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{_PRODUCER}:{name}"))
