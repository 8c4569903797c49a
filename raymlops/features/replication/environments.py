"""The feature stores of a platform: one for each environment, and nothing of it is another's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Generic, Protocol, TypedDict, TypeVar

from raymlops.clock import Clock
from raymlops.config.features import FeaturePlace
from raymlops.errors import NotFoundError
from raymlops.features.catalog.layout import online_path
from raymlops.features.online.lmdb import LmdbOnlineStore
from raymlops.features.online.online_store import OnlineStore
from raymlops.features.online.servers import open_server
from raymlops.features.reader import FeatureReader
from raymlops.features.replication.leader import LeadingStore
from raymlops.records.features import IngestReceipt

__all__ = ["PerEnvironment", "StoreOptions", "copy_rows", "environments_in", "open_store", "store_options"]


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


def environments_in(home_place: FeaturePlace) -> list[str]:
    """The other environments that have features on this machine, by name.

    Args:
        home_place: Where the features of the platform's own environment are.
    """
    directory = home_place.local / "environments"
    return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []


def copy_rows(source: FeatureReader, target: LeadingStore, name: str) -> list[IngestReceipt]:
    """Copy rows into the tables of an environment that have none; those of a view of the same name and version.

    Args:
        source: Reads the environment that rows come from.
        target: The writer of the one that they go to.
        name: Of the former; it is in the ids of the ingests.

    Returns:
        What was ingested, by the views' names.

    Raises:
        RaymlopsError: As ``FeatureStore.ingest`` does, where a view there is another than here.
    """
    state, receipts = target.definitions(), []
    for ref, applied in sorted(state.views.items()):
        view = applied.view
        if view.source is not None or target.has_table(state.table_of(view)):
            continue
        try:
            rows = source.table(ref)
        except NotFoundError:  # nothing was ingested there, or it has no such view
            continue
        receipts.append(target.ingest(ref, rows, ingest_id=f"rows of {name}"))
    return receipts


class _Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=_Closable)


class PerEnvironment(Generic[T]):
    """One of a kind for each environment, opened when it is first asked for. Thread-safe.

    Args:
        open_one: Opens that of an environment; ``None``: the platform's own.
    """

    def __init__(self, open_one: Callable[[str | None], T]) -> None:
        self._open = open_one
        self._lock = threading.Lock()
        self._opened: dict[str | None, T] = {}

    def of(self, environment: str | None = None) -> T:
        """That of an environment; raises what opening it raises, and tries again at the next call."""
        found = self._opened.get(environment)
        if found is not None:
            return found
        with self._lock:
            if environment not in self._opened:
                self._opened[environment] = self._open(environment)
            return self._opened[environment]

    def close(self) -> None:
        """Close all that were opened."""
        with self._lock:
            while self._opened:
                self._opened.popitem()[1].close()
