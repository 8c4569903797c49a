"""What the monitor needs of others."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import pyarrow as pa

from raymlops.records.models import ModelVersion
from raymlops.records.plans import ServingPlan
from raymlops.records.windows import WindowRecord

__all__ = ["EventTables", "WindowMetadata"]


class EventTables(Protocol):
    """Durable append-only tables. Thread-safe for readers; the monitor never appends twice at a time."""

    def append(self, name: str, table: pa.Table, *, ingest_id: str) -> object:
        """Append rows, once per ``ingest_id``; they are on disk when it returns. The first append makes the table.

        Columns that a table does not have yet are added to it.
        """
        ...

    def read(self, name: str, start: datetime | None, end: datetime | None, column: str) -> pa.Table:
        """The rows for which ``start <= column < end``, in the order they were appended.

        Returns:
            A table without columns where there is no table of this name.
        """
        ...


class WindowMetadata(Protocol):
    """The part of the metadata store that the monitor uses."""

    def get_version(self, name: str, version: int) -> ModelVersion:
        """One version of a model; raises ``ModelVersionNotFound``."""
        ...

    def serving_at(self, name: str, when: datetime) -> int | None:
        """The version that was champion at an instant."""
        ...

    def find_plan(self, model: str) -> ServingPlan | None:
        """The latest serving plan of a model."""
        ...

    def put_window(self, record: WindowRecord, profile: bytes) -> None:
        """Store a window; a later record of the same model and start replaces it."""
        ...

    def list_windows(
        self, model: str, start: datetime | None = None, end: datetime | None = None
    ) -> list[WindowRecord]:
        """Windows that start at or after ``start`` and before ``end``, by start."""
        ...

    def get_profile(self, model: str, start: datetime) -> bytes:
        """The profile of the window that starts at ``start``; raises ``NotFoundError``."""
        ...
