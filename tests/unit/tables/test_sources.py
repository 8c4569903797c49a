from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from raymlops.errors import ConfigError, DataError
from raymlops.tables import sources
from raymlops.tables.sources import FileSource

TABLE = pa.table({"k": ["a", "b", "c"], "x": [1.5, None, 3.0]})


def read(path: Path) -> pa.Table:
    return pa.concat_tables(FileSource(path).tables())


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet.write_table(TABLE, tmp_path / "t.parquet")
    source = FileSource(tmp_path / "t.parquet")
    assert not source.text
    assert read(tmp_path / "t.parquet").equals(TABLE)
    monkeypatch.setattr(sources, "_BATCH_ROWS", 2)
    assert [table.num_rows for table in source.tables()] == [0, 2, 1]
    parquet.write_table(TABLE.slice(0, 0), tmp_path / "empty.parquet")
    assert read(tmp_path / "empty.parquet").equals(TABLE.slice(0, 0))


def test_csv_values_are_texts(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('k,x,y\n007,NA,\n"",nan,"two\nlines"\n')
    source = FileSource(tmp_path / "t.csv")
    assert source.text
    assert read(tmp_path / "t.csv").to_pylist() == [
        {"k": "007", "x": "NA", "y": None},
        {"k": "", "x": "nan", "y": "two\nlines"},
    ]
    (tmp_path / "empty.csv").write_text("k,x\n")
    assert [table.to_pydict() for table in FileSource(tmp_path / "empty.csv").tables()] == [{"k": [], "x": []}]


def test_a_directory_is_its_files_by_name(tmp_path: Path) -> None:
    for number, name in enumerate(["b", "a/z", "a/b"]):
        path = tmp_path / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        csv.write_csv(pa.table({"n": [number]}), path)
    (tmp_path / "notes.txt").write_text("not a table")
    assert read(tmp_path)["n"].to_pylist() == ["2", "1", "0"]
    digest = FileSource(tmp_path).digest()
    assert FileSource(tmp_path).digest() == digest
    (tmp_path / "b.csv").write_text("n\n1\n")
    assert FileSource(tmp_path).digest() != digest


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing does not exist"):
        FileSource(tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"must hold files that end with \.parquet or \.csv, got none"):
        FileSource(tmp_path)
    (tmp_path / "t.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"t\.txt must end with \.parquet or \.csv"):
        FileSource(tmp_path / "t.txt")
    (tmp_path / "t.parquet").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"t\.parquet is not a readable table"):
        list(FileSource(tmp_path / "t.parquet").tables())
    (tmp_path / "ragged").mkdir()
    (tmp_path / "ragged" / "t.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(DataError, match=r"t\.csv is not a readable table: .*Expected 2 columns, got 1"):
        list(FileSource(tmp_path / "ragged").tables())
    (tmp_path / "t.csv").write_text("a\n1\n")
    with pytest.raises(ConfigError, match="must hold files of one kind"):
        FileSource(tmp_path)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'a,b\n1,"x\n2,y\n', 2),
        (b'a,b\n1,"x""\n2,y\n', 2),
        (b'a,b\r\n1,z\r\n2,"\r\n', 3),
        (b'\xef\xbb\xbf"a\nb\n', 1),
        (b'a,b\n1,"x"\n2,"y', 3),
    ],
)
def test_a_file_that_ends_within_quotes_is_refused(tmp_path: Path, content: bytes, line: int) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"rows\.csv: the quote that opens in line {line} is never closed"):
        list(FileSource(tmp_path / "rows.csv").tables())


@pytest.mark.parametrize(
    ("field", "value"),
    [(b'x"y', 'x"y'), (b' "x', ' "x'), (b'5"', '5"'), (b'"x""y"', 'x"y'), (b'"x\ny"', "x\ny"), (b'""', "")],
)
def test_a_quote_amid_a_field_is_a_character_like_others(tmp_path: Path, field: bytes, value: str) -> None:
    (tmp_path / "rows.csv").write_bytes(b"a,b\n1," + field + b"\n2,z\n")
    (_, table) = FileSource(tmp_path / "rows.csv").tables()
    assert table["b"].to_pylist() == [value, "z"]
