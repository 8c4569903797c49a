"""Rows on disk: Delta tables, files below a root, statistics of columns; the ground of the rest."""

from __future__ import annotations

__all__: list[str] = []
