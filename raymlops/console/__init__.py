"""The console: pages that show a running platform to a person with a browser. It knows no Ray."""

from raymlops.console.app import PREFIX, Console
from raymlops.console.sources import Sources

__all__ = ["PREFIX", "Console", "Sources"]
