"""A step: a function with declared inputs, parameters and outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from raymlops.errors import ConfigError
from raymlops.pipelines.artifacts import ArtifactKind

__all__ = ["Halt", "Step", "StepFunction"]

StepFunction = Callable[..., "Mapping[str, Any] | Halt"]
"""``(context, **inputs, **parameters, **data) -> {output: value}``; a ``Halt`` ends the run well."""


@dataclass(frozen=True)
class Halt:
    """The value of a step that ends its run early and successfully, since later steps would be of no use.

    Args:
        result: The run's result, JSON values.
    """

    result: Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """One node of a pipeline.

    Args:
        name: Unique in its pipeline.
        function: A function of a module; called with the run's context first, the rest by keyword.
        outputs: Output name -> kind of artifact.
        inputs: Argument name -> ``STEP.OUTPUT`` it comes from.
        parameters: Names of the run's parameters it takes; the others do not touch its cache.
        deterministic: Whether equal code, parameters and inputs give equal outputs. Of a step that is not (it reads a
            clock, a registry or the environment) no other run takes over the outputs.
        attempts: How often an error that is ``retryable`` lets it start, at most.
        data: Argument name -> source of data that it reads by itself. It is given the version to read, which is part of
            its cache key and of the lineage.
        timeout_s: How long one attempt may take.
    """

    name: str
    function: StepFunction
    outputs: Mapping[str, ArtifactKind]
    inputs: Mapping[str, str] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    deterministic: bool = True
    attempts: int = 3
    data: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        if not self.name or "." in self.name:
            raise ConfigError(f"the name of a step must be without dots and not empty, got {self.name!r}")
        if not self.outputs:
            raise ConfigError(f"step {self.name!r} must have at least one output", step=self.name)
        if self.attempts < 1:
            raise ConfigError(f"attempts of step {self.name!r} must be at least 1, got {self.attempts}", step=self.name)
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise ConfigError(f"timeout_s of step {self.name!r} must be positive, got {self.timeout_s}", step=self.name)
        names = [*self.inputs, *self.parameters, *self.data]
        clash = sorted({name for name in names if names.count(name) > 1})
        if clash:
            raise ConfigError(
                f"step {self.name!r} has inputs, parameters or data of the same names: {clash}", step=self.name
            )
