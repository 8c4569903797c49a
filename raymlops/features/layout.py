"""Where a feature store keeps its files."""

from __future__ import annotations

from pathlib import Path

__all__ = ["catalog_path", "online_path", "tables_path", "training_sets_path"]


def catalog_path(root: Path) -> Path:
    """File of the definitions."""
    return root / "catalog.json"


def tables_path(root: Path) -> Path:
    """Directory of the Delta tables."""
    return root / "tables"


def online_path(root: Path) -> Path:
    """Directory of the online store of this node."""
    return root / "online.lmdb"


def training_sets_path(root: Path) -> Path:
    """Directory of training-set manifests and their spines."""
    return root / "training_sets"
