"""The metadata Protocols on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from raymlops.clock import ManualClock
from raymlops.errors import StorageError
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
def postgres() -> Iterator[str]:
    """A throw-away cluster that listens on a socket in its own directory; its ``host=`` option."""
    binaries = _postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    psycopg = pytest.importorskip("psycopg")
    # PostgreSQL refuses to run as root, and pytest's directories are closed to other users: it gets one of its own,
    # so that no mode of a directory we did not make has to change.
    home = Path(tempfile.mkdtemp(prefix="raymlops-pg-"))
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


class TestPostgres(MetadataContract):
    @pytest.fixture
    def metadata(self, postgres: str, clock: ManualClock) -> Iterator[MetadataService]:
        psycopg = pytest.importorskip("psycopg")
        name = f"test_{time.monotonic_ns()}"
        with psycopg.connect(f"host={postgres} user=raymlops dbname=postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        service = MetadataService(f"postgresql://raymlops@/{name}?host={postgres}", clock=clock)
        yield service
        service.close()


def test_two_services_on_postgres_append_to_one_chain(postgres: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(f"host={postgres} user=raymlops dbname=postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE shared")
    url = f"postgresql://raymlops@/shared?host={postgres}"
    with closing(MetadataService(url)) as one, closing(MetadataService(url)) as other:

        def append(service: MetadataService, name: str) -> None:
            for number in range(25):
                service.append_entry("churn", "note", "", key=f"{name}-{number}")
                service.append_entry("churn", "note", "", key=f"shared-{number}")

        with ThreadPoolExecutor(4) as pool:
            work = [pool.submit(append, (one, other)[turn % 2], str(turn)) for turn in range(4)]
            for done in work:
                done.result()
        assert one.verify_ledger() == 125


def test_a_postgres_that_does_not_answer_is_named(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StorageError, match=r"raymlops:\*\*\*@"):
        MetadataService(f"postgresql://raymlops:secret@/gone?host={tmp_path}")
