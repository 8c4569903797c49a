"""What is LMDB's own; the rest is in the contract suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raymlops.errors import StorageError
from raymlops.features.lmdb import LmdbOnlineStore
from raymlops.features.online import ViewUpdate, Watermark, address

UPDATE = ViewUpdate("v@1", Watermark(1, 1), {b"a": b"run"})
ADDRESS = address("v@1", b"a")


def read(store: LmdbOnlineStore) -> bytes | None:
    with store.snapshot() as snapshot:
        (run,) = snapshot.get_many([ADDRESS])
        return None if run is None else bytes(run)


def test_a_reader_needs_a_store_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot open"):
        LmdbOnlineStore(tmp_path / "none.lmdb")
    assert not (tmp_path / "none.lmdb").exists()


def test_readers_of_the_same_process_share_the_file(tmp_path: Path) -> None:
    writer = LmdbOnlineStore(tmp_path / "o.lmdb", writable=True)
    reader = LmdbOnlineStore(tmp_path / "o.lmdb")
    writer.commit([UPDATE])
    assert read(reader) == b"run"
    writer.close()
    assert read(reader) == b"run"
    reader.close()
    reader.close()
    with pytest.raises(StorageError, match="cannot read"):
        read(reader)


def test_a_writer_may_come_after_a_reader_of_the_same_process(tmp_path: Path) -> None:
    LmdbOnlineStore(tmp_path / "o.lmdb", writable=True).close()
    reader = LmdbOnlineStore(tmp_path / "o.lmdb")
    assert read(reader) is None
    with pytest.raises(StorageError, match="cannot write"):
        reader.commit([UPDATE])
    writer = LmdbOnlineStore(tmp_path / "o.lmdb", writable=True)
    writer.commit([UPDATE])
    assert read(reader) == b"run"
    reader.close()
    writer.close()


def test_a_full_store_says_so_and_stays_as_it_was(tmp_path: Path) -> None:
    store = LmdbOnlineStore(tmp_path / "o.lmdb", writable=True, map_bytes=1 << 20)
    store.commit([UPDATE])
    runs = {b"%d" % number: os.urandom(4000) for number in range(400)}
    with pytest.raises(StorageError, match=r"o\.lmdb: cannot write: .*MAP_FULL"):
        store.commit([ViewUpdate("v@1", Watermark(2, 2), {b"a": b"other", **runs})])
    assert read(store) == b"run"
    assert store.watermark("v@1") == Watermark(1, 1)
    store.close()


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "o.lmdb").mkdir()
    (tmp_path / "o.lmdb" / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageError, match=r"o\.lmdb: cannot open"):
        LmdbOnlineStore(tmp_path / "o.lmdb", writable=True)
