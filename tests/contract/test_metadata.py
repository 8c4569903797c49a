"""The metadata Protocols on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
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
                service.ledger.append_entry("churn", "note", "", key=f"{name}-{number}")
                service.ledger.append_entry("churn", "note", "", key=f"shared-{number}")

        with ThreadPoolExecutor(4) as pool:
            work = [pool.submit(append, (one, other)[turn % 2], str(turn)) for turn in range(4)]
            for done in work:
                done.result()
        assert one.ledger.verify_ledger() == 125


def test_a_postgres_that_does_not_answer_is_named(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StorageError, match=r"raymlops:\*\*\*@"):
        MetadataService(f"postgresql://raymlops:secret@/gone?host={tmp_path}")
