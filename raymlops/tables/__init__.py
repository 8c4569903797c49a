"""Rows on disk: Delta tables, files below a root, statistics of columns; the ground of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.tables.columns import as_table

__all__ = ["as_table"]

__getattr__ = lazy_names(__name__, {"columns": ["as_table"]})
