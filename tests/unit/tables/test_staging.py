from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from raymlops.errors import ConfigError, DataError, StorageError
from raymlops.tables.staging import Staging

NAME, OTHER = "0" * 32, "f" * 32


def block(number: int) -> pa.Table:
    return pa.table({"n": [number]})


def test_blocks_come_back_by_number(tmp_path: Path) -> None:
    staging = Staging(tmp_path)
    for number in (1, 0, 1):
        staging.put(NAME, number, block(number))
    staging.put(OTHER, 0, block(9))
    assert [table["n"].to_pylist() for table in Staging(tmp_path).tables(NAME, 2)] == [[0], [1]]
    with pytest.raises(DataError, match="block 2 of 3 was not handed over"):
        list(staging.tables(NAME, 3))
    staging.discard(NAME)
    staging.discard(NAME)
    assert [path.name for path in tmp_path.iterdir()] == [OTHER]


def test_categories_of_several_dictionaries_are_staged(tmp_path: Path) -> None:
    parts = [pa.array(texts).dictionary_encode() for texts in (["a", "b"], ["c", None])]
    Staging(tmp_path).put(NAME, 0, pa.table({"x": pa.chunked_array(parts)}))
    [found] = Staging(tmp_path).tables(NAME, 1)
    assert found["x"].to_pylist() == ["a", "b", "c", None]


def test_names_are_no_paths(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="blocks must be named by 32 hexadecimal digits"):
        Staging(tmp_path).put("../" + NAME, 0, block(0))


def test_a_broken_block_is_named(tmp_path: Path) -> None:
    staging = Staging(tmp_path)
    staging.put(NAME, 0, block(0))
    (tmp_path / NAME / "00000000.arrow").write_bytes(b"broken")
    with pytest.raises(StorageError, match=r"00000000\.arrow: cannot read"):
        list(staging.tables(NAME, 1))
    (tmp_path / OTHER).write_text("a file where the directory should be")
    with pytest.raises(StorageError, match=r"00000000\.arrow: cannot write"):
        staging.put(OTHER, 0, block(0))


def test_what_was_left_is_swept(tmp_path: Path) -> None:
    staging = Staging(tmp_path)
    staging.put(NAME, 0, block(0))
    staging.put(OTHER, 0, block(0))
    os.utime(tmp_path / NAME, (0, 0))
    staging.sweep(timedelta(days=1))
    assert [path.name for path in tmp_path.iterdir()] == [OTHER]
    Staging(tmp_path / "nowhere").sweep(timedelta(0))
