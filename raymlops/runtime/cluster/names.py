"""Names of the control actors, of the head, and of what Serve keeps about applications."""

from __future__ import annotations

__all__ = [
    "CONTROLLER",
    "FEATURES",
    "HEAD",
    "METADATA",
    "MONITOR",
    "NOTIFIER",
    "PROJECTOR",
    "RECONCILER",
    "SHAPE_VARIABLE",
]

METADATA = "metadata"
FEATURES = "features"
MONITOR = "monitor"
CONTROLLER = "controller"
RECONCILER = "reconciler"
PROJECTOR = "projector"
NOTIFIER = "notifier"
SHAPE_VARIABLE = "RAYMLOPS_SHAPE"
"""Says in Serve's own record of an application how it was asked for; see ``control.reconcile.Wanted.shape``."""
HEAD = "node:__internal_head__"
"""The resource that Ray's head node alone has."""
