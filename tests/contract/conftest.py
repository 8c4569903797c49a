"""A Redis and a PostgreSQL server of the tests' own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

_PROGRAMS = ("valkey-server", "redis-server")
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
    for name in _PROGRAMS:
        found = shutil.which(name)
        if found is not None:
            return found
    pytest.skip(f"needs one of {', '.join(_PROGRAMS)} on the PATH")


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


def _postgres_binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(on_path).parent if on_path else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A throw-away cluster that listens on a socket in its own directory; its ``host=`` option."""
    binaries = _postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    psycopg = pytest.importorskip("psycopg")
    # PostgreSQL refuses to run as root, and pytest's directories are closed to other users: it gets one of its own,
    # so that no mode of a directory we did not make has to change.
    _sweep(_POSTGRES)
    home = Path(tempfile.mkdtemp(prefix=f"{_POSTGRES}{os.getpid()}-"))
    as_user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(home, "postgres", "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data, log = str(home / "data"), home / "log"
    try:
        initdb = [str(binaries / "initdb"), "--no-sync", "--auth=trust", "--username=raymlops", "-D", data]
        done = subprocess.run([*as_user, *initdb], cwd=home, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        settings = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", f"unix_socket_directories={home}"]
        command = [*as_user, str(binaries / "postgres"), "-D", data, *settings]
        with log.open("wb") as sink, subprocess.Popen(command, cwd=home, stdout=sink, stderr=sink) as server:
            try:
                _await(lambda: psycopg.connect(f"host={home} user=raymlops dbname=postgres").close(), server, log)
                yield str(home)
            finally:
                server.send_signal(signal.SIGQUIT)
                server.wait(60)
    finally:
        shutil.rmtree(home)


def _await(connect: Callable[[], None], server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + 60
    while True:
        try:
            return connect()
        except psycopg.OperationalError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
