"""A Redis server of the tests' own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_PROGRAMS = ("valkey-server", "redis-server")


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
    for name in _PROGRAMS:
        found = shutil.which(name)
        if found is not None:
            return found
    pytest.skip(f"needs one of {', '.join(_PROGRAMS)} on the PATH")


@pytest.fixture
def redis_directory() -> Iterator[Path]:
    # The path of a unix socket has at most 107 bytes; a test's own directory may have more.
    with tempfile.TemporaryDirectory(prefix=f"rml-{os.getpid()}-") as directory:
        yield Path(directory)


@pytest.fixture
def redis_server(redis_program: str, redis_directory: Path) -> Iterator[RedisServer]:
    server = RedisServer(redis_program, redis_directory)
    server.start()
    yield server
    server.kill()
