"""Servers of Debian's and of Python packages, for tests and benchmarks: where they are, and how they are run."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["find_postgres", "find_redis", "not_installed", "running_postgres", "running_s3", "until"]

REDIS_PROGRAMS = ("valkey-server", "redis-server")
_UP_S = 60.0
_LOOK_S = 0.02
# Requests are answered one after the other: what S3 guarantees of conditional puts, moto's threads do not.
_S3 = """
import logging, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
logging.getLogger("werkzeug").setLevel(logging.ERROR)
application, lock = DomainDispatcherApplication(create_backend_app), threading.Lock()
def serial(environ, start_response):
    with lock:
        return list(application(environ, start_response))
server = make_server("127.0.0.1", 0, serial, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


def find_redis() -> str | None:
    """Path of Valkey's or Redis' server."""
    return next((found for name in REDIS_PROGRAMS if (found := shutil.which(name))), None)


def find_postgres() -> Path | None:
    """Directory of PostgreSQL's newest programs; Debian has them outside the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(on_path).parent if on_path else None


def not_installed() -> list[str]:
    """What is not installed of the servers that several nodes share, and of what keeps the nodes' files apart."""
    there = {
        "PostgreSQL's server": find_postgres(),
        "redis-server": find_redis(),
        "unshare": shutil.which("unshare"),
        "moto[server]": importlib.util.find_spec("moto"),
    }
    return [name for name, found in there.items() if found is None]


@contextlib.contextmanager
def running_s3(bucket: str) -> Iterator[str]:
    """Endpoint of an S3 that holds one empty bucket. Whoever calls has its keys in the environment.

    Raises:
        OSError: It does not come up.
    """
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", _S3], stdout=subprocess.PIPE) as server:
        watch = threading.Timer(_UP_S, server.kill)
        watch.start()
        try:
            assert server.stdout is not None
            endpoint = f"http://127.0.0.1:{int(server.stdout.readline())}"
            urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT"), timeout=_UP_S).close()
            watch.cancel()
            yield endpoint
        finally:
            watch.cancel()
            server.kill()


@contextlib.contextmanager
def running_postgres(binaries: Path, home: Path, *settings: str) -> Iterator[None]:
    """A new PostgreSQL cluster in ``home``, whose sockets are there, too; superuser ``raymlops``, without a password.

    PostgreSQL refuses to run as root, and then runs as the user of Debian's package: ``home`` must not lie below a
    directory that is closed to others.

    Args:
        binaries: Of PostgreSQL.
        home: An empty directory.
        settings: ``name=value``.

    Raises:
        AssertionError: It does not come up; the message is its log.
    """
    import psycopg

    as_user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(home, "postgres", "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data, log = str(home / "data"), home / "log"
    initdb = [str(binaries / "initdb"), "--no-sync", "--auth=trust", "--username=raymlops", "-D", data]
    done = subprocess.run([*as_user, *initdb], cwd=home, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    options = [word for each in (*settings, f"unix_socket_directories={home}") for word in ("-c", each)]
    command = [*as_user, str(binaries / "postgres"), "-D", data, *options]
    with log.open("wb") as sink, subprocess.Popen(command, cwd=home, stdout=sink, stderr=sink) as server:

        def connect() -> None:
            assert server.poll() is None, log.read_text()
            port = dict(each.split("=", 1) for each in settings).get("port", "5432")
            psycopg.connect(f"host={home} port={port} user=raymlops dbname=postgres").close()

        try:
            until(connect, psycopg.OperationalError)
            yield
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait(_UP_S)


def until(connect: Callable[[], object], refused: type[Exception]) -> None:
    """Call until it no longer raises ``refused``, for a minute at most."""
    deadline = time.monotonic() + _UP_S
    while True:
        try:
            connect()
        except refused:
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_S)
        else:
            return
