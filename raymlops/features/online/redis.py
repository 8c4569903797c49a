"""The online store on a Redis or Valkey server: for nodes without a disk of their own, or many writers' readers."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from raymlops.errors import ConfigError, StorageError
from raymlops.features.online.online_store import ViewUpdate, Watermark, address
from raymlops.features.online.redis_layout import CHUNK, KEPT, KEPT_MS, LAYOUT, REPLACE, SETTLE, WATERMARK, Keys, tag
from raymlops.features.online.redis_snapshot import RedisSnapshot

__all__ = ["RedisOnlineStore", "server_address"]

_SCHEMES = ("redis", "rediss", "unix")
_REDIS_PORT = 6379
_REBUILDING = b" rebuilding"
"""Follows the number of the last commit as long as views of a former layout are not complete again."""
_NOT_YET = WATERMARK.pack(-1, -1)
_Chunk = list[tuple[bytes, bytes]]


def server_address(url: str) -> str:
    """The address of a server for messages: its URL without user, password and options.

    Raises:
        ConfigError: ``url`` is not ``redis://``, ``rediss://`` or ``unix://``.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in _SCHEMES:
        rule = "must be redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///SOCKET"
        raise ConfigError(f"online store: the server's URL {rule}, got scheme {parts.scheme!r}")
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    return f"{parts.scheme}://{parts.hostname or 'localhost'}:{port or _REDIS_PORT}{parts.path}"


class RedisOnlineStore:
    """Runs on a Redis or Valkey server, one string per run.

    A commit is made in one step, and a snapshot is one state: of the last commit at its opening, or of one that came
    before its first read. Commits that come while a snapshot is open do not show in it; one that stays open while the
    same key is committed more than 16 times, or for 30 s after such a commit, fails with a ``StorageError`` and may be
    read again. A large commit is brought to the server in pieces that nobody sees before that step, and that are taken
    back if it never comes, so that readers wait for a piece at most.

    A commit is as durable as the server's configuration makes it; runs and watermarks are lost together or not at all,
    so what is lost is made up for by the next materialisation.

    One writer: opening another one shuts the former out. Connections are made when they are needed, and made again
    when they broke. A cluster of servers that splits the keys is not supported; replicas and sentinels behind one
    address are.

    Args:
        url: ``redis://[USER:PASSWORD@]HOST:PORT/DB``, ``rediss://`` for TLS, or ``unix://SOCKET?db=DB``. Options of the
            redis package may follow as a query: ``ssl_ca_certs``, ``socket_timeout``...
        writable: Whether ``commit`` may be called; takes over from a former writer.
        prefix: Begins the names of all keys; stores with different prefixes share a server.
        password: For a URL that has none.
        timeout_s: Longest wait for one answer.

    Raises:
        ConfigError: the URL is none, the redis package is not installed, or the server may evict runs.
        StorageError: the server cannot be reached (a writer only: readers connect when they read).
    """

    remote = True

    def __init__(
        self,
        url: str,
        *,
        writable: bool = False,
        prefix: str = "raymlops",
        password: str | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self.address = server_address(url)
        self._writer = b""
        self._prefix = prefix
        self._rebuilding: set[str] = set()
        self._unsettled = False
        self.keys = Keys(prefix, LAYOUT)
        self._lock = threading.Lock()
        wait_s = (60.0 if writable else 5.0) if timeout_s is None else timeout_s
        self._redis, self._client = _client(url, self.address, password, wait_s)
        self._pool = self._client.connection_pool
        self._closed = False
        if writable:
            try:
                self._claim()
            except BaseException:
                self.close()
                raise

    def __str__(self) -> str:
        return f"online store {self.address}"

    __repr__ = __str__

    def _claim(self) -> None:
        """Become the writer; a former writer cannot commit any more."""
        with self.named("open"):
            memory = self._client.info("memory")
            policy = str(memory.get("maxmemory_policy", "noeviction"))
            if int(memory.get("maxmemory", 0)) and policy.startswith("allkeys"):
                rule = "maxmemory-policy must not be one that evicts keys without expiry"
                raise ConfigError(f"{self}: {rule}, got {policy!r}: runs would go missing", policy=policy)
            self._writer = b"%d" % self._client.incr(self.keys.writer)
            self._leave_former_layout()
            self._rebuilding = {view.decode() for view in self._client.smembers(self.keys.rebuilding)}
            self._client.set(self.keys.commit, b"0" + (_REBUILDING if self._rebuilding else b""), nx=True)
            self._settle(self.number_of(self._client.get(self.keys.commit)) + 1)

    def _leave_former_layout(self) -> None:
        """Note which views a store of another layout had, so that they are built again, and remove it."""
        noted = f"{self._prefix}:layout"
        former = (self._client.get(noted) or LAYOUT.encode()).decode()
        if former != LAYOUT:
            keys = Keys(self._prefix, former)
            for view in self._client.hkeys(keys.watermarks):
                self._client.pipeline().sadd(self.keys.rebuilding, view).hsetnx(
                    self.keys.watermarks, view, _NOT_YET
                ).execute()
            self._unlink(keys.run)
            self._unlink(keys.replaced)
            self._client.unlink(*[name for name in vars(keys).values() if name not in {keys.run, keys.replaced}])
        self._client.set(noted, LAYOUT)

    @contextmanager
    def named(self, action: str) -> Iterator[None]:
        """Turn the client's errors into the domain's, with the server's address and without its password."""
        if self._closed:
            raise StorageError(f"{self}: cannot {action}: it is closed", server=self.address)
        try:
            yield
        except (self._redis.RedisError, OSError) as error:
            raise StorageError(f"{self}: cannot {action}: {error}", server=self.address) from error

    def number_of(self, answer: bytes | None) -> int:
        """The number of the last commit.

        Raises:
            StorageError: there is no store, or it is not complete.
        """
        if answer is None:
            reason = "it was never opened by a writer, or the server was emptied"
            raise StorageError(f"{self}: there is nothing under {self.keys.commit!r}: {reason}", server=self.address)
        if answer.endswith(_REBUILDING) and not self._writer:
            raise StorageError(f"{self}: it is of a former layout and being rebuilt", server=self.address)
        return int(answer.removesuffix(_REBUILDING))

    def connection(self) -> Any:
        """A connection of the pool, to be given back."""
        return self._pool.get_connection()

    def release(self, connection: Any) -> None:
        """Give a connection back."""
        self._pool.release(connection)

    def snapshot(self) -> RedisSnapshot:
        return RedisSnapshot(self)

    def watermark(self, view: str) -> Watermark | None:
        with self.named("read"):
            number, record = self._client.pipeline().get(self.keys.commit).hget(self.keys.watermarks, view).execute()
        self.number_of(number)
        return None if record is None else Watermark(*WATERMARK.unpack(record))

    def commit(self, updates: Sequence[ViewUpdate]) -> None:
        if not updates:
            return
        with self._lock, self.named("write"):
            number = self.number_of(self._client.get(self.keys.commit)) + 1
            if self._unsettled:
                self._settle(number)
            chunks = list(self._chunks(updates))
            if len(chunks) > 1:
                self._unsettled = True
                for chunk in chunks:
                    self._replace(self._client, chunk, number, 0)
                chunks = []
            self._finish(updates, chunks, number)
            if self._unsettled:
                with suppress(self._redis.RedisError):  # the commit is made; the next one tidies up after it
                    self._settle(number + 1)

    def _finish(self, updates: Sequence[ViewUpdate], chunks: Sequence[_Chunk], number: int) -> None:
        """Make a commit, with the runs that are not there already, what readers see."""
        complete = {update.view for update in updates if update.watermark.table_version >= 0}
        rebuilding = self._rebuilding - complete
        with self._client.pipeline() as transaction:
            transaction.watch(self.keys.writer, self.keys.commit)
            writer, present = transaction.mget(self.keys.writer, self.keys.commit)
            if writer != self._writer or self.number_of(present) + 1 != number:
                raise StorageError(f"{self}: cannot write: another process writes now", server=self.address)
            transaction.multi()
            for chunk in chunks:
                self._replace(transaction, chunk, number, KEPT_MS)
            for update in updates:
                record = WATERMARK.pack(update.watermark.table_version, update.watermark.sequence)
                transaction.hset(self.keys.watermarks, update.view, record)
            transaction.srem(self.keys.rebuilding, *complete, b"")
            transaction.set(self.keys.commit, b"%d" % number + (_REBUILDING if rebuilding else b""))
            transaction.execute()
        self._rebuilding = rebuilding

    @staticmethod
    def _chunks(updates: Sequence[ViewUpdate]) -> Iterator[_Chunk]:
        runs = ((address(update.view, key), run) for update in updates for key, run in update.runs.items())
        while chunk := list(islice(runs, CHUNK)):
            yield chunk

    def _names(self, addresses: Sequence[bytes]) -> list[bytes]:
        pairs = [(self.keys.run + found, self.keys.replaced + found) for found in addresses]
        return [self.keys.writer, self.keys.pending, *[name for pair in pairs for name in pair]]

    def _replace(self, client: Any, chunk: _Chunk, number: int, kept_ms: int) -> None:
        names = self._names([found for found, _ in chunk])
        runs = [run for _, run in chunk]
        client.eval(REPLACE, len(names), *names, self._writer, tag(number), KEPT, kept_ms, *runs)

    def _settle(self, unfinished: int) -> None:
        """Undo what a commit that was cut off left, and let what earlier ones replaced expire."""
        while runs := self._client.srandmember(self.keys.pending, CHUNK):
            names = self._names([run.removeprefix(self.keys.run) for run in runs])
            self._client.eval(SETTLE, len(names), *names, self._writer, tag(unfinished), KEPT_MS)
        self._unsettled = False

    def remove(self) -> None:
        with self.named("remove"):
            self._unlink(f"{self._prefix}:".encode())
        self.close()

    def _unlink(self, start: bytes) -> None:
        """Remove all keys that begin so."""
        found = self._client.scan_iter(match=_literally(start) + b"*", count=CHUNK)
        while names := list(islice(found, CHUNK)):
            self._client.unlink(*names)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._client.close()


def _literally(text: bytes) -> bytes:
    """A pattern of the server's that ``text`` alone matches."""
    return re.sub(rb"([*?\[\]\\^])", rb"\\\1", text)


def _client(url: str, shown: str, password: str | None, timeout_s: float) -> tuple[Any, Any]:
    """The redis package, and a client that has not connected yet."""
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        message = f"online store {shown}: the redis package is missing: pip install 'raymlops[redis]'"
        raise ConfigError(message) from error
    options: dict[str, Any] = {} if password is None else {"password": password}
    try:
        client = redis.Redis.from_url(
            url,
            protocol=2,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 1),
            **options,
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"online store {shown}: the server's URL has an option that is none: {error}") from None
    return redis, client
