"""The ports through which the operator of endpoints reaches the cluster."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from raymlops.control.reconciling.reconcile import Wanted
from raymlops.records.plans import ServingPlan

__all__ = ["Replicas", "Runtime"]


class Runtime(Protocol):
    """Keeps applications of Serve running; ``Reconciler`` implements it."""

    def is_up(self, name: str) -> bool:
        """Whether an application has replicas."""
        ...

    def hold(self, wanted: Wanted) -> AbstractContextManager[None]:
        """Have an application run that no plan names yet."""
        ...

    def require_room(self, what: str, needs: list[float]) -> None:
        """Raises ``UnavailableError`` where processes do not fit."""
        ...

    def await_up(self, wanted: Wanted, plan: int | None = None) -> None:
        """Raises ``DeploymentError`` or ``UnavailableError`` where it does not come up."""
        ...

    def wake(self) -> None:
        """Plans have changed."""
        ...


class Replicas(Protocol):
    """Reaches every replica of an endpoint."""

    def prepare(self, plan: ServingPlan) -> None:
        """Have each load what a plan needs; nothing changes for callers.

        Raises:
            SwapFailed: One could not; or whatever the loading raised.
        """
        ...

    def swap(self, plan: ServingPlan) -> float | None:
        """Have each serve a plan; returns how many milliseconds it took, ``None`` where some find it by themselves."""
        ...
