"""What the nodes' copies ask the writer of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from raymlops.features.catalog.applied import CatalogState, ResolvedView
from raymlops.features.online.online_store import Watermark

__all__ = ["Leader", "Progress"]


@dataclass(frozen=True)
class Progress:
    """How far the writer is."""

    definitions: str
    """Digest of what is applied."""
    watermarks: Mapping[str, Watermark]
    """View ``NAME@VERSION`` -> how far it is materialised; views that never were are not in it."""


class Leader(Protocol):
    """What followers ask the writer. Thread-safe; no call waits for one that writes."""

    def progress(self) -> Progress:
        """How far the writer is.

        Raises:
            StorageError: its online store cannot be read.
        """
        ...

    def definitions(self) -> CatalogState:
        """What is applied now."""
        ...

    def rows(self, table: str, *, columns: Sequence[str], after_sequence: int, until_sequence: int) -> pa.Table:
        """Rows of a table with ``after_sequence < _seq <= until_sequence``, in the order they arrived.

        Raises:
            NotFoundError: there is no such table.
            StorageError: it cannot be read.
        """
        ...

    def key_types(self, view: ResolvedView) -> tuple[type, ...] | None:
        """``int`` or ``str`` for each key of a view; ``None`` as long as its table has no rows."""
        ...

    def has_table(self, table: str) -> bool:
        """Whether anything was ever ingested into a table."""
        ...
