"""What things are called in an environment: in the platform's own as they are, elsewhere behind its name."""

from __future__ import annotations

from raymlops.records.bundles import ProjectSpec

__all__ = ["REHEARSAL", "environment_of_run", "name_in", "project_of_run", "rehearsal_name"]

REHEARSAL = "rehearsal"
"""Stands before the name of a model that is asked before it is put in service; no environment may be called so."""


def name_in(environment: str, own: str, name: str) -> str:
    """Name of a pipeline or a model in an environment.

    Args:
        environment: Where.
        own: The environment of the platform's configuration.
        name: As the project says it.
    """
    return name if environment == own else f"{environment}.{name}"


def project_of_run(project: ProjectSpec, pipeline: str) -> ProjectSpec:
    """A project as a run of a pipeline has it: its model is called as the pipeline's environment has it."""
    prefix = pipeline.removesuffix(project.name)
    return project.model_copy(update={"name": pipeline, "model": f"{prefix}{project.model}"})


def environment_of_run(project: ProjectSpec, pipeline: str) -> str | None:
    """The environment that a run of a project is in; ``None``: the platform's own."""
    return pipeline.removesuffix(project.name).removesuffix(".") or None


def rehearsal_name(model: str) -> str:
    """What a model is called while it is asked before it is put in service."""
    return f"{REHEARSAL}.{model}"
