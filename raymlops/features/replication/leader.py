"""The writer of features: a feature store that tells the nodes' copies how far it is, and gives them rows."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from raymlops.features.catalog.applied import CatalogState, ResolvedView
from raymlops.features.online.node_copy import key_types_of
from raymlops.features.replication.ports import Progress
from raymlops.features.store import FeatureStore
from raymlops.records.record import sha256_of

__all__ = ["LeadingStore"]


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

    def rows(self, table: str, *, columns: Sequence[str], after_sequence: int, until_sequence: int) -> pa.Table:
        return self._tables.read(table, columns=columns, after_sequence=after_sequence, until_sequence=until_sequence)

    def key_types(self, view: ResolvedView) -> tuple[type, ...] | None:
        if not self._tables.exists(view.table):
            return None
        return key_types_of(view, self._tables.schema(view.table))

    def has_table(self, table: str) -> bool:
        return self._tables.exists(table)
