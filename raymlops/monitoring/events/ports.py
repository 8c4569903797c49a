"""The ports through which the monitor reaches the rest of the platform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import pyarrow as pa

from raymlops.records.bundles import DeploymentStore
from raymlops.records.features import ConsistencyReport
from raymlops.records.models import ModelRegistry
from raymlops.records.plans import PlanStore
from raymlops.records.windows import ProfileStore, WindowStore

__all__ = ["EventTables", "FeatureAudit", "WindowMetadata"]


class EventTables(Protocol):
    """Durable append-only tables. Thread-safe."""

    def append(self, name: str, table: pa.Table, *, ingest_id: str, told_by: Sequence[str] | None = None) -> object:
        """Append rows, once per ``ingest_id``; they are on disk when it returns. The first append makes the table.

        Columns that a table does not have yet are added to it.

        Args:
            name: Name of the table.
            table: The rows.
            ingest_id: A repeat changes nothing.
            told_by: The columns that a repeat has in common with the first; all by default.

        Raises:
            ConflictError: The id came with other rows before; one from before there were digests is taken as it is.
        """
        ...

    def read(
        self,
        name: str,
        start: datetime | None,
        end: datetime | None,
        column: str,
        *,
        columns: Sequence[str] | None = None,
        after: Mapping[str, int] | None = None,
        until: Mapping[str, int] | None = None,
    ) -> pa.Table:
        """The rows for which ``start <= column < end``, in the order they were appended.

        Args:
            name: Name of the table.
            start: First instant.
            end: The instant after the last one.
            column: Column of instants.
            columns: The columns wanted; all by default.
            after: Only rows that were not there when these marks were taken.
            until: Only rows that were.

        Returns:
            A table without columns where there is no table of this name.
        """
        ...

    def marks(self, name: str) -> dict[str, int]:
        """The present end of the table, from which later rows are read; empty where there is no table of this name."""
        ...

    def maintain(self, name: str, keep_from: datetime | None, span: timedelta) -> None:
        """Pack small files and remove old rows. Reading and appending go on meanwhile, and no answer changes.

        Args:
            name: Name of the table.
            keep_from: Rows that hold this instant or a later one stay; older ones go, in large pieces, once all of a
                piece are older. ``None`` removes nothing.
            span: Rows are kept an eighth of it too long at most.

        Raises:
            StorageError: The table cannot be read or written; what stands is whole.
        """
        ...


class FeatureAudit(Protocol):
    """Compares the features that were joined for predictions with what the tables say they were. Thread-safe."""

    def __call__(self, model: str, events: pa.Table, max_rows: int) -> Sequence[ConsistencyReport]:
        """Recompute the features of at most ``max_rows`` prediction events, drawn by their request ids.

        Returns:
            One report per feature service that served; none where no features were joined.

        Raises:
            RaymlopsError: they cannot be recomputed now, or not at all.
        """
        ...


class WindowMetadata(Protocol):
    """The stores that the monitor uses."""

    models: ModelRegistry
    plans: PlanStore
    windows: WindowStore
    profiles: ProfileStore
    deployments: DeploymentStore
