"""The console: pages that show a running platform to a person with a browser. It knows no Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.console.app import Console
    from raymlops.console.sources import Sources

__all__ = ["PREFIX", "Console", "Sources"]

PREFIX = "/console"
"""Path prefix of the console; HAProxy sends every request that belongs to no model to the gateway."""

__getattr__ = lazy_names(__name__, {"app": ["Console"], "sources": ["Sources"]})
