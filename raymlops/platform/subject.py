"""What the subjects of the facade share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raymlops.runtime.services import Services

__all__ = ["Subject"]


class Subject:
    """One subject of the facade: it delegates, and implements nothing.

    Args:
        services: What it delegates to.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
