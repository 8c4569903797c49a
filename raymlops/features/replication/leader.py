"""The writer of an environment's features: a store that tells the nodes' copies how far it is, and gives them rows."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import TypedDict

import pyarrow as pa

from raymlops.clock import Clock
from raymlops.config.features import FeaturePlace
from raymlops.errors import NotFoundError
from raymlops.features.catalog.applied import CatalogState, ResolvedView
from raymlops.features.catalog.layout import online_path
from raymlops.features.offline.feature_files import FeatureFiles
from raymlops.features.offline.table_batches import read_batches
from raymlops.features.online.lmdb import LmdbOnlineStore
from raymlops.features.online.node_copy import key_types_of
from raymlops.features.online.online_store import OnlineStore
from raymlops.features.online.servers import open_server
from raymlops.features.replication.ports import Progress
from raymlops.features.store import FeatureStore
from raymlops.records.features import IngestReceipt
from raymlops.records.record import sha256_of

__all__ = ["LeadingStore", "StoreOptions", "copy_rows", "open_store", "require_definitions", "store_options"]


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


class StoreOptions(TypedDict):
    """Arguments of a feature store, beside its root."""

    clock: Clock
    history: timedelta
    online: OnlineStore
    local: Path
    storage_options: Mapping[str, str]


def store_options(place: FeaturePlace, clock: Clock) -> StoreOptions:
    """What the writer of an environment's features is opened with; opens the online store.

    Raises:
        StorageError: That cannot be opened.
    """
    settings = place.settings
    online = open_server(settings, writable=True)
    if online is None:
        online = LmdbOnlineStore(online_path(place.local), writable=True, map_bytes=settings.online_bytes)
    return {
        "clock": clock,
        "history": settings.history,
        "online": online,
        "local": place.local,
        "storage_options": settings.storage_options,
    }


def open_store(place: FeaturePlace, clock: Clock) -> LeadingStore:
    """The writer of an environment's features; one process at a time may hold it.

    Raises:
        StorageError: It cannot be opened.
    """
    return LeadingStore(place.root, **store_options(place, clock))


def require_definitions(place: FeaturePlace) -> None:
    """Refuse an environment in which nothing was applied: its name may be mistyped, and opening a store makes one.

    Raises:
        NotFoundError: Nothing was.
        StorageError: What is applied cannot be read.
    """
    if not FeatureFiles.at(place).state().views:
        raise NotFoundError(f"environment {place.environment!r} has no feature views: apply some there first")


def copy_rows(source: FeatureFiles, target: LeadingStore, name: str) -> list[IngestReceipt]:
    """Copy rows into the tables of an environment that have none; those of a view of the same name and version.

    A table is read and handed over in batches, and need not fit in memory.

    Args:
        source: The files of the environment that rows come from.
        target: The writer of the one that they go to.
        name: Of the former; it is in the ids of the ingests.

    Returns:
        What was ingested, by the views' names.

    Raises:
        RaymlopsError: As ``FeatureStore.ingest`` does, where a view there is another than here.
    """
    state, there, receipts = target.definitions(), source.state(), []
    for ref, applied in sorted(state.views.items()):
        view = applied.view
        if view.source is not None or target.has_table(state.table_of(view)):
            continue
        try:
            found = there.view(ref)
            rows = read_batches(source.tables, there.table_of(found), found.table_columns)
            first = next(rows)
        except NotFoundError:  # nothing was ingested there, or it has no such view
            continue
        receipts.append(_ingested(target, ref, chain([first], rows), ingest_id=f"rows of {name}"))
    return receipts


def _ingested(target: LeadingStore, view: str, rows: Iterable[pa.Table], *, ingest_id: str) -> IngestReceipt:
    """Hand rows to a writer, which may be in another process, batch by batch, and have them ingested in one commit."""
    staged, blocks = uuid.uuid4().hex, 0
    try:
        for table in rows:
            target.stage(staged, blocks, table)
            blocks += 1
        return target.ingest_staged(view, staged, blocks, ingest_id=ingest_id)
    finally:
        target.discard(staged)
