"""How a project's table is replayed as live operation."""

from __future__ import annotations

from pydantic import Field

from raymlops.records.record import Record

__all__ = ["ProjectReplay"]


class ProjectReplay(Record):
    """``replay`` of a ``project.yaml``: what ``raymlops replay`` does not derive from the table."""

    source: str | None = None
    """``module:function`` that returns ``raymlops.replay.ReplayTables``; null: the table that ``data`` names."""
    things: str = "rows"
    """What a request is about, in the plural, for people."""
    training_windows: int | None = Field(default=None, ge=1)
    """Windows that the first model is trained on; null: a quarter of them, eight at most."""
    windows: int | None = Field(default=None, ge=1)
    """Windows that are replayed after those, at most; null: all."""
    steps: tuple[str, ...] = ()
    """Lengths of a window's steps, such as ``1d``; after each, the loop takes a turn. None: derived."""
    sample: int | None = Field(default=None, ge=1)
    """Requests in a window, at most; null: so many that the replay takes some minutes."""
    first_run: dict[str, object] = Field(default_factory=dict)
    """Parameters of the first training run, over those of ``training``."""
