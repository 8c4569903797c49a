"""A Redis and a PostgreSQL server of the tests' own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.servers import REDIS_PROGRAMS, find_postgres, find_redis, running_postgres

_POSTGRES, _REDIS = "raymlops-pg-", "rml-"


class RedisServer:
    """A server on a unix socket in a directory of its own, which writes every commit to disk before it answers."""

    def __init__(self, program: str, directory: Path, *options: str) -> None:
        self._directory = directory
        self._options = options
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{directory / 's'}"

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", "s", "--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *options, *self._options], cwd=self._directory, stdout=log, stderr=subprocess.STDOUT
            )
        import redis

        deadline = time.monotonic() + 20
        with redis.Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.AuthenticationError:
                    return
                except redis.ConnectionError:
                    if time.monotonic() > deadline or self._process.poll() is not None:
                        raise
                    time.sleep(0.01)

    def send(self, signal_number: int) -> None:
        assert self._process is not None
        self._process.send_signal(signal_number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="session")
def redis_program() -> str:
    pytest.importorskip("redis", reason="needs the redis package: pip install 'raymlops[redis]'")
    return find_redis() or pytest.skip(f"needs one of {', '.join(REDIS_PROGRAMS)} on the PATH")


@pytest.fixture
def redis_directory() -> Iterator[Path]:
    # The path of a unix socket has at most 107 bytes; a test's own directory may have more.
    _sweep(_REDIS)
    with tempfile.TemporaryDirectory(prefix=f"{_REDIS}{os.getpid()}-") as directory:
        yield Path(directory)


@pytest.fixture
def redis_server(redis_program: str, redis_directory: Path) -> Iterator[RedisServer]:
    server = RedisServer(redis_program, redis_directory)
    server.start()
    yield server
    server.kill()


def _sweep(prefix: str) -> None:
    """Remove the directories of test runs that were killed: the names of all tell whose they are."""
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        owner = left.name.removeprefix(prefix).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)  # a server that was left behind ends without its files


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A throw-away cluster that listens on a socket in its own directory; its ``host=`` option."""
    binaries = find_postgres()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    pytest.importorskip("psycopg")
    # pytest's directories are closed to other users: it gets one of its own, so that no mode of a directory we did not
    # make has to change
    _sweep(_POSTGRES)
    with (
        tempfile.TemporaryDirectory(prefix=f"{_POSTGRES}{os.getpid()}-") as home,
        running_postgres(binaries, Path(home), "listen_addresses=", "fsync=off"),
    ):
        yield home
