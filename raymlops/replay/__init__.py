"""The replay: a project's own table as live operation, in event-time order, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.replay.tables import ReplayTables, ViewRows

__all__ = ["ReplayTables", "ViewRows"]

__getattr__ = lazy_names(__name__, {"tables": ["ReplayTables", "ViewRows"]})
