"""CSV files of strangers: what their columns are."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from raymlops.errors import DataError
from raymlops.laboratory.intake.files import read_table


def test_whole_numbers_that_begin_with_a_zero_are_names(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("zip;size;zero;share;late\n00501;1;0;0.5;1\n10115;-2;0;01.5;2\n;3;0;1.5;007\n")
    read = read_table(file)
    assert read["zip"].to_pylist() == ["00501", "10115", None]
    assert read["late"].to_pylist() == ["1", "2", "007"], "wherever the zero comes"
    assert [read[name].type for name in ("size", "zero", "share")] == [pa.int64(), pa.int64(), pa.float64()]
    assert read.column_names == ["zip", "size", "zero", "share", "late"]


def test_a_file_without_whole_numbers_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,b\nx,0.5\ny,1.5\n")
    assert read_table(file).to_pydict() == {"a": ["x", "y"], "b": [0.5, 1.5]}


def test_rows_of_other_lengths_are_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,b\n1,2\n1,2,3\n")
    with pytest.raises(DataError, match=r"is not a readable table: .*Expected 2 columns, got 3") as refused:
        read_table(file)
    assert "\n" not in str(refused.value)


def test_a_file_that_ends_within_quotes_is_refused_whatever_parts_its_fields(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('a;b\n1;"x\n2;y\n')
    with pytest.raises(DataError, match="the quote that opens in line 2 is never closed"):
        read_table(path)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("before", range(4))
def test_a_head_that_ends_amid_a_character_is_utf8_all_the_same(tmp_path: Path, mark: str, before: int) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(f"{mark}größe\n{'x' * before}{'€' * 30_000}\n".encode())
    assert read_table(path)["größe"].to_pylist() == ["x" * before + "€" * 30_000]
