"""The name that 0.1 gave ``raymlops.tables.sources``; scripts from then import it."""

from raymlops.tables.sources import FileSource

__all__ = ["FileSource"]
