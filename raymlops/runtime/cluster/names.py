"""Names of the control actors."""

from __future__ import annotations

__all__ = ["CONTROLLER", "FEATURES", "METADATA", "MONITOR", "NOTIFIER", "PROJECTOR", "RECONCILER"]

METADATA = "metadata"
FEATURES = "features"
MONITOR = "monitor"
CONTROLLER = "controller"
RECONCILER = "reconciler"
PROJECTOR = "projector"
NOTIFIER = "notifier"
