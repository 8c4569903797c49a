"""Reads of the quarantine: refused rows with the reasons."""

from __future__ import annotations

import json
from typing import Any

from raymlops.records.features import QuarantinedRow
from raymlops.tables.delta import DeltaTables

__all__ = ["quarantined_rows"]


def quarantined_rows(
    quarantine: DeltaTables, table: str, view: str, *, ingest_id: str | None = None
) -> list[QuarantinedRow]:
    """The refused rows of a view, in the order they came.

    Args:
        quarantine: Tables of refused rows.
        table: Name of the view's table.
        view: ``NAME@VERSION``.
        ingest_id: Only those of one ingest.

    Raises:
        StorageError: they cannot be read.
    """
    if not quarantine.exists(table):
        return []
    rows: list[dict[str, Any]] = quarantine.read(table).to_pylist()
    return [
        QuarantinedRow(
            ingest_id=row["ingest_id"],
            row=row["row"],
            reasons=tuple(json.loads(row["reasons"])),
            values=json.loads(row["values"]),
            quarantined_at=row["quarantined_at"],
        )
        for row in rows
        if row["view"] == view and ingest_id in {None, row["ingest_id"]}
    ]
