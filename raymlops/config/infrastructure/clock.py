"""Where the platform's time comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import AwareDatetime, model_validator

from raymlops.config.section import Section

__all__ = ["ClockConfig"]


class ClockConfig(Section):
    """The machine's clock, or one that is replayed and shared by all processes of the node."""

    kind: Literal["system", "replay"] = "system"
    """``replay`` reads the instant from a file that a replay advances."""
    path: Path | None = None
    """File of the replay clock; null is ``clock`` in the home."""
    start: AwareDatetime | None = None
    """First instant of the replay clock, with its zone, where its file is not there yet; a clock that is there goes on
    where it is."""

    @model_validator(mode="after")
    def _replay_only(self) -> Self:
        if self.kind == "system" and (self.path is not None or self.start is not None):
            raise ValueError("path and start belong to the replay clock: set kind to replay")
        return self
