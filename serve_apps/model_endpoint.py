"""``raymlops.serve_apps.model_endpoint`` by the import path that it has in a clone."""

from raymlops.serve_apps.model_endpoint import build

__all__ = ["build"]
