"""Names of the control actors."""

from __future__ import annotations

__all__ = ["CONTROLLER", "FEATURES", "METADATA", "MONITOR", "NOTIFIER", "PROJECTOR"]

METADATA = "metadata"
FEATURES = "features"
MONITOR = "monitor"
CONTROLLER = "controller"
PROJECTOR = "projector"
NOTIFIER = "notifier"
