"""The servers that hold what nodes share: PostgreSQL, an S3 (moto's), and Redis or Valkey."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import redis

from raymlops.replay.settings import free_port
from tests.support.servers import find_postgres, find_redis, not_installed, running_postgres, running_s3, until

__all__ = ["Stores", "started_stores"]

BUCKET = "raymlops"
_END_S = 60.0
_KEYS = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo"}

Stores = Mapping[str, Any]
"""Settings of a platform whose metadata, tables and online features are in the servers."""


@contextlib.contextmanager
def started_stores() -> Iterator[Stores]:
    """Start the three servers, and end them when the context ends.

    Keys of the S3 are set in this process's environment meanwhile, for what is started in it.

    Raises:
        RuntimeError: A program is not installed.
    """
    if missing := not_installed():
        raise RuntimeError(f"not installed: {', '.join(missing)}")
    before = {name: os.environ.get(name) for name in _KEYS}
    os.environ |= _KEYS
    try:
        with _postgres() as database, running_s3(BUCKET) as endpoint, _redis() as online:
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
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def _postgres() -> Iterator[str]:
    """URL of an empty database."""
    binaries, port = find_postgres(), free_port()
    assert binaries is not None
    with (
        tempfile.TemporaryDirectory(prefix="rml-pg-") as home,
        running_postgres(binaries, Path(home), "listen_addresses=127.0.0.1", f"port={port}"),
    ):
        server = f"host=127.0.0.1 port={port} user=raymlops dbname=postgres"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("create database raymlops")
        yield f"postgresql+psycopg://raymlops@127.0.0.1:{port}/raymlops"


@contextlib.contextmanager
def _redis() -> Iterator[str]:
    """URL of an empty server."""
    program, port = find_redis(), free_port()
    assert program is not None
    options = ["--bind", "127.0.0.1", "--port", str(port), "--appendonly", "yes", "--save", ""]
    with (
        tempfile.TemporaryDirectory(prefix="rml-redis-") as home,
        subprocess.Popen([program, *options], cwd=home, stdout=subprocess.DEVNULL) as server,
        redis.Redis(port=port) as client,
    ):
        try:
            until(client.ping, redis.ConnectionError)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.send_signal(signal.SIGKILL)
            server.wait(_END_S)
