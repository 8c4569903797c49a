from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from raymlops.errors import LedgerBroken, StorageError
from raymlops.metadata import MetadataService
from raymlops.metadata.anchors import verify_against


@pytest.fixture
def service(tmp_path: Path) -> Iterator[MetadataService]:
    with closing(MetadataService(tmp_path / "m.db")) as opened:
        yield opened


def _append(service: MetadataService, *keys: str) -> None:
    for key in keys:
        service.ledger.append_entry("churn", "note", f"because {key}", key=key)


def test_a_ledger_that_goes_on_holds(service: MetadataService, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "anchors.jsonl"
    assert verify_against(service.ledger, path) == 0
    assert not path.exists()
    for number in range(3):
        _append(service, f"a{number}", f"b{number}")
        assert verify_against(service.ledger, path) == 2 * number + 2
        assert verify_against(service.ledger, path) == 2 * number + 2
    assert len(path.read_text().splitlines()) == 3


def test_a_tail_cut_off_together_with_its_head_is_found(service: MetadataService, tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    _append(service, "1", "2", "3")
    verify_against(service.ledger, path)
    with closing(sqlite3.connect(tmp_path / "m.db")) as database, database:
        database.execute("DELETE FROM ledger_entries WHERE sequence = 3")
        database.execute(
            "UPDATE ledger_head SET count = 2, hash = (SELECT hash FROM ledger_entries WHERE sequence = 2)"
        )
    assert service.ledger.verify_ledger() == 2, "the chain alone cannot tell"
    with pytest.raises(LedgerBroken, match=r"entry 3 is missing: there are 2 entries, by .*anchors\.jsonl") as caught:
        verify_against(service.ledger, path)
    assert caught.value.context["sequence"] == 3
    _append(service, "other 3")
    with pytest.raises(LedgerBroken, match="entry 3 is another than it was"):
        verify_against(service.ledger, path)


def test_a_database_put_back_from_a_backup_is_found(tmp_path: Path) -> None:
    path, file = tmp_path / "anchors.jsonl", tmp_path / "m.db"
    with closing(MetadataService(file)) as service:
        _append(service, "1")
    shutil.copy(file, tmp_path / "backup.db")
    with closing(MetadataService(file)) as service:
        _append(service, "2")
        verify_against(service.ledger, path)
    shutil.copy(tmp_path / "backup.db", file)
    with closing(MetadataService(file)) as service, pytest.raises(LedgerBroken, match="entry 2 is missing"):
        verify_against(service.ledger, path)


def test_anchors_that_cannot_be_read_are_named(service: MetadataService, tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    path.write_text("rubbish\n")
    with pytest.raises(StorageError, match=r"ledger anchors .*anchors\.jsonl"):
        verify_against(service.ledger, path)
    with pytest.raises(StorageError, match=r"m\.db"):
        verify_against(service.ledger, tmp_path / "m.db" / "below")
