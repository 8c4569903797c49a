"""The servers that hold what nodes share: PostgreSQL, an S3 (moto's), and Redis or Valkey."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import redis

__all__ = ["Stores", "started_stores"]

BUCKET = "raymlops"
_UP_S = 60.0
_LOOK_S = 0.05
_REDIS = ("valkey-server", "redis-server")
# Requests are answered one after the other: what S3 guarantees of conditional puts, moto's threads do not.
_S3 = """
import logging, sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
logging.getLogger("werkzeug").setLevel(logging.ERROR)
application, lock = DomainDispatcherApplication(create_backend_app), threading.Lock()
def serial(environ, start_response):
    with lock:
        return list(application(environ, start_response))
make_server("127.0.0.1", int(sys.argv[1]), serial, threaded=True).serve_forever()
"""

Stores = Mapping[str, Any]
"""Settings of a platform whose metadata, tables and online features are in the servers."""


@contextlib.contextmanager
def started_stores() -> Iterator[Stores]:
    """Start the three servers, and end them when the context ends.

    Keys of the S3 are set in this process's environment meanwhile, for what is started in it.

    Raises:
        RuntimeError: A program is not installed, or a server does not come up.
    """
    keys = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo"}
    before = dict(os.environ)
    os.environ |= keys
    try:
        with contextlib.ExitStack() as stack:
            database = stack.enter_context(_postgres())
            endpoint = stack.enter_context(_s3())
            online = stack.enter_context(_redis())
            options = {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
            yield {
                "metadata": {"url": database},
                "features": {
                    "root": f"s3://{BUCKET}/demo",
                    "storage_options": options,
                    "online_store": online,
                },
            }
    finally:
        for name in keys:
            os.environ.pop(name)
            if name in before:
                os.environ[name] = before[name]


@contextlib.contextmanager
def _postgres() -> Iterator[str]:
    """URL of an empty database. PostgreSQL refuses to run as root; then it runs as the user of Debian's package."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    binaries = found[-1].parent if found else Path(_program("initdb")).parent
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="rml-pg-") as made:
        home = Path(made)
        as_user: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(home, "postgres", "postgres")
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        data = str(home / "data")
        initdb = [str(binaries / "initdb"), "--no-sync", "--auth=trust", "--username=raymlops", "-D", data]
        subprocess.run([*as_user, *initdb], cwd=home, check=True, stdout=subprocess.DEVNULL)
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={home}", "-p", str(port)]
        server = [*as_user, str(binaries / "postgres"), "-D", data, *settings]
        with _running(server, home, signal.SIGQUIT) as check:
            _await(check, lambda: _make_database(port), psycopg.OperationalError)
            yield f"postgresql+psycopg://raymlops@127.0.0.1:{port}/raymlops"


def _make_database(port: int) -> None:
    server = f"host=127.0.0.1 port={port} user=raymlops dbname=postgres"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("create database raymlops")


@contextlib.contextmanager
def _s3() -> Iterator[str]:
    """Endpoint of an S3 that holds one empty bucket."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with _running([sys.executable, "-W", "ignore", "-c", _S3, str(port)], None, signal.SIGKILL) as check:
        request = urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")
        _await(check, lambda: urllib.request.urlopen(request, timeout=_UP_S).close(), urllib.error.URLError)
        yield endpoint


@contextlib.contextmanager
def _redis() -> Iterator[str]:
    """URL of an empty server."""
    port = free_port()
    program = next((found for name in _REDIS if (found := shutil.which(name))), None) or _program(_REDIS[-1])
    options = ["--bind", "127.0.0.1", "--port", str(port), "--appendonly", "yes", "--save", ""]
    with (
        tempfile.TemporaryDirectory(prefix="rml-redis-") as home,
        _running([program, *options], Path(home), signal.SIGKILL) as check,
        redis.Redis(port=port) as client,
    ):
        _await(check, client.ping, redis.ConnectionError)
        yield f"redis://127.0.0.1:{port}/0"


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed")
    return found


@contextlib.contextmanager
def _running(command: list[str], home: Path | None, ending: signal.Signals) -> Iterator[Callable[[], None]]:
    """A server for as long as the context lasts; gives what raises once it has ended by itself."""
    with subprocess.Popen(command, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:

        def check() -> None:
            if server.poll() is not None:
                raise RuntimeError(f"{command[0]} ended with {server.returncode}")

        try:
            yield check
        finally:
            server.send_signal(ending)
            server.wait(_UP_S)


def _await(check: Callable[[], None], connect: Callable[[], object], refused: type[Exception]) -> None:
    deadline = time.monotonic() + _UP_S
    while True:
        check()
        try:
            connect()
            return
        except refused:
            if time.monotonic() > deadline:
                raise
        time.sleep(_LOOK_S)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
