"""What is known of a model, by whoever knows it."""

from __future__ import annotations

from collections.abc import Sequence

from raymlops.control.loop.explaining.status import ControlStatus
from raymlops.records.serving.endpoints import EndpointStatus

__all__ = ["ModelStatus", "join_statuses"]


class ModelStatus(ControlStatus):
    """What the controller saw in its last turn, and whether the endpoint answers."""

    endpoint: EndpointStatus | None = None
    """As it was last seen; ``None`` where nobody has looked yet."""


def join_statuses(control: Sequence[ControlStatus], endpoints: Sequence[EndpointStatus]) -> list[ModelStatus]:
    """What both say of the models that are served, by model.

    A model that the controller has not turned to yet is left out; one that is served no more, too.
    """
    seen = {status.model: status for status in endpoints}
    return [ModelStatus(**dict(status), endpoint=seen[status.model]) for status in control if status.model in seen]
