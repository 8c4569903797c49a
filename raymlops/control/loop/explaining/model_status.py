"""The status of a model, joined from the controller and the reconciler."""

from __future__ import annotations

from collections.abc import Sequence

from raymlops.control.loop.explaining.status import ControlStatus
from raymlops.records.serving.endpoints import EndpointStatus

__all__ = ["ModelStatus", "join_statuses"]


class ModelStatus(ControlStatus):
    """The status in the controller's last turn, and whether the endpoint answers."""

    endpoint: EndpointStatus | None = None
    """The endpoint as it was last seen; ``None`` before the first look."""


def join_statuses(control: Sequence[ControlStatus], endpoints: Sequence[EndpointStatus]) -> list[ModelStatus]:
    """Join the statuses of controller and reconciler, by model.

    A model that the controller has not turned to yet is left out; one that is served no more, too.
    """
    seen = {status.model: status for status in endpoints}
    return [ModelStatus(**dict(status), endpoint=seen[status.model]) for status in control if status.model in seen]
