"""The online store Protocol in memory and on LMDB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raymlops.features.lmdb import LmdbOnlineStore
from raymlops.features.online import InMemoryOnlineStore, OnlineStore
from raymlops.testing.online_store import DurableOnlineStoreContract, OnlineStoreContract


class TestInMemory(OnlineStoreContract):
    @pytest.fixture
    def store(self) -> OnlineStore:
        return InMemoryOnlineStore()


class TestLmdb(OnlineStoreContract, DurableOnlineStoreContract):
    @pytest.fixture
    def opened(self) -> Iterator[list[LmdbOnlineStore]]:
        stores: list[LmdbOnlineStore] = []
        yield stores
        for store in stores:
            store.close()

    @pytest.fixture
    def store(self, tmp_path: Path, opened: list[LmdbOnlineStore]) -> OnlineStore:
        opened.append(LmdbOnlineStore(tmp_path / "online.lmdb", writable=True))
        return opened[-1]

    @pytest.fixture
    def reopen(self, tmp_path: Path, opened: list[LmdbOnlineStore]) -> Callable[[], OnlineStore]:
        def again() -> OnlineStore:
            opened[-1].close()
            opened.append(LmdbOnlineStore(tmp_path / "online.lmdb", writable=True))
            return opened[-1]

        return again
