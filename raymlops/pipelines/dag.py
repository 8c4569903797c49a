"""A pipeline: steps whose inputs are the outputs of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from raymlops.errors import ConfigError
from raymlops.pipelines.step import Step

__all__ = ["Pipeline"]


@dataclass(frozen=True)
class Pipeline:
    """A checked graph of steps.

    Args:
        name: The name under which its runs are listed.
        steps: In any order.
        result: ``STEP.OUTPUT``, of kind ``json``, that is the result of a run.
        libraries: Distributions whose versions are part of every step's cache key; ``None``: all that are installed.

    Raises:
        ConfigError: Two steps of one name, an input or the result from nowhere, or a cycle.
    """

    name: str
    steps: Sequence[Step]
    result: str
    libraries: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        kinds: dict[str, str] = {}
        for step in self.steps:
            for output, kind in step.outputs.items():
                if f"{step.name}.{output}" in kinds:
                    raise ConfigError(f"pipeline {self.name!r} has two steps named {step.name!r}")
                kinds[f"{step.name}.{output}"] = kind
        for step in self.steps:
            for argument, source in step.inputs.items():
                if source not in kinds:
                    raise ConfigError(f"input {argument!r} of step {step.name!r}: no step gives {source!r}")
        if kinds.get(self.result) != "json":
            raise ConfigError(f"result of pipeline {self.name!r} must be a json output, got {self.result!r}")
        _ = self.order

    @cached_property
    def order(self) -> tuple[Step, ...]:
        """The steps, each after all that it needs; as declared where that leaves a choice."""
        places = {step.name: place for place, step in enumerate(self.steps)}
        sorter = TopologicalSorter(
            {s.name: {source.partition(".")[0] for source in s.inputs.values()} for s in self.steps}
        )
        try:
            sorter.prepare()
        except CycleError as error:
            raise ConfigError(f"pipeline {self.name!r} has a cycle: {' -> '.join(error.args[1])}") from error
        ordered: list[Step] = []
        ready: list[str] = []
        while sorter.is_active():
            ready = sorted([*ready, *sorter.get_ready()], key=places.__getitem__)
            ordered.append(self.steps[places[ready[0]]])
            sorter.done(ready.pop(0))
        return tuple(ordered)

    @property
    def parameters(self) -> frozenset[str]:
        """Names of the parameters its steps take."""
        return frozenset(name for step in self.steps for name in step.parameters)
