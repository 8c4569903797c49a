"""Where a feature store keeps its files."""

from __future__ import annotations

from pathlib import Path

from raymlops.errors import ConfigError
from raymlops.tables.files import Root, child, parse_root

__all__ = [
    "CATALOG",
    "catalog_path",
    "local_path",
    "online_path",
    "quarantine_path",
    "staging_path",
    "tables_path",
    "training_sets_path",
    "visible_path",
]

CATALOG = "catalog.json"
"""File of the definitions, in the root."""


def local_path(root: Root, local: Path | None) -> Path:
    """Directory of what stays on this node.

    Raises:
        ConfigError: none is given, and the root is not a directory.
    """
    found = parse_root(root) if local is None else local
    if not isinstance(found, Path):
        raise ConfigError(f"local must be a directory of this node where the root is a URI, got root {root!r} and none")
    return found


def catalog_path(root: Root) -> Root:
    """File of the definitions."""
    return child(parse_root(root), CATALOG)


def tables_path(root: Root) -> Root:
    """Directory of the Delta tables."""
    return child(parse_root(root), "tables")


def quarantine_path(root: Root) -> Root:
    """Directory of the Delta tables of refused rows."""
    return child(parse_root(root), "quarantine")


def training_sets_path(root: Root) -> Root:
    """Directory of training-set manifests and their spines."""
    return child(parse_root(root), "training_sets")


def online_path(local: Path) -> Path:
    """Directory of the online store of this node."""
    return local / "online.lmdb"


def staging_path(local: Path) -> Path:
    """Directory of rows that are on their way into a table."""
    return local / "staging"


def visible_path(local: Path) -> Path:
    """Directory of the records of when rows became visible online."""
    return local / "visible"
