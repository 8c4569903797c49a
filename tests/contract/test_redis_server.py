"""What is a Redis server's own, on a real one; the rest is in the contract suite."""

from __future__ import annotations

import logging
import pickle
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.errors import ConfigError, StorageError
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field, WindowAggregate
from raymlops.features.online.online_store import ViewUpdate, Watermark, address
from raymlops.features.online.redis import RedisOnlineStore
from tests.support.point_in_time import table_of

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
VIEW = FeatureView(
    "sales",
    Entity("shop", ["shop"]),
    [Field("amount", "float64"), Field("city", "string")],
    ttl=timedelta(minutes=30),
    aggregates=[WindowAggregate("total", "sum", "amount", timedelta(minutes=20))],
)
SERVICE = FeatureService("s", ["sales:amount", "sales:city", "sales:total"])


def update(view: str, run: bytes, number: int = 0, keys: tuple[bytes, ...] = (b"a", b"b")) -> ViewUpdate:
    return ViewUpdate(view, Watermark(number, number), dict.fromkeys(keys, run))


def read(snapshot: Any, view: str = "v@1", *keys: bytes) -> list[bytes | None]:
    runs = snapshot.get_many([address(view, key) for key in keys or (b"a", b"b")])
    return [None if run is None else bytes(run) for run in runs]


@pytest.fixture
def store(redis_server: Any) -> Iterator[RedisOnlineStore]:
    with closing(RedisOnlineStore(redis_server.url, writable=True)) as opened:
        yield opened


@pytest.fixture
def reader(redis_server: Any) -> Iterator[RedisOnlineStore]:
    with closing(RedisOnlineStore(redis_server.url)) as opened:
        yield opened


def test_all_reads_of_a_snapshot_are_of_one_commit(store: RedisOnlineStore, reader: RedisOnlineStore) -> None:
    """Several views, read one after the other while commits come as fast as they can."""
    store.commit([update("v@1", b"0"), update("w@1", b"0")])
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            store.commit([update(view, b"%d" % number, number) for view in ("v@1", "w@1")])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen, too_old = [], 0
        while len(seen) < 400:
            with reader.snapshot() as snapshot:
                try:
                    seen.append([*read(snapshot), *read(snapshot, "w@1"), *read(snapshot), *read(snapshot, "x@1")])
                except StorageError:
                    too_old += 1
    finally:
        stop.set()
        writer.join()
    assert {len(set(runs[:-2])) for runs in seen} == {1}
    assert {tuple(runs[-2:]) for runs in seen} == {(None, None)}
    numbers = [int(runs[0] or b"") for runs in seen]
    assert numbers == sorted(numbers)
    assert numbers[-1] > numbers[0]
    assert too_old < len(seen)


def test_a_snapshot_keeps_its_state_for_some_commits(store: RedisOnlineStore) -> None:
    store.commit([update("v@1", b"0", keys=(b"a",))])
    with store.snapshot() as snapshot:
        assert read(snapshot) == [b"0", None]
        for number in range(1, 9):
            store.commit([update("v@1", b"%d" % number, number)])
            assert read(snapshot) == [b"0", None]
            assert read(snapshot, "v@1", b"b", b"a", b"b", b"c") == [None, b"0", None, None]
    with store.snapshot() as snapshot:
        assert read(snapshot) == [b"8", b"8"]


def test_a_snapshot_that_is_too_old_says_so(store: RedisOnlineStore) -> None:
    store.commit([update("v@1", b"first")])
    with store.snapshot() as unread, store.snapshot() as snapshot:
        read(snapshot)
        for number in range(20):
            store.commit([update("v@1", b"%d" % number, number)])
        with pytest.raises(StorageError, match=r"the snapshot is too old: read again"):
            read(snapshot)
        assert read(unread) == [b"19", b"19"]
        store.commit([update("v@1", b"20")])
        assert read(unread) == [b"19", b"19"]


def test_a_snapshot_that_nobody_reads_leaves_its_connection_clean(store: RedisOnlineStore) -> None:
    store.commit([update("v@1", b"1")])
    for _ in range(3):
        with store.snapshot():
            pass
        with store.snapshot() as snapshot:
            assert snapshot.get_many([]) == []
        with pytest.raises(ZeroDivisionError), store.snapshot() as snapshot:
            snapshot.get_many([address("v@1", b"a")] * (1 // 0))
        with store.snapshot() as snapshot:
            assert read(snapshot) == [b"1", b"1"]


MANY = tuple(b"%d" % number for number in range(3_500))


def state_of(store: RedisOnlineStore) -> tuple[set[bytes | None], Watermark | None]:
    with store.snapshot() as snapshot:
        return set(read(snapshot, "v@1", *MANY)), store.watermark("v@1")


def test_a_large_commit_is_seen_as_a_whole(store: RedisOnlineStore, reader: RedisOnlineStore) -> None:
    store.commit([update("v@1", b"0", 0, MANY)])
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            store.commit([update("v@1", b"%d" % number, number, MANY)])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = []
        while len(seen) < 150 or seen[-1] == seen[0]:
            with reader.snapshot() as snapshot:
                ends = read(snapshot, "v@1", MANY[0], MANY[1_500])
                seen.append([*ends, *read(snapshot, "v@1", MANY[-1], MANY[0])])
    finally:
        stop.set()
        writer.join()
    assert {len(set(runs)) for runs in seen} == {1}


@pytest.mark.parametrize("taken_over", [False, True])
def test_a_large_commit_that_is_cut_off_is_taken_back(
    store: RedisOnlineStore, redis_server: Any, monkeypatch: pytest.MonkeyPatch, taken_over: bool
) -> None:
    store.commit([update("v@1", b"old", 1, MANY[:2_000])])
    replace, calls = store._replace, []

    def cut_off(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            raise StorageError("the line is cut")
        replace(*arguments)

    monkeypatch.setattr(store, "_replace", cut_off)
    with pytest.raises(StorageError, match="the line is cut"):
        store.commit([update("v@1", b"never", 2, MANY[::-1])])
    monkeypatch.undo()
    server = _server(redis_server)
    assert server.scard(store.keys.pending) == 2_000
    assert state_of(store) == ({b"old", None}, Watermark(1, 1))
    with closing(RedisOnlineStore(redis_server.url, writable=True) if taken_over else store) as writer:
        writer.commit([update("v@1", b"next", 3, MANY[:1])])
        assert server.scard(store.keys.pending) == 0
        assert state_of(writer) == ({b"next", b"old", None}, Watermark(3, 3))
        with writer.snapshot() as snapshot:
            assert read(snapshot, "v@1", MANY[1_999], MANY[2_000], MANY[-1]) == [b"old", None, None]
        writer.commit([update("v@1", b"last", 4, MANY)])
        assert state_of(writer) == ({b"last"}, Watermark(4, 4))
        assert server.scard(store.keys.pending) == 0
    assert server.ttl(store.keys.replaced + address("v@1", MANY[0])) > 0


def test_a_writer_that_is_killed_leaves_whole_commits(store: RedisOnlineStore, redis_server: Any) -> None:
    program = (
        "import sys\n"
        "from raymlops.features.online.online_store import ViewUpdate, Watermark\n"
        "from raymlops.features.online.redis import RedisOnlineStore\n"
        "store = RedisOnlineStore(sys.argv[1], writable=True)\n"
        "start = store.watermark('v@1').sequence\n"
        "for number in range(start + 1, start + 1000):\n"
        f"    keys = [b'%d' % key for key in range({len(MANY)})]\n"
        "    store.commit([ViewUpdate('v@1', Watermark(number, number), dict.fromkeys(keys, b'%d' % number))])\n"
        "    print(number, flush=True)\n"
    )
    store.commit([update("v@1", b"0", 0, MANY)])
    chance = random.Random(11)
    for _ in range(4):
        command = [sys.executable, "-c", program, redis_server.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = int(process.stdout.readline())
            threading.Event().wait(chance.random() * 0.2)
            process.kill()
            told = max([told, *[int(line) for line in process.stdout.read().splitlines(keepends=True) if "\n" in line]])
        with closing(RedisOnlineStore(redis_server.url, writable=True)) as successor:
            runs, mark = state_of(successor)
            assert mark is not None
            assert mark.sequence in {told, told + 1}
            assert runs == {b"%d" % mark.sequence}
            assert _server(redis_server).scard(successor.keys.pending) == 0


def test_readers_need_a_store_to_be_there(reader: RedisOnlineStore, redis_server: Any) -> None:
    with reader.snapshot() as snapshot, pytest.raises(StorageError, match=r"never opened by a writer, or .* emptied"):
        read(snapshot)
    with closing(RedisOnlineStore(redis_server.url, writable=True)) as writer:
        writer.commit([update("v@1", b"1")])
        with reader.snapshot() as snapshot:
            assert read(snapshot) == [b"1", b"1"]
        _server(redis_server).flushall()
        with pytest.raises(StorageError, match="emptied"):
            reader.watermark("v@1")
        with pytest.raises(StorageError, match="emptied"):
            writer.commit([update("v@1", b"2")])
    with reader.snapshot() as snapshot, pytest.raises(StorageError, match="emptied"):
        read(snapshot)


def test_a_new_writer_shuts_the_former_one_out(store: RedisOnlineStore, redis_server: Any) -> None:
    store.commit([update("v@1", b"former")])
    with closing(RedisOnlineStore(redis_server.url, writable=True)) as successor:
        with pytest.raises(StorageError, match="another process writes now"):
            store.commit([update("v@1", b"too late", 1)])
        assert successor.watermark("v@1") == Watermark(0, 0)
        successor.commit([update("v@1", b"next", 1)])
    with store.snapshot() as snapshot:
        assert read(snapshot) == [b"next", b"next"]


def test_a_server_that_goes_and_comes_back(
    store: RedisOnlineStore, reader: RedisOnlineStore, redis_server: Any
) -> None:
    store.commit([update("v@1", b"1", 1)])
    with reader.snapshot() as snapshot:
        assert read(snapshot) == [b"1", b"1"]
    redis_server.kill()
    with pytest.raises(StorageError, match=f"online store {redis_server.url}: cannot read") as caught:
        reader.watermark("v@1")
    assert caught.value.retryable
    assert caught.value.context == {"server": redis_server.url}
    with pytest.raises(StorageError, match="cannot read"), reader.snapshot() as snapshot:
        read(snapshot)
    with pytest.raises(StorageError, match="cannot write"):
        store.commit([update("v@1", b"2", 2)])
    redis_server.start()
    with reader.snapshot() as snapshot:
        assert read(snapshot) == [b"1", b"1"]
    store.commit([update("v@1", b"2", 2)])
    assert reader.watermark("v@1") == Watermark(2, 2)


def test_a_server_that_hangs_is_given_up(store: RedisOnlineStore, redis_server: Any) -> None:
    store.commit([update("v@1", b"1", 1)])
    with closing(RedisOnlineStore(redis_server.url, timeout_s=0.2)) as hasty:
        redis_server.send(signal.SIGSTOP)
        with pytest.raises(StorageError, match="cannot read"), hasty.snapshot() as snapshot:
            read(snapshot)
        redis_server.send(signal.SIGCONT)
        with hasty.snapshot() as snapshot:
            assert read(snapshot) == [b"1", b"1"]


def test_a_replica_can_be_read_and_not_written(
    store: RedisOnlineStore, reader: RedisOnlineStore, redis_server: Any
) -> None:
    store.commit([update("v@1", b"1", 1)])
    _server(redis_server).replicaof("127.0.0.1", "1")
    with pytest.raises(StorageError, match="cannot write"):
        store.commit([update("v@1", b"2", 2)])
    with reader.snapshot() as snapshot:
        assert read(snapshot) == [b"1", b"1"]
    assert reader.watermark("v@1") == Watermark(1, 1)


def test_a_commit_that_does_not_fit_leaves_nothing(store: RedisOnlineStore, redis_server: Any) -> None:
    store.commit([update("v@1", b"1", 1)])
    server = _server(redis_server)
    server.config_set("maxmemory", server.info("memory")["used_memory"] + (1 << 20))
    large = {b"%d" % number: bytes(1000) for number in range(8_000)}
    with pytest.raises(StorageError, match="cannot write"):
        store.commit([ViewUpdate("v@1", Watermark(2, 2), {b"a": b"2", **large})])
    server.config_set("maxmemory", 0)
    assert store.watermark("v@1") == Watermark(1, 1)
    with store.snapshot() as snapshot:
        assert read(snapshot, "v@1", b"a", b"7", b"7999") == [b"1", None, None]


def test_a_server_that_may_evict_runs_is_refused(redis_server: Any) -> None:
    server = _server(redis_server)
    server.config_set("maxmemory", 1 << 30)
    server.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(ConfigError, match=r"maxmemory-policy must not .* got 'allkeys-lru'") as refused:
        RedisOnlineStore(redis_server.url, writable=True)
    assert len(server.client_list()) == 1, f"what {refused} opened is closed"
    server.config_set("maxmemory-policy", "volatile-lru")
    RedisOnlineStore(redis_server.url, writable=True).close()


def test_stores_with_other_prefixes_and_foreign_keys_are_apart(store: RedisOnlineStore, redis_server: Any) -> None:
    _server(redis_server).set("raymlops:run:v@1", "somebody else's")
    store.commit([update("v@1", b"1", 1)])
    with closing(RedisOnlineStore(redis_server.url, writable=True, prefix="other")) as other:
        assert other.watermark("v@1") is None
        other.commit([update("v@1", b"2", 2)])
    assert store.watermark("v@1") == Watermark(1, 1)
    with store.snapshot() as snapshot:
        assert read(snapshot) == [b"1", b"1"]


def test_a_store_of_another_layout_is_built_again(reader: RedisOnlineStore, redis_server: Any) -> None:
    server = _server(redis_server)
    server.set("ray*:layout", "0ld")
    server.mset({"ray*:0ld:run:v@1\0a": "gone", "ray*:0ld:commit": 3, "raymlops:0ld:run:v@1\0a": "not ours"})
    server.hset("ray*:0ld:watermarks", mapping={"v@1": "?", "w@1": "?"})
    options: dict[str, Any] = {"prefix": "ray*"}
    with (
        closing(RedisOnlineStore(redis_server.url, writable=True, **options)) as writer,
        closing(RedisOnlineStore(redis_server.url, **options)) as other,
    ):
        assert server.keys("*0ld*") == [b"raymlops:0ld:run:v@1\0a"]
        assert [writer.watermark(view) for view in ("v@1", "w@1", "x@1")] == [Watermark(-1, -1)] * 2 + [None]
        writer.commit([update("v@1", b"1", 1), ViewUpdate("w@1", Watermark(-1, 5), {})])
        with pytest.raises(StorageError, match="of a former layout and being rebuilt"), other.snapshot() as snapshot:
            read(snapshot)
    with closing(RedisOnlineStore(redis_server.url, writable=True, **options)) as writer:
        writer.commit([update("w@1", b"1", 1)])
        with closing(RedisOnlineStore(redis_server.url, **options)) as other, other.snapshot() as snapshot:
            assert read(snapshot) == [b"1", b"1"]


@pytest.mark.parametrize("form", ["{user}:{password}@", "argument"])
def test_passwords_are_used_and_never_shown(
    redis_program: str, redis_server: Any, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    _server(redis_server).acl_setuser("fs", enabled=True, passwords=["+s3cret"], keys=["*"], commands=["+@all"])
    _server(redis_server).config_set("requirepass", "s3cret")
    right, wrong = _with_password(redis_server.url, form, "s3cret"), _with_password(redis_server.url, form, "wr0ng")
    with caplog.at_level(logging.DEBUG), closing(right(True)) as writer:
        writer.commit([update("v@1", b"1", 1)])
        with closing(right(False)) as reader, reader.snapshot() as snapshot:
            assert read(snapshot) == [b"1", b"1"]
        with closing(wrong(False)) as reader, pytest.raises(StorageError) as caught:
            reader.watermark("v@1")
        shown = [repr(writer), str(reader), str(caught.value), repr(caught.value.context), caplog.text]
        shown += [str(pickle.dumps(caught.value)), str(caught.value.__cause__)]
    assert not [text for text in shown if "s3cret" in text or "wr0ng" in text]


def _with_password(url: str, form: str, password: str) -> Callable[[bool], RedisOnlineStore]:
    if form == "argument":
        return lambda writable: RedisOnlineStore(url, password=password, writable=writable)
    full = url.replace("unix://", "unix://" + form.format(user="fs", password=password))
    return lambda writable: RedisOnlineStore(full, writable=writable)


def _server(redis_server: Any) -> Any:
    import redis

    return redis.Redis.from_url(redis_server.url)


def test_online_equals_offline_over_a_server(tmp_path: Path, redis_server: Any) -> None:
    """Out of order, late and repeated rows; the writer is replaced in between."""
    chance = random.Random(7)
    clock = ManualClock(T)
    shops = ["a", "b", "c", "d"]
    for batch in range(12):
        online = RedisOnlineStore(redis_server.url, writable=True)
        with closing(FeatureStore(tmp_path, clock=clock, history=timedelta(hours=2), online=online)) as store:
            store.apply(VIEW, SERVICE)
            rows = [
                {
                    "shop": chance.choice(shops),
                    "event_time": T - chance.randrange(90) * MINUTE,
                    "amount": chance.choice([None, 1.5, -2.0, 1e9]),
                    "city": chance.choice([None, "rome", "oslo"]),
                }
                for _ in range(chance.randrange(1, 8))
            ]
            table = table_of(VIEW, rows)
            store.push("sales", table, ingest_id=f"batch {batch}")
            store.push("sales", table, ingest_id=f"batch {batch}")
    with closing(FeatureReader(tmp_path, clock=clock, online=RedisOnlineStore(redis_server.url))) as reader:
        entities = pa.table({"shop": [*shops, None, "nobody"]})
        for minutes in range(0, 100, 7):
            at = T - minutes * MINUTE
            served = reader.online("s", entities, at)
            instants = pa.array([at] * entities.num_rows, pa.timestamp("us", tz="UTC"))
            expected = reader.features_at("s", entities.append_column("event_time", instants))
            assert served.select(expected.column_names).equals(expected), f"at {at}"


def test_a_server_with_tls(redis_program: str, redis_server: Any, redis_directory: Path) -> None:
    openssl = shutil.which("openssl") or pytest.skip("needs openssl on the PATH, to make a certificate")
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [
            openssl,
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-keyout",
            "key",
            "-out",
            "cert",
            *name,
        ],
        cwd=redis_directory,
        check=True,
        capture_output=True,
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"tls-cert-file": "cert", "tls-key-file": "key", "tls-ca-cert-file": "cert", "tls-auth-clients": "no"}
    server = _server(redis_server)
    try:
        server.config_set(*[part for pair in settings.items() for part in pair], "tls-port", port)
    except Exception as error:
        if "Unknown option" not in str(error):
            raise
        pytest.skip(f"{redis_program} was built without TLS")
    url = f"rediss://127.0.0.1:{port}/0"
    with closing(RedisOnlineStore(f"{url}?ssl_ca_certs={redis_directory / 'cert'}", writable=True)) as store:
        store.commit([update("v@1", b"1", 1)])
        assert store.watermark("v@1") == Watermark(1, 1)
        assert str(store) == f"online store {url}"
    with closing(RedisOnlineStore(url)) as stranger, pytest.raises(StorageError, match="certificate verify failed"):
        stranger.watermark("v@1")


def test_any_node_reads_the_server(tmp_path: Path, redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform's wiring, by its configuration, with a password from the environment."""
    from raymlops.config.features import FeaturesConfig
    from raymlops.config.platform import PlatformConfig
    from raymlops.runtime.nodes import feature_nodes
    from raymlops.runtime.nodes.feature_readers import ReaderElsewhere

    # not in an actor: the answer of a process that no actor was restarted in
    monkeypatch.setattr(
        feature_nodes.ray, "get_runtime_context", lambda: SimpleNamespace(was_current_actor_reconstructed=False)
    )
    _server(redis_server).config_set("requirepass", "s3cret")
    monkeypatch.setenv("RAYMLOPS_REDIS_PASSWORD", "s3cret")
    features = FeaturesConfig(online_store=redis_server.url, online_prefix="here", history=timedelta(hours=2))
    config = PlatformConfig(home=tmp_path / "home", features=features)
    assert "s3cret" not in config.model_dump_json() + repr(config)
    with closing(feature_nodes.FeaturesActor(config)) as writer:
        writer.apply(VIEW, SERVICE)
        rows = [{"shop": "a", "event_time": datetime.now(UTC) - MINUTE, "amount": 2.0, "city": "rome"}]
        writer.push("sales", table_of(VIEW, rows), ingest_id="one")
        elsewhere = config.model_copy(update={"home": tmp_path / "elsewhere"})
        with closing(ReaderElsewhere(elsewhere, None, "n2", writer)) as reader:
            served = reader.online("s", pa.table({"shop": ["a", "b"]}))
            assert served["sales__amount"].to_pylist() == [2.0, None]
            assert served["sales__total"].to_pylist()[0] == 2.0
        _another_environment_has_features_of_its_own(writer, elsewhere)
    assert not list((tmp_path / "home").rglob("*.lmdb"))
    assert not (tmp_path / "elsewhere").exists()


def _another_environment_has_features_of_its_own(writer: Any, elsewhere: Any) -> None:
    """The writer's own environment has the shop ``a``."""
    from raymlops.runtime.nodes.feature_readers import ReaderElsewhere

    staging = _Part(writer, "staging")
    staging.apply(VIEW, SERVICE)
    rows = [{"shop": "b", "event_time": datetime.now(UTC) - MINUTE, "amount": 7.0, "city": "oslo"}]
    staging.push("sales", table_of(VIEW, rows), ingest_id="one")
    shops = pa.table({"shop": ["a", "b"]})
    for environment, leader, amounts in ((None, writer, [2.0, None]), ("staging", staging, [None, 7.0])):
        with closing(ReaderElsewhere(elsewhere, environment, "n2", leader)) as reader:
            assert reader.online("s", shops)["sales__amount"].to_pylist() == amounts


class _Part:
    """A part of an actor, as a proxy calls it."""

    def __init__(self, actor: Any, name: str) -> None:
        self._actor = actor
        self._name = name

    def __getattr__(self, method: str) -> Any:
        return partial(self._actor.call_part, self._name, method)
