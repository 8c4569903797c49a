from __future__ import annotations

import errno
from pathlib import Path

import pyarrow as pa
import pytest

from raymlops.errors import DataError, StorageError
from tests.support.disk_tasks import DiskTasks


def halves(table: pa.Table) -> list[pa.Table]:
    return [table.slice(0, 2), table.slice(2)]


def summed(name: str, *tables: pa.Table) -> tuple[str, int]:
    return name, sum(value for table in tables for value in table["x"].to_pylist())


def refuse(table: pa.Table) -> list[pa.Table]:
    raise DataError("refused")


def test_tables_pass_through_files_that_are_gone_in_the_end(tmp_path: Path) -> None:
    with DiskTasks(tmp_path) as tasks:
        first = tasks.put(pa.table({"x": [1, 2, 3]}))
        held = tasks.scatter(halves, [(first,), (pa.table({"x": [10, 20, 30]}),)], 2)
        assert len(list(tmp_path.rglob("*.arrow"))) == 5
        calls = [(name, *parts) for name, parts in zip("ab", zip(*held, strict=True), strict=True)]
        assert list(tasks.gather(summed, calls)) == [(0, ("a", 33)), (1, ("b", 33))]
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_join_that_failed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="refused"), DiskTasks(tmp_path) as tasks:
        tasks.scatter(refuse, [(tasks.put(pa.table({"x": [1]})),)], 1)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, mode: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pa, "OSFile", full)
    with DiskTasks(tmp_path) as tasks, pytest.raises(StorageError, match=r"cannot write .*0\.arrow.*No space left"):
        tasks.put(pa.table({"x": [1]}))
