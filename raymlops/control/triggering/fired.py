"""A trigger that fired."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from raymlops.records.record import Record

__all__ = ["Fired"]


class Fired(Record):
    """A trigger that fired."""

    trigger: str
    """Its name in ``control.triggers``, or ``order``."""
    reason: str
    facts: dict[str, Any] = Field(default_factory=dict)
    """JSON values it rests on."""
    occasion: str = Field(default="", exclude_if=lambda value: not value)
    """Names the occasion, where it is not the end of the newest window."""
