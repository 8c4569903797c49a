"""The online store Protocol in memory, on LMDB and on a Redis server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raymlops.features.online.lmdb import LmdbOnlineStore
from raymlops.features.online.online_store import OnlineStore, ViewUpdate, Watermark, address
from raymlops.features.online.redis import RedisOnlineStore
from raymlops.testing.online_store import DurableOnlineStoreContract, OnlineStoreContract
from tests.support.in_memory_store import InMemoryOnlineStore


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


class TestRedis(OnlineStoreContract, DurableOnlineStoreContract):
    @pytest.fixture
    def opened(self) -> Iterator[list[RedisOnlineStore]]:
        stores: list[RedisOnlineStore] = []
        yield stores
        for store in stores:
            store.close()

    @pytest.fixture
    def store(self, redis_server: Any, opened: list[RedisOnlineStore]) -> OnlineStore:
        opened.append(RedisOnlineStore(redis_server.url, writable=True))
        return opened[-1]

    @pytest.fixture
    def reopen(self, redis_server: Any, opened: list[RedisOnlineStore]) -> Callable[[], OnlineStore]:
        def again() -> OnlineStore:
            redis_server.kill()
            redis_server.start()
            opened.append(RedisOnlineStore(redis_server.url, writable=True))
            return opened[-1]

        return again


def test_another_process_sees_an_lmdb_commit_at_once(tmp_path: Path) -> None:
    writer = LmdbOnlineStore(tmp_path / "o.lmdb", writable=True)
    program = (
        "import sys, pathlib\n"
        "from raymlops.features.online.lmdb import LmdbOnlineStore\n"
        "store = LmdbOnlineStore(pathlib.Path(sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "with store.snapshot() as snapshot:\n"
        "    run = snapshot.get_many([bytes.fromhex(sys.argv[2])])[0]\n"
        "    print(bytes(run).decode(), store.watermark('v@1').sequence)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "o.lmdb"), address("v@1", b"a").hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        writer.commit([ViewUpdate("v@1", Watermark(1, 1), {b"a": b"run"})])
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "run 1\n"
    writer.close()
