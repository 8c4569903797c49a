"""Contract suite of ``OnlineStore``.

A backend's test module subclasses ``OnlineStoreContract`` and gives the fixture ``store``, an empty store. A backend
that outlives its process adds ``DurableOnlineStoreContract`` and the fixture ``reopen``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import pytest

from raymlops.features.online.online_store import NOWHERE, OnlineStore, ViewUpdate, Watermark, address

__all__ = ["DurableOnlineStoreContract", "OnlineStoreContract"]

_KEYS = [b"", b"a", b"a\x00b", b"s2:ab", b"\xff" * 400]


def _update(view: str, runs: Mapping[bytes, bytes], mark: int = 0) -> ViewUpdate:
    return ViewUpdate(view, Watermark(mark, 10 * mark), runs)


def _read(store: OnlineStore, view: str, *keys: bytes) -> list[bytes | None]:
    with store.snapshot() as snapshot:
        found = snapshot.get_many([address(view, key) for key in keys])
        return [None if run is None else bytes(run) for run in found]


class OnlineStoreContract:
    """What every online store does."""

    def test_an_empty_store_has_nothing(self, store: OnlineStore) -> None:
        assert _read(store, "v@1", *_KEYS) == [None] * len(_KEYS)
        assert store.watermark("v@1") is None

    def test_runs_come_in_the_order_asked(self, store: OnlineStore) -> None:
        store.commit([_update("v@1", {key: b"run of " + key for key in _KEYS})])
        asked = [_KEYS[3], b"unknown", *_KEYS, _KEYS[3]]
        expected = [None if key == b"unknown" else b"run of " + key for key in asked]
        assert _read(store, "v@1", *asked) == expected
        assert _read(store, "v@1") == []

    def test_runs_are_memory_that_can_be_sliced(self, store: OnlineStore) -> None:
        store.commit([_update("v@1", {b"a": bytes(range(16))})])
        with store.snapshot() as snapshot:
            (run,) = snapshot.get_many([address("v@1", b"a")])
            assert isinstance(run, memoryview)
            assert run[8:16].cast("q")[0] == int.from_bytes(bytes(range(8, 16)), "little")

    def test_nothing_is_nowhere(self, store: OnlineStore) -> None:
        store.commit([_update("v@1", {b"": b"x"})])
        with store.snapshot() as snapshot:
            assert snapshot.get_many([NOWHERE]) == [None]

    def test_views_and_versions_are_apart(self, store: OnlineStore) -> None:
        store.commit([_update("v@1", {b"a": b"1"}, 1), _update("v@11", {b"a": b"11"}, 2), _update("v@2", {}, 3)])
        assert [_read(store, view, b"a") for view in ("v@1", "v@11", "v@2")] == [[b"1"], [b"11"], [None]]
        marks = [store.watermark(view) for view in ("v@1", "v@11", "v@2", "v")]
        assert marks == [Watermark(1, 10), Watermark(2, 20), Watermark(3, 30), None]

    def test_a_commit_replaces_and_leaves_the_rest(self, store: OnlineStore) -> None:
        store.commit([_update("v@1", {b"a": b"old", b"b": b"other"}, 1)])
        store.commit([_update("v@1", {b"a": b"new and longer"}, 2)])
        assert _read(store, "v@1", b"a", b"b") == [b"new and longer", b"other"]
        assert store.watermark("v@1") == Watermark(2, 20)

    def test_runs_of_a_view_may_come_in_parts(self, store: OnlineStore) -> None:
        parts: list[dict[bytes, bytes]] = [{b"a": b"1", b"c": b"3"}, {}, {b"b": b"2", b"d": b"4"}]
        store.commit([_update("v@1", runs, 5) for runs in parts])
        assert _read(store, "v@1", b"a", b"b", b"c", b"d") == [b"1", b"2", b"3", b"4"]
        assert store.watermark("v@1") == Watermark(5, 50)

    def test_a_watermark_may_stand_between_versions(self, store: OnlineStore) -> None:
        store.commit([ViewUpdate("v@1", Watermark(-1, -1), {})])
        assert store.watermark("v@1") == Watermark(-1, -1)
        store.commit([ViewUpdate("v@1", Watermark(-1, 2**40), {b"a": b"1"})])
        assert store.watermark("v@1") == Watermark(-1, 2**40)

    def test_an_empty_commit_changes_nothing(self, store: OnlineStore) -> None:
        store.commit([_update("v@1", {b"a": b"1"}, 1)])
        store.commit([])
        assert _read(store, "v@1", b"a") == [b"1"]

    def test_large_runs_and_many_keys(self, store: OnlineStore) -> None:
        runs = {b"%d" % number: b"%d" % number * (number % 7) * 100 for number in range(2_000)}
        runs[b"large"] = bytes(3 << 20)
        store.commit([_update("v@1", runs)])
        assert _read(store, "v@1", *runs) == list(runs.values())

    def test_a_snapshot_does_not_change(self, store: OnlineStore) -> None:
        store.commit([_update("v@1", {b"a": b"old"})])
        with store.snapshot() as snapshot:
            store.commit([_update("v@1", {b"a": b"new", b"b": b"new"})])
            found = snapshot.get_many([address("v@1", b"a"), address("v@1", b"b")])
            assert [None if run is None else bytes(run) for run in found] == [b"old", None]
        assert _read(store, "v@1", b"a", b"b") == [b"new", b"new"]

    def test_readers_see_whole_commits(self, store: OnlineStore) -> None:
        torn: list[list[bytes | None]] = []
        stop = threading.Event()

        def watch() -> None:
            while not stop.is_set():
                seen = _read(store, "v@1", b"a", b"b") + _read(store, "w@1")
                with store.snapshot() as snapshot:
                    addresses = [address(view, key) for view in ("v@1", "w@1") for key in (b"a", b"b")]
                    seen = [None if run is None else bytes(run) for run in snapshot.get_many(addresses)]
                if len(set(seen)) > 1:
                    torn.append(seen)

        threads = [threading.Thread(target=watch) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(60):
            runs = {key: b"%d" % number for key in (b"a", b"b")}
            store.commit([_update("v@1", runs, number), _update("w@1", runs, number)])
        stop.set()
        for thread in threads:
            thread.join()
        assert torn == []


class DurableOnlineStoreContract:
    """What a store does that outlives its process."""

    def test_a_commit_is_there_after_reopening(self, store: OnlineStore, reopen: Callable[[], OnlineStore]) -> None:
        store.commit([_update("v@1", {key: b"run of " + key for key in _KEYS}, 7)])
        again = reopen()
        assert _read(again, "v@1", *_KEYS) == [b"run of " + key for key in _KEYS]
        assert again.watermark("v@1") == Watermark(7, 70)

    def test_what_is_removed_leaves_nothing(self, store: OnlineStore, reopen: Callable[[], OnlineStore]) -> None:
        store.commit([_update("v@1", {key: b"run of " + key for key in _KEYS}, 7)])
        store.remove()
        again = reopen()
        assert (_read(again, "v@1", *_KEYS), again.watermark("v@1")) == ([None] * len(_KEYS), None)

    @pytest.mark.parametrize("commits", [1, 3])
    def test_it_goes_on_after_reopening(
        self, store: OnlineStore, reopen: Callable[[], OnlineStore], commits: int
    ) -> None:
        for number in range(commits):
            store.commit([_update("v@1", {b"a": b"%d" % number}, number)])
            store = reopen()
        assert _read(store, "v@1", b"a") == [b"%d" % (commits - 1)]
