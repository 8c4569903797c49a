"""The writer's side of the nodes' copies: how far it is, and the rows that bring a copy there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from raymlops.features.catalog.applied import CatalogState, ResolvedView
from raymlops.features.online.node_copy import key_types_of
from raymlops.features.online.online_store import Watermark
from raymlops.features.store import FeatureStore
from raymlops.records.record import sha256_of

__all__ = ["Leader", "LeadingStore", "Progress"]


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

    def rows(self, table: str, *, columns: Sequence[str], after_sequence: int, until_sequence: int) -> Any:
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


class LeadingStore(FeatureStore):
    """A feature store that followers can ask."""

    _digested: tuple[CatalogState, str] | None = None

    def progress(self) -> Progress:
        state = self._catalog.state()
        known = self._digested
        if known is None or known[0] is not state:
            known = self._digested = (state, sha256_of(state))
        marks = {ref: self._online.watermark(ref) for ref, applied in state.views.items() if applied.view.online}
        return Progress(known[1], {ref: mark for ref, mark in marks.items() if mark is not None})

    def definitions(self) -> CatalogState:
        return self._catalog.state()

    def rows(self, table: str, *, columns: Sequence[str], after_sequence: int, until_sequence: int) -> Any:
        return self._tables.read(table, columns=columns, after_sequence=after_sequence, until_sequence=until_sequence)

    def key_types(self, view: ResolvedView) -> tuple[type, ...] | None:
        if not self._tables.exists(view.table):
            return None
        return key_types_of(view, self._tables.schema(view.table))

    def has_table(self, table: str) -> bool:
        return self._tables.exists(table)
