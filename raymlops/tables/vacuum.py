"""Vacuum: removal of table files that neither a pinned nor a recent table version needs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from datetime import timedelta

from raymlops.errors import StorageError
from raymlops.records.features import TableVacuum, TrainingSetManifest
from raymlops.tables.delta import KEEP_LOG, DeltaTables
from raymlops.tables.files import Files

__all__ = ["pinned_versions", "vacuum_table"]

_HOUR_S = 3600


def pinned_versions(manifests: Iterable[TrainingSetManifest]) -> dict[str, set[int]]:
    """Table -> versions that training sets were made of."""
    pins: dict[str, set[int]] = {}
    for manifest in manifests:
        for table, version in manifest.table_versions.items():
            pins.setdefault(table, set()).add(version)
    return pins


def vacuum_table(
    tables: DeltaTables, files: Files, name: str, *, pins: Collection[int], retention: timedelta, dry_run: bool
) -> TableVacuum:
    """Remove the files of a table that neither a pinned version nor one of the recent past is made of.

    Args:
        tables: The tables.
        files: The files below the same root.
        name: Name of the table.
        pins: Versions that stay readable.
        retention: So do all versions that were the newest within this time, and what is being written meanwhile.
        dry_run: Only tell.

    Raises:
        StorageError: the table cannot be read, or is not the one that versions were pinned of; nothing was removed.
    """
    with tables.opened(name) as handle:
        version = handle.version()
        if max(pins, default=0) > version:
            reason = f"table {name!r} ends at version {version}, but {max(pins)} is pinned"
            raise StorageError(f"{reason}: its rows were removed behind the store's back", table=name)
        options = {
            "retention_hours": math.ceil(retention.total_seconds() / _HOUR_S),
            "enforce_retention_duration": False,
            "full": True,
            "keep_versions": sorted(pins) or None,
            "post_commithook_properties": KEEP_LOG,
        }
        sizes = _present_sizes(files, [f"{name}/{path}" for path in handle.vacuum(dry_run=True, **options)])
        if sizes and not dry_run:
            handle.vacuum(dry_run=False, **options)
    return TableVacuum(table=name, files=len(sizes), size_bytes=sum(sizes), pinned_versions=tuple(sorted(pins)))


def _present_sizes(files: Files, paths: Iterable[str]) -> list[int]:
    """Sizes of the files that are there: the log goes on naming what an earlier vacuum removed."""
    sizes = []
    for path in paths:
        try:
            sizes.append(files.size_bytes(path))
        except FileNotFoundError:
            continue
    return sizes
