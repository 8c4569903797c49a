"""The metadata Protocols on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raymlops.clock import ManualClock
from raymlops.metadata import MetadataService
from raymlops.testing.metadata import MetadataContract
from raymlops.testing.metadata_examples import EPOCH


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(EPOCH)


class TestSqlite(MetadataContract):
    @pytest.fixture
    def metadata(self, tmp_path: Path, clock: ManualClock) -> Iterator[MetadataService]:
        service = MetadataService(f"sqlite:///{tmp_path}/metadata.db", clock=clock)
        yield service
        service.close()


def _postgres_binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(on_path).parent if on_path else None


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A throw-away cluster that listens on a socket in its own directory; its ``host=`` option."""
    binaries = _postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    # PostgreSQL refuses to run as root, and its socket's path must be short.
    home = Path(tmp_path_factory.mktemp("pg"))
    as_user: list[str] = []
    if os.geteuid() == 0:
        for directory in (home, *home.parents[:3]):
            directory.chmod(0o755)
        shutil.chown(home, "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data = home / "data"

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, str(binaries / program), *arguments]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr + done.stdout

    run("initdb", "--no-sync", "--auth=trust", "--username=raymlops", "-D", str(data))
    options = f"-c listen_addresses='' -c fsync=off -c unix_socket_directories='{home}'"
    run("pg_ctl", "-D", str(data), "-w", "-o", options, "-l", str(home / "log"), "start")
    try:
        yield str(home)
    finally:
        run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")


class TestPostgres(MetadataContract):
    @pytest.fixture
    def metadata(self, postgres: str, clock: ManualClock) -> Iterator[MetadataService]:
        psycopg = pytest.importorskip("psycopg")
        name = f"test_{time.monotonic_ns()}"
        with psycopg.connect(f"host={postgres} user=raymlops dbname=postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        service = MetadataService(f"postgresql+psycopg://raymlops@/{name}?host={postgres}", clock=clock)
        yield service
        service.close()
