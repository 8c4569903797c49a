"""Placement of a model by its plan and by the plan before: in the pool, or in an application of its own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from raymlops.config.serving import ServingConfig
from raymlops.control.endpoints.operator_ports import Runtime
from raymlops.control.reconciling.reconcile import POOL_NAME, Wanted, cpus_needed, wanted_of
from raymlops.records.models import ModelVersion
from raymlops.records.plans import ServingPlan

__all__ = ["Placing", "is_pooled", "place"]

_OWN_PROCESS = "python"
"""The flavor whose models run in a process of their own anyhow."""


class Placing(NamedTuple):
    """The placement of a model, and the resources that it takes."""

    wanted: Wanted | None
    """The application that is to answer; ``None`` where nothing is."""
    left: Wanted | None
    """The application that answered before, where it is another one: it goes on until the new one answers."""
    up: bool
    """Whether the replicas of ``wanted`` are up, so that they can prepare the plan."""
    needs: list[float]
    """Logical CPUs of each process that is new."""


def place(plan: ServingPlan, before: ServingPlan | None, config: ServingConfig, runtime: Runtime) -> Placing:
    """Compare a plan with the one before, and with what runs.

    Raises:
        UnavailableError: The state of the cluster could not be read.
    """
    wanted, was = _application(plan, config), None if before is None else _application(before, config)
    pool_runs = wanted is not None and wanted.pooled and runtime.is_up(POOL_NAME)
    needs = cpus_needed(plan, before, config, pool_runs=pool_runs)
    if wanted is None:
        return Placing(None, None, up=False, needs=needs)
    moves = was is not None and was.name != wanted.name
    # the pool serves every plan that it is sent, also that of a model it did not know
    up = pool_runs if wanted.pooled else was is not None and not moves and runtime.is_up(wanted.name)
    return Placing(wanted, was if moves else None, up, needs)


def is_pooled(asked: bool | None, version: ModelVersion, current: ServingPlan | None, config: ServingConfig) -> bool:
    """Whether the pool is to answer for a model: as asked for, else as it is served now, else by its size.

    Args:
        asked: Whether the order asks for the pool; ``None``: it does not say.
        version: The version that is deployed.
        current: The plan by which the model is served.
        config: Says below which size models are pooled.
    """
    if asked is not None:
        return asked
    if current is not None:
        return current.pooled
    below_bytes = config.pool.below_bytes
    if below_bytes is None or version.manifest.flavor == _OWN_PROCESS:
        return False
    files = [Path(version.path) / name for name in version.manifest.files]
    return all(file.is_file() for file in files) and sum(file.stat().st_size for file in files) < below_bytes


def _application(plan: ServingPlan, config: ServingConfig) -> Wanted | None:
    return next((want for want in wanted_of([plan], config) if want.trial is None), None)
