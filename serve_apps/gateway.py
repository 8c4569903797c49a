"""``raymlops.serve_apps.gateway`` by the import path that it has in a clone."""

from raymlops.serve_apps.gateway import build

__all__ = ["build"]
