"""The plan of a run: its action for each step, before it starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from raymlops.pipelines.artifacts import ArtifactRef
from raymlops.pipelines.cache import Hit
from raymlops.pipelines.dag import Pipeline
from raymlops.pipelines.step import Step
from raymlops.records.runs import Run, StepStatus

__all__ = ["HALT", "PlannedStep", "outlook", "resume_outlook", "steps_to_run"]

HALT = "halt"
"""Name of the output of a step that ends its run early."""


@dataclass(frozen=True)
class PlannedStep:
    """The action of a run for one step."""

    step: str
    action: Literal["reuse", "run", "skip"]
    reason: str


def outlook(
    pipeline: Pipeline, find: Callable[[Step, Mapping[str, ArtifactRef]], tuple[Hit | None, str]]
) -> tuple[PlannedStep, ...]:
    """Look every step up whose inputs are known; the steps after one that runs are said to run.

    They may still be taken over: where a step that runs again gives what it gave before, what follows it is found.

    Args:
        pipeline: The steps.
        find: ``(step, inputs)`` -> the outputs of that execution, where it is done, and why or why not.
    """
    known: dict[str, ArtifactRef] = {}
    planned: list[PlannedStep] = []
    halted = ""
    for step in pipeline.order:
        lacking = sorted({source.partition(".")[0] for source in step.inputs.values() if source not in known})
        if halted:
            planned.append(PlannedStep(step.name, "skip", f"step {halted} ends the run"))
        elif lacking:
            planned.append(
                PlannedStep(step.name, "run", f"after {', '.join(lacking)}, unless they give the same again")
            )
        else:
            hit, reason = find(step, {argument: known[source] for argument, source in step.inputs.items()})
            planned.append(PlannedStep(step.name, "run" if hit is None else "reuse", reason))
            if hit is not None:
                halted = step.name if hit.halted else ""
                known |= {f"{step.name}.{name}": artifact for name, artifact in hit.outputs.items()}
    return tuple(planned)


def steps_to_run(planned: Sequence[PlannedStep]) -> list[str]:
    """Names of the steps that would run."""
    return [step.step for step in planned if step.action == "run"]


def resume_outlook(run: Run, names: Sequence[str]) -> list[dict[str, str]]:
    """The actions of a resumed run for each step, by the records of the run alone.

    Args:
        run: The run that would be resumed.
        names: The steps of its pipeline, in order.

    Returns:
        ``step``, ``action`` and ``reason`` of each.
    """
    last = {record.step: record for record in run.steps}
    planned: list[dict[str, str]] = []
    for name in dict.fromkeys([*names, *last]):
        record = last.get(name)
        if record is not None and record.outputs and record.status in {StepStatus.SUCCEEDED, StepStatus.CACHED}:
            told = ("reuse", f"it {record.status}; its outputs are checked before they are used")
        elif record is None:
            told = ("run", "it was not reached")
        elif record.status is StepStatus.FAILED:
            told = ("run", f"it failed: {record.error}")
        else:
            told = ("run", "the process ended before the step did")
        planned.append({"step": name, "action": told[0], "reason": told[1]})
    return planned
