"""What is LMDB's own; the rest is in the contract suite."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import lmdb
import pytest

from raymlops.errors import StorageError
from raymlops.features.online.lmdb import LmdbOnlineStore
from raymlops.features.online.online_store import ViewUpdate, Watermark, address
from raymlops.features.online.runs import MAGIC

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
    with pytest.raises(StorageError, match=r"o\.lmdb: is full at 1048576 bytes: raise features\.online_bytes"):
        store.commit([ViewUpdate("v@1", Watermark(2, 2), {b"a": b"other", **runs})])
    assert read(store) == b"run"
    assert store.watermark("v@1") == Watermark(1, 1)
    store.close()


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "o.lmdb").mkdir()
    (tmp_path / "o.lmdb" / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageError, match=r"o\.lmdb: cannot open"):
        LmdbOnlineStore(tmp_path / "o.lmdb", writable=True)


def test_the_file_grows_with_what_is_in_it_and_not_with_its_limit(tmp_path: Path) -> None:
    store = LmdbOnlineStore(tmp_path / "o.lmdb", writable=True, map_bytes=1 << 40)
    store.commit([UPDATE])
    assert (tmp_path / "o.lmdb" / "data.mdb").stat().st_size < 1 << 20
    store.close()


def test_a_reader_follows_a_file_beyond_an_earlier_limit(tmp_path: Path) -> None:
    LmdbOnlineStore(tmp_path / "o.lmdb", writable=True, map_bytes=1 << 20).close()
    reader = LmdbOnlineStore(tmp_path / "o.lmdb")
    writer = LmdbOnlineStore(tmp_path / "o.lmdb", writable=True, map_bytes=1 << 26)
    runs = {b"%d" % number: bytes(4000) for number in range(1000)}
    writer.commit([ViewUpdate("v@1", Watermark(2, 2), {b"a": b"run", **runs})])
    assert read(reader) == b"run"
    reader.close()
    writer.close()


def test_views_that_sort_before_what_is_there_are_found(tmp_path: Path) -> None:
    store = LmdbOnlineStore(tmp_path / "o.lmdb", writable=True)
    for view in ("m@1", "z@1", "a@1", "m@1"):
        runs = {key: view.encode() + key for key in (b"k", b"b", b"z")}
        store.commit([ViewUpdate(view, Watermark(1, 1), runs)])
    with store.snapshot() as snapshot:
        for view in ("a@1", "m@1", "z@1"):
            found = snapshot.get_many([address(view, key) for key in (b"z", b"b", b"k")])
            assert [bytes(run) for run in found if run is not None] == [
                view.encode() + key for key in (b"z", b"b", b"k")
            ]
    store.close()


def written_in_an_older_layout(path: Path, layout: bytes | None) -> None:
    """A file as a version before this one left it."""
    store = LmdbOnlineStore(path, writable=True)
    updates = [ViewUpdate(view, Watermark(7, 70), {b"a": b"older"}) for view in ("v@1", "w@1")]
    store.commit(updates)
    store.close()
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        if layout is None:
            transaction.delete(b"\x00layout")
        else:
            transaction.put(b"\x00layout", layout)


@pytest.mark.parametrize("layout", [None, struct.pack("<I", MAGIC - 1)])
def test_a_file_of_another_layout_is_emptied_and_read_again_once_it_is_rebuilt(
    tmp_path: Path, layout: bytes | None
) -> None:
    path = tmp_path / "o.lmdb"
    written_in_an_older_layout(path, layout)
    with pytest.raises(StorageError, match=r"o\.lmdb: is of another layout: the writing process rebuilds it"):
        LmdbOnlineStore(path)
    writer = LmdbOnlineStore(path, writable=True)
    assert read(writer) is None
    assert [writer.watermark(view) for view in ("v@1", "w@1", "x@1")] == [Watermark(-1, -1), Watermark(-1, -1), None]
    rebuilding = r"o\.lmdb: is being rebuilt from the tables: \['v@1', 'w@1'\] are not complete yet"
    with pytest.raises(StorageError, match=rebuilding):
        LmdbOnlineStore(path)
    writer.commit([ViewUpdate("v@1", Watermark(-1, 30), {b"a": b"half"})])
    with pytest.raises(StorageError, match=rebuilding):
        LmdbOnlineStore(path)
    writer.close()
    writer = LmdbOnlineStore(path, writable=True)  # as after a crash: it goes on where it was
    assert writer.watermark("v@1") == Watermark(-1, 30)
    writer.commit([UPDATE])
    with pytest.raises(StorageError, match=r"\['w@1'\] are not complete yet"):
        LmdbOnlineStore(path)
    writer.commit([ViewUpdate("w@1", Watermark(7, 70), {})])
    reader = LmdbOnlineStore(path)
    assert read(reader) == b"run"
    reader.close()
    writer.close()


def test_an_empty_file_has_no_layout_yet(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path / "o.lmdb")).close()
    reader = LmdbOnlineStore(tmp_path / "o.lmdb")
    assert read(reader) is None
    reader.close()
